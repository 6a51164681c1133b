//! DescribeLogDirs.

use std::path::Path;

use cairn_protocol::messages::DescribeLogDirsRequest;
use cairn_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use crate::harness::TestBroker;
use crate::records::{append, batch, make_topic};

#[tokio::test]
async fn the_directory_is_told_with_sizes_and_space() {
    let broker = TestBroker::with(&[("num.partitions", "2")]).await;
    let mut client = broker.connect().await;
    for topic in ["u", "t"] {
        make_topic(&mut client, topic).await;
    }
    let records = batch(&["a", "b"]);
    append(&mut client, "t", records.clone()).await;
    let size = i64::try_from(records.len()).unwrap();
    for version in 1..=5 {
        let response = client.call(version, &DescribeLogDirsRequest { topics: None }).await;
        let [result] = &response.results[..] else { panic!("{response:?}") };
        assert_eq!((response.error_code, result.error_code, result.is_cordoned), (0, 0, false));
        assert!(
            Path::new(&*result.log_dir).is_absolute() && Path::new(&*result.log_dir).is_dir(),
            "{}",
            result.log_dir
        );
        let sizes: Vec<_> = result
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|it| (&*topic.name, it.partition_index, it.partition_size)))
            .collect();
        assert_eq!(sizes, [("t", 0, size), ("t", 1, 0), ("u", 0, 0), ("u", 1, 0)]);
        let all = result.topics.iter().flat_map(|topic| &topic.partitions);
        assert!(all.into_iter().all(|it| it.offset_lag == 0 && !it.is_future_key));
        if version >= 4 {
            assert!(0 < result.usable_bytes && result.usable_bytes <= result.total_bytes);
        }
    }
}

#[tokio::test]
async fn only_what_is_asked_for_and_here_is_told() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "u").await;
    let topic = |name: &str| DescribableLogDirTopic { topic: name.into(), partitions: vec![0, 0, 5] };
    let request = DescribeLogDirsRequest { topics: Some(vec![topic("t"), topic("missing")]) };
    let result = client.call(4, &request).await.results.remove(0);
    let told: Vec<_> = result.topics.iter().map(|topic| (&*topic.name, topic.partitions.len())).collect();
    assert_eq!(told, [("t", 1)]);
    let nothing = DescribeLogDirsRequest { topics: Some(Vec::new()) };
    assert!(client.call(4, &nothing).await.results[0].topics.is_empty());
}
