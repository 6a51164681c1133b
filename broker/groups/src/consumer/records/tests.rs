//! Records of consumer groups against the bytes of Apache Kafka 4.3.1's own classes.

use super::super::topics::tests::topic_id;
use super::*;
use crate::records::{Decoded as Any, decode as decode_any};

fn hex(text: &str) -> Bytes {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn texts_of(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn held(partitions: &[(i32, i32)]) -> Held {
    let id = topic_id(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    Held::from([(id, partitions.iter().map(|(at, epoch)| (PartitionIndex(*at), *epoch)).collect())])
}

fn member() -> Subscription {
    Subscription {
        instance: Some("i".into()),
        rack: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        topics: texts_of(&["a", "b"]),
        regex: "x.*".into(),
        rebalance_timeout_ms: 10_000,
        assignor: Some("range".into()),
        classic: None,
    }
}

fn classic() -> Subscription {
    let protocol = Protocol { name: "range".into(), metadata: Bytes::from_static(&[1, 2, 3]) };
    Subscription {
        instance: None,
        rack: Some("r".into()),
        topics: BTreeSet::new(),
        regex: "".into(),
        assignor: None,
        classic: Some(Classic { session_timeout_ms: 45_000, protocols: vec![protocol] }),
        ..member()
    }
}

fn all() -> Vec<(Change, &'static str, &'static str)> {
    let epoch = |metadata_hash| Change::Epoch(Some(GroupEpoch { epoch: 7, metadata_hash }));
    let of = |subscription| Change::Subscription("m".into(), Some(Arc::new(subscription)));
    let target = super::super::assignment::partitions_of(&held(&[(0, 0), (3, 0)]));
    let current = Current {
        epoch: 7,
        previous_epoch: 6,
        state: MemberState::UnrevokedPartitions,
        assigned: held(&[(0, 5), (3, 7)]),
        revoking: held(&[(1, 2)]),
    };
    let resolved = Resolved { topics: texts_of(&["x1", "x2"]), version: 9, at: Timestamp(1_000) };
    vec![
        (epoch(1_102_941_502_746_836_268), "0003000167", "0000000000070100080f4e6f73ff42bd2c"),
        (epoch(0), "0003000167", "00000000000700"),
        (
            of(member()),
            "000500016700016d",
            "000002690007636c69656e740b2f3132372e302e302e31030261026204782e2a000027100672616e676501000100",
        ),
        (
            of(classic()),
            "000500016700016d",
            "000000027207636c69656e740b2f3132372e302e302e3101010000271000010012010000afc8020672616e6765040102030000",
        ),
        (
            Change::TargetEpoch(Some(TargetEpoch { epoch: 7, at: Timestamp(1_000) })),
            "0006000167",
            "00000000000701000800000000000003e8",
        ),
        (
            Change::Target("m".into(), Some(Arc::new(target))),
            "000700016700016d",
            "0000020102030405060708090a0b0c0d0e0f100300000000000000030000",
        ),
        (
            Change::Current("m".into(), Some(Arc::new(current))),
            "000800016700016d",
            "0000000000070000000601020102030405060708090a0b0c0d0e0f10030000000000000003010009030000000500000007020102\
             030405060708090a0b0c0d0e0f100200000001010005020000000200",
        ),
        (
            Change::Regex("x.*".into(), Some(Arc::new(resolved))),
            "00100001670003782e2a",
            "000003037831037832000000000000000900000000000003e800",
        ),
    ]
}

#[test]
fn records_have_kafkas_bytes() {
    for (change, key, value) in all() {
        let (encoded_key, encoded_value) = encode("g", &change).expect("encodes");
        assert_eq!((&encoded_key, encoded_value.as_ref()), (&hex(key), Some(&hex(value))), "{change:?}");
        let read = decode_any(&encoded_key, encoded_value.as_ref()).expect("decodes");
        assert_eq!(read, Any::Consumer(Decoded { group: "g".into(), change: Some(change) }));
    }
}

#[test]
fn a_key_without_a_value_deletes() {
    for (_, key, _) in all() {
        let Any::Consumer(Decoded { group, change: Some(change) }) = decode_any(&hex(key), None).expect("decodes")
        else {
            panic!("{key} is a key of a consumer group")
        };
        assert!(change.is_deletion() && &*group == "g");
        assert_eq!(encode("g", &change).expect("encodes"), (hex(key), None));
    }
}

/// Before 4.3 nobody wrote in which epoch a partition was given.
#[test]
fn partitions_without_epochs_count_from_the_members() {
    let value = hex("0000000000070000000600020102030405060708090a0b0c0d0e0f10030000000000000003000100");
    let read = decode_any(&hex("000800016700016d"), Some(&value)).expect("decodes");
    let Any::Consumer(Decoded { change: Some(Change::Current(_, Some(current))), .. }) = read else {
        panic!("{read:?}")
    };
    assert_eq!((&current.assigned, current.state), (&held(&[(0, 7), (3, 7)]), MemberState::Stable));
}

/// Brokers that do not know members of the classic protocol in consumer groups leave out that a member is none.
#[test]
fn a_member_without_the_classic_part_is_none_of_the_classic_protocol() {
    let value = hex("000002690007636c69656e740b2f3132372e302e302e31030261026204782e2a000027100672616e676500");
    let read = decode_any(&hex("000500016700016d"), Some(&value)).expect("decodes");
    let change = Some(Change::Subscription("m".into(), Some(Arc::new(member()))));
    assert_eq!(read, Any::Consumer(Decoded { group: "g".into(), change }));
}

#[test]
fn what_older_brokers_wrote_of_topics_is_of_no_use() {
    let read = decode_any(&hex("0004000167"), None).expect("decodes");
    assert_eq!(read, Any::Consumer(Decoded { group: "g".into(), change: None }));
}

#[test]
fn what_is_no_record_is_refused() {
    for (_, key, value) in all() {
        let (key, value) = (hex(key), hex(value));
        for cut in 0..key.len() {
            assert!(decode_any(&key.slice(..cut), Some(&value)).is_err(), "key cut at {cut}");
        }
        for cut in 0..value.len() {
            assert!(decode_any(&key, Some(&value.slice(..cut))).is_err(), "value cut at {cut}");
        }
        let later = Bytes::from([&[0, 1], &value[2..]].concat());
        assert!(decode_any(&key, Some(&later)).is_err(), "there is no version 1");
    }
}
