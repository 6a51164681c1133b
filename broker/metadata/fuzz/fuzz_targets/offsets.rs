//! Any bytes as records of `__consumer_offsets`: loaded or refused.

#![no_main]

use bytes::Bytes;
use cairn_groups::Shard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut shard = Shard::new();
    let mut rest = input;
    while let Some(([key, value], behind)) = rest.split_first_chunk() {
        let (key_bytes, behind) = behind.split_at(usize::from(*key).min(behind.len()));
        let (value_bytes, behind) = behind.split_at(usize::from(*value).min(behind.len()));
        rest = behind;
        let value = (*value != 0).then(|| Bytes::copy_from_slice(value_bytes));
        let _ = shard.load(&Bytes::copy_from_slice(key_bytes), value.as_ref());
    }
    let groups: Vec<String> = shard.groups().map(str::to_owned).collect();
    for group in groups {
        for (topic, partitions) in shard.fetch_all(&group) {
            for (partition, committed) in partitions {
                let found = shard.fetch(&group, topic, committed.topic_id, partition);
                assert_eq!(found, Some(committed));
            }
        }
    }
});
