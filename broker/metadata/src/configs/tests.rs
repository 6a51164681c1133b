use super::*;

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    entries.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_valid() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for key in TOPIC_CONFIGS {
        assert!(std::ptr::eq(find(key.name).expect("by its name"), key));
        assert_eq!(key.check(key.default).as_deref(), Ok(key.default), "{}", key.name);
        assert!(key.doc.ends_with('.') && !key.doc.contains("  "), "{}", key.doc);
    }
}

#[test]
fn values_are_checked() {
    #[rustfmt::skip]
    let table = [
        // name                     value                accepted as
        ("retention.ms",            "1000",              Ok("1000")),
        ("retention.ms",            " -1 ",              Ok("-1")),
        ("retention.ms",            "-2",                Err("a number from -1")),
        ("retention.ms",            "1h",                Err("a number from -1")),
        ("retention.ms",            "",                  Err("a number from -1")),
        ("retention.bytes",         "9223372036854775807", Ok("9223372036854775807")),
        ("retention.bytes",         "9223372036854775808", Err("a number from -1")),
        ("segment.bytes",           "1048576",           Ok("1048576")),
        ("segment.bytes",           "1048575",           Err("a number from 1048576 to 2147483647")),
        ("segment.bytes",           "2147483648",        Err("a number from 1048576 to 2147483647")),
        ("max.message.bytes",       "0",                 Ok("0")),
        ("min.insync.replicas",     "0",                 Err("a number from 1 to 2147483647")),
        ("message.timestamp.type",  "LogAppendTime",     Ok("LogAppendTime")),
        ("message.timestamp.type",  "logappendtime",     Err("one of CreateTime, LogAppendTime")),
        ("durability",              "synced",            Ok("synced")),
        ("durability",              "fsync",             Err("one of replicated, synced")),
        ("cleanup.policy",          "delete",            Ok("delete")),
        ("cleanup.policy",          "compact, delete",   Ok("compact,delete")),
        ("cleanup.policy",          "forget",            Err("a list of compact, delete, which may be empty")),
        ("cleanup.policy",          "",                  Ok("")),
        ("cleanup.policy",          "delete,delete",     Err("a list of compact, delete, which may be empty")),
        ("preallocate",             "FALSE",             Ok("false")),
        ("min.cleanable.dirty.ratio", "0.5",             Ok("0.5")),
        ("min.cleanable.dirty.ratio", "NaN",             Err("a fraction from 0 to 1")),
        ("compression.type",        "producer",          Ok("producer")),
        ("compression.type",        "zstd",              Ok("zstd")),
        ("compression.type",        "none",              Err("one of uncompressed, zstd, lz4, snappy, gzip, producer")),
        ("compression.gzip.level",  "-1",                Ok("-1")),
        ("compression.gzip.level",  "0",                 Err("a number from 1 to 9, or -1")),
        ("compression.lz4.level",   "18",                Err("a number from 1 to 17")),
        ("compression.zstd.level",  "-131073",           Err("a number from -131072 to 22")),
        ("leader.replication.throttled.replicas", "*",   Ok("*")),
        ("leader.replication.throttled.replicas", "",    Ok("")),
        ("leader.replication.throttled.replicas", "0:1, 12:1", Ok("0:1,12:1")),
        ("leader.replication.throttled.replicas", "0:1,*", Err("PARTITION:BROKER, several by comma, or *")),
        ("follower.replication.throttled.replicas", "0", Err("PARTITION:BROKER, several by comma, or *")),
        ("follower.replication.throttled.replicas", "0:-1", Err("PARTITION:BROKER, several by comma, or *")),
        ("follower.replication.throttled.replicas", "0:", Err("PARTITION:BROKER, several by comma, or *")),
    ];
    for (name, value, expected) in table {
        let found = check(name, value);
        match (expected, &found) {
            (Ok(canonical), Ok(found)) if &**found == canonical => {}
            (Err(allowed), Err(ConfigError::Invalid { allowed: found, .. })) if &**found == allowed => {}
            _ => panic!("{name}={value:?}: {found:?}"),
        }
    }
}

#[test]
fn what_is_not_in_force_accepts_its_default_only() {
    for (name, value) in [("preallocate", "true"), ("remote.storage.enable", "true")] {
        let error = check(name, value).expect_err(name);
        assert!(matches!(error, ConfigError::NotYet { .. }), "{error}");
    }
    assert_eq!(
        check("preallocate", "true").map_err(|e| e.to_string()),
        Err("topic config 'preallocate' does not accept 'true' yet: only 'false' is in force".into())
    );
}

#[test]
fn a_record_cannot_have_to_wait_for_longer_than_it_may() {
    for (topic, broker, refused) in [
        (map(&[]), map(&[]), false),
        (map(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "10")]), map(&[]), false),
        (map(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]), map(&[]), true),
        (map(&[("min.compaction.lag.ms", "10")]), map(&[("log.cleaner.max.compaction.lag.ms", "9")]), true),
        (map(&[("max.compaction.lag.ms", "10")]), map(&[("log.cleaner.max.compaction.lag.ms", "9")]), false),
        (map(&[("max.compaction.lag.ms", "9")]), map(&[("log.cleaner.min.compaction.lag.ms", "10")]), true),
    ] {
        let checked = check_together(&topic, &broker);
        assert_eq!(checked.is_err(), refused, "{topic:?} {broker:?}");
        if let Err(error) = checked {
            assert!(error.to_string().starts_with("topic config 'min.compaction.lag.ms' is 10, which is more than"));
        }
    }
}

#[test]
fn an_unknown_name_is_refused_with_a_suggestion() {
    let text = |name| check(name, "1").expect_err("unknown").to_string();
    assert_eq!(text("retention.msec"), "unknown topic config 'retention.msec': did you mean 'retention.ms'?");
    assert_eq!(text("segment_ms"), "unknown topic config 'segment_ms': did you mean 'segment.ms'?");
    assert_eq!(text("frobnicate"), "unknown topic config 'frobnicate'");
}

fn synonym(name: &'static str, value: &str, source: Source) -> Synonymous {
    Synonymous { name, value: value.into(), source }
}

#[test]
fn a_value_comes_from_the_topic_then_the_broker_then_the_default() {
    let key = find("retention.ms").expect("known");
    let broker = BrokerConfigs {
        dynamic: map(&[("log.retention.ms", "11")]),
        dynamic_default: map(&[("log.retention.ms", "12")]),
        given: map(&[("log.retention.hours", "2"), ("log.retention.minutes", "7")]),
    };
    let topic = map(&[("retention.ms", "5")]);
    let described = describe(key, &topic, &broker);
    assert_eq!((&*described.value, described.source), ("5", Source::Topic));
    let below = [
        synonym("log.retention.minutes", "7", Source::StaticBroker),
        synonym("log.retention.hours", "2", Source::StaticBroker),
        synonym("log.retention.hours", "168", Source::Default),
    ];
    let above = [
        synonym("retention.ms", "5", Source::Topic),
        synonym("log.retention.ms", "11", Source::DynamicBroker),
        synonym("log.retention.ms", "12", Source::DynamicDefaultBroker),
    ];
    assert_eq!(described.synonyms, [&above[..], &below[..]].concat());
    let given = BrokerConfigs { given: broker.given.clone(), ..BrokerConfigs::default() };
    let described = describe(key, &map(&[]), &given);
    assert_eq!((&*described.value, described.source), ("420000", Source::StaticBroker));
    assert_eq!(described.synonyms, below);
    for (topic, broker) in [(&topic, &broker), (&map(&[]), &broker), (&topic, &given), (&map(&[]), &given)] {
        for described in describe_all(topic, broker) {
            let expected = effective(described.key, topic, &broker.in_force());
            assert_eq!(described.value, expected, "{}", described.key.name);
        }
    }
    assert_eq!(&*effective(key, &map(&[]), &map(&[("log.retention.hours", "-1")])), "-1", "no limit in any unit");
    assert_eq!(
        find_by_synonym("log.roll.hours").map(|(key, synonym)| (key.name, synonym.factor)),
        Some(("segment.ms", 3_600_000))
    );
    assert!(find_by_synonym("segment.ms").is_none());
}

#[test]
fn a_default_is_told_as_kafka_tells_it() {
    let none = BrokerConfigs::default();
    let synonyms = |name| describe(find(name).expect("known"), &map(&[]), &none).synonyms;
    assert_eq!(synonyms("segment.bytes"), [synonym("log.segment.bytes", "1073741824", Source::Default)]);
    assert_eq!(synonyms("retention.ms"), []);
    assert_eq!(synonyms("leader.replication.throttled.replicas"), []);
    let set =
        |name: &'static str, value: &str| describe(find(name).expect("known"), &map(&[(name, value)]), &none).synonyms;
    assert_eq!(set("retention.ms", "5"), [synonym("retention.ms", "5", Source::Topic)]);
    let default = synonym("log.segment.bytes", "1073741824", Source::Default);
    assert_eq!(set("segment.bytes", "2097152"), [synonym("segment.bytes", "2097152", Source::Topic), default]);
}

#[test]
fn settings_hold_what_is_in_force() {
    let defaults = TopicSettings::resolve(&map(&[]), &map(&[]));
    assert_eq!(
        defaults,
        TopicSettings {
            compression: None,
            cleanup: Cleanup::Delete,
            delete_retention_ms: 86_400_000,
            durability: Durability::Replicated,
            file_delete_delay_ms: 60_000,
            flush_messages: None,
            flush_ms: None,
            index_interval_bytes: 4096,
            max_compaction_lag_ms: None,
            max_message_bytes: 1_048_588,
            timestamp_after_max_ms: Some(3_600_000),
            timestamp_before_max_ms: None,
            timestamp_type: TimestampType::CreateTime,
            min_dirty_millionths: 500_000,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 1,
            retention_bytes: None,
            retention_ms: Some(604_800_000),
            segment_bytes: 1 << 30,
            segment_index_bytes: 10 << 20,
            segment_jitter_ms: 0,
            segment_ms: 604_800_000,
        }
    );
    let broker = map(&[("log.durability", "synced"), ("log.segment.bytes", "2097152"), ("log.retention.ms", "9")]);
    let topic =
        map(&[("durability", "replicated"), ("retention.ms", "-1"), ("message.timestamp.type", "LogAppendTime")]);
    assert_eq!(
        TopicSettings::resolve(&topic, &broker),
        TopicSettings {
            segment_bytes: 2 << 20,
            retention_ms: None,
            timestamp_type: TimestampType::LogAppendTime,
            ..defaults.clone()
        }
    );
    assert_eq!(TopicSettings::resolve(&map(&[]), &broker).durability, Durability::Synced);
}

#[test]
fn a_topics_compression_has_its_level() {
    let compression = |topic: &[(&str, &str)], broker: &[(&str, &str)]| {
        let compression = TopicSettings::resolve(&map(topic), &map(broker)).compression;
        compression.map(|compression| (compression.codec.name(), compression.level))
    };
    assert_eq!(compression(&[("compression.type", "uncompressed")], &[]), Some(("none", None)));
    assert_eq!(compression(&[("compression.type", "gzip")], &[]), Some(("gzip", Some(-1))));
    assert_eq!(
        compression(&[("compression.zstd.level", "9")], &[("compression.type", "zstd")]),
        Some(("zstd", Some(9)))
    );
    assert_eq!(compression(&[("compression.type", "producer")], &[("compression.type", "lz4")]), None);
    assert_eq!(compression(&[], &[("compression.type", "snappy")]), Some(("snappy", None)));
}

#[test]
fn settings_of_compaction() {
    for (policy, cleanup) in [
        ("delete", Cleanup::Delete),
        ("compact", Cleanup::Compact),
        ("compact,delete", Cleanup::CompactAndDelete),
        ("", Cleanup::Never),
        ("delete,compact", Cleanup::CompactAndDelete),
    ] {
        assert_eq!(TopicSettings::resolve(&map(&[("cleanup.policy", policy)]), &map(&[])).cleanup, cleanup);
        assert_eq!(TopicSettings::resolve(&map(&[]), &map(&[("log.cleanup.policy", policy)])).cleanup, cleanup);
    }
    let broker = map(&[("log.cleaner.min.cleanable.ratio", "0.01"), ("log.cleaner.max.compaction.lag.ms", "7")]);
    let topic = map(&[("min.compaction.lag.ms", "3"), ("delete.retention.ms", "5")]);
    let settings = TopicSettings::resolve(&topic, &broker);
    assert_eq!((settings.min_dirty_millionths, settings.max_compaction_lag_ms), (10_000, Some(7)));
    assert_eq!((settings.min_compaction_lag_ms, settings.delete_retention_ms), (3, 5));
}

#[test]
fn kafkas_flush_of_every_record_means_synced() {
    let settings = TopicSettings::resolve(&map(&[("flush.messages", "1")]), &map(&[]));
    assert_eq!((settings.durability, settings.flush_messages), (Durability::Synced, Some(1)));
}

#[test]
fn a_value_of_a_later_release_counts_as_not_set() {
    let topic = map(&[("durability", "galactic"), ("segment.bytes", "12"), ("brand.new", "x")]);
    let broker = map(&[("log.segment.bytes", "2097152")]);
    let settings = TopicSettings::resolve(&topic, &broker);
    assert_eq!((settings.durability, settings.segment_bytes), (Durability::Replicated, 2 << 20));
}

#[test]
fn three_replicas_make_two_in_sync_the_default() {
    let key = find("min.insync.replicas").unwrap();
    let set = |name: &str, value: &str| ConfigMap::from([(name.into(), value.into())]);
    let none = ConfigMap::new();
    let brokers = |dynamic_default: ConfigMap, given: ConfigMap| BrokerConfigs {
        dynamic_default,
        given,
        ..BrokerConfigs::default()
    };
    let name = key.name;
    let table = [
        (none.clone(), brokers(none.clone(), none.clone()), 2, "1", Source::Default),
        (none.clone(), brokers(none.clone(), none.clone()), 3, "2", Source::Default),
        (set(name, "1"), brokers(none.clone(), none.clone()), 3, "1", Source::Topic),
        (none.clone(), brokers(set(name, "1"), none.clone()), 3, "1", Source::DynamicDefaultBroker),
        // What one broker has in its file can only ask for more.
        (none.clone(), brokers(none.clone(), set(name, "1")), 3, "2", Source::Default),
        (none.clone(), brokers(none.clone(), set(name, "3")), 3, "3", Source::StaticBroker),
    ];
    for (topic, brokers, replicas, value, source) in table {
        let described = describe(key, &topic, &brokers).with_replicas(replicas);
        assert_eq!((&*described.value, described.source), (value, source), "{replicas} {topic:?} {brokers:?}");
        assert_eq!(described.synonyms[0].value, described.value);
    }
    let other = describe(find("retention.ms").unwrap(), &none, &BrokerConfigs::default());
    assert_eq!(other.value.clone(), other.with_replicas(3).value);
}
