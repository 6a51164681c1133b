use cairn_metadata::configs::{self, Allowed, ConfigMap, Source, TOPIC_CONFIGS, TopicSettings};
use cairn_metadata::{Command, ConfigChange, ConfigResource, Image};
use cairn_protocol::ids::BrokerId;

use super::*;

fn load(sources: &Sources) -> Result<BrokerConfig, String> {
    BrokerConfig::load(sources).map_err(|error| error.to_string())
}

fn file(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn topic_settings(config: &BrokerConfig) -> TopicSettings {
    TopicSettings::resolve(&ConfigMap::new(), &live(config).load().topic_defaults)
}

fn live(config: &BrokerConfig) -> LiveConfig {
    LiveConfig::new(config.clone(), &Image::default())
}

fn defaults() -> BrokerConfig {
    BrokerConfig::load(&Sources::none()).unwrap()
}

#[test]
fn every_key_has_its_default_when_nothing_is_given() {
    let config = defaults();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.data_dirs(), [Path::new("./cairn-data")]);
    assert_eq!(config.metadata_dir(), Path::new("./cairn-data"));
    assert_eq!(topic_settings(&config), TopicSettings::resolve(&ConfigMap::new(), &ConfigMap::new()));
    assert_eq!(config.listeners().len(), 1);
    assert_eq!(config.listeners()[0].bind.to_string(), "127.0.0.1:9092");
    assert_eq!(config.listeners()[0].advertise, Advertise::Reached);
    assert!(config.given.is_empty());
}

#[test]
fn the_listed_file_has_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/broker.toml");
    let listed = BrokerConfig::load(&Sources::none().file(&path)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(listed.values, Values { given: listed.given.clone(), ..defaults().values });
    for key in KEYS {
        assert!(listed.given.contains_key(key.name) || key.default.is_empty(), "{} is not listed", key.name);
        assert!(text.contains(&format!("\"{}\" = ", key.name)), "{} is not listed", key.name);
        let first_words: String = key.doc.trim().chars().take(30).collect();
        assert!(text.contains(&first_words), "{} is listed without its meaning", key.name);
    }
}

/// What docs/migrate-from-kafka.md says is there, is there.
#[test]
fn the_page_on_migration_promises_no_key_that_there_is_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/migrate-from-kafka.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut rows = 0;
    for line in page.lines() {
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | ")) else { continue };
        let Some((verdict, _)) = rest.split_once(" |") else { continue };
        let is_key = KEYS.iter().any(|key| key.name == name);
        let is_unused = UNUSED.iter().any(|unused| unused.name == name);
        match verdict {
            "same" | "other" => assert!(is_key, "{name} is said to be {verdict}"),
            "accepted" => assert!(is_unused, "{name} is said to be {verdict}"),
            "not needed" | "not yet" => {}
            _ => continue,
        }
        rows += 1;
    }
    assert_eq!(rows, 340, "the keys that Apache Kafka 4.3.1 tells");
}

#[test]
fn later_sources_win() {
    let (_folder, path) = file("broker.toml", "num.partitions = 2\nnode.id = 7\n\"message.max.bytes\" = \"2MiB\"\n");
    let environment = [("CAIRN__NUM_PARTITIONS", "3"), ("CAIRN__LOG_SEGMENT_BYTES", "2097152"), ("HOME", "/nowhere")];
    let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sources = Sources::none().file(&path).environment(environment).set("log.segment.bytes", "4194304");
    let config = load(&sources).unwrap();
    assert_eq!((config.node_id, config.num_partitions, config.log_segment_bytes), (7, 3, 4_194_304));
    assert_eq!(config.message_max_bytes, 2 << 20);
    assert_eq!(config.given.get("num.partitions").map(String::as_str), Some("3"));
}

#[test]
fn a_key_that_begins_other_keys_is_kept() {
    let (_folder, path) = file("broker.toml", "\"max.connections\" = 11\n\"max.connections.per.ip\" = 12\n");
    let config = load(&Sources::none().file(&path)).unwrap();
    assert_eq!((config.max_connections, config.max_connections_per_ip), (11, 12));
    let environment = [("CAIRN__MAX_CONNECTIONS", "21"), ("CAIRN__MAX_CONNECTIONS_PER_IP", "22")];
    let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = load(&Sources::none().file(&path).environment(environment)).unwrap();
    assert_eq!((config.max_connections, config.max_connections_per_ip), (21, 22));
    let config = load(&Sources::none().set("max.connections", "31").set("max.connections.per.ip", "32")).unwrap();
    assert_eq!((config.max_connections, config.max_connections_per_ip), (31, 32));
}

#[test]
fn errors_name_key_value_and_what_is_allowed() {
    let cases = [
        ("num.partitions", "0", "num.partitions (command line): got \"0\", allowed is a number from 1 to 100000"),
        ("auto.create.topics.enable", "yes", "got \"yes\", allowed is true or false"),
        ("log.durability", "fsync", "got \"fsync\", allowed is one of replicated, synced"),
        ("listeners", "localhost:9092", "NAME://HOST:PORT"),
        ("advertised.listeners", "PLAINTEXT://0.0.0.0:9092", "not 0.0.0.0"),
        ("listeners", "SASL_SSL://:9092", "none for SASL_SSL"),
        ("listeners", "PLAINTEXT://:1,PLAINTEXT://:2", "each name once"),
        ("advertised.listeners", "OTHER://h:1", "has no OTHER"),
        ("listener.security.protocol.map", "A:SSL", "TLS and SASL are not served yet"),
        ("log.dirs", "/a,,/b", "the path of a folder, several by comma"),
        ("group.max.session.timeout.ms", "5999", "at least group.min.session.timeout.ms, 6000"),
        ("queued.max.request.bytes", "1MiB", "at least socket.request.max.bytes"),
        ("num.partition", "3", "unknown key num.partition (command line): did you mean num.partitions?"),
    ];
    for (key, value, expected) in cases {
        let error = load(&Sources::none().set(key, value)).unwrap_err();
        assert!(error.contains(expected), "{key}={value}: {error}");
    }
    let error = load(&Sources::none().set("xyzzy", "1")).unwrap_err();
    assert_eq!(error, "unknown key xyzzy (command line)");
}

#[test]
fn listeners_are_kafkas() {
    let sources = Sources::none()
        .set("listeners", "IN://127.0.0.1:0, out://[::1]:9093,ALL://:9094,V6://[::]:9095")
        .set("listener.security.protocol.map", "IN:PLAINTEXT,OUT:PLAINTEXT,ALL:PLAINTEXT,V6:PLAINTEXT")
        .set("advertised.listeners", "OUT://kafka.example.com:19093");
    let config = load(&sources).unwrap();
    let shown: Vec<String> =
        config.listeners().iter().map(|l| format!("{} {} {:?}", l.name, l.bind, l.advertise)).collect();
    assert_eq!(shown[0], "IN 127.0.0.1:0 Bound");
    assert!(shown[1].starts_with("OUT [::1]:9093 Fixed"), "{}", shown[1]);
    assert_eq!(shown[2], "ALL :9094 Reached");
    assert_eq!(shown[3], "V6 [::]:9095 Reached");
}

#[test]
fn times_and_sizes_take_units() {
    let sources = Sources::none()
        .set("log.retention.ms", "2days")
        .set("log.segment.bytes", "16MiB")
        .set("log.roll.hours", "2")
        .set("log.disk.reserve.bytes", "1GiB");
    let config = load(&sources).unwrap();
    let settings = topic_settings(&config);
    assert_eq!(settings.retention_ms, Some(2 * 24 * 3_600_000));
    assert_eq!(settings.segment_bytes, 16 << 20);
    assert_eq!(settings.segment_ms, 7_200_000);
    assert_eq!(config.log_disk_reserve_bytes, Some(1 << 30));
    let forever = load(&Sources::none().set("log.retention.minutes", "-1").set("log.retention.hours", "1")).unwrap();
    assert_eq!(topic_settings(&forever).retention_ms, None);
    let settings = load(&Sources::none().set("log.durability", "synced").set("message.max.bytes", "1KiB")).unwrap();
    assert_eq!(topic_settings(&settings).durability, Durability::Synced);
    assert_eq!(topic_settings(&settings).max_message_bytes, 1024);
}

/// An image in which these configs are set.
fn image(set: &[(ConfigResource, &str, &str)]) -> Image {
    (1..).zip(set).fold(Image::default(), |image, (index, (resource, name, value))| {
        let changes = vec![ConfigChange { name: (*name).into(), value: Some((*value).into()) }];
        image.apply(index, &Command::SetConfigs { resource: resource.clone(), changes }).unwrap().image
    })
}

#[test]
fn the_listener_between_brokers_is_one_of_the_listeners() {
    let with = |name| {
        let sources = Sources::none()
            .set("listeners", "INSIDE://127.0.0.1:1,OUTSIDE://127.0.0.1:2")
            .set("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT")
            .set("inter.broker.listener.name", name);
        load(&sources)
    };
    assert!(with("inside").is_ok() && with("").is_ok());
    let error = with("CONTROLLER").unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid value for inter.broker.listener.name: got \"CONTROLLER\", allowed is a name that listeners has, which has no CONTROLLER"
    );
}

/// What is that long is no mistyped key: it is not compared with every one of them.
#[test]
fn a_very_long_key_gets_no_suggestion() {
    let long = "log.retention.ms".repeat(8);
    assert_eq!(nearest_key(&long[..KEY_LEN_MAX]), "");
    let error = check_dynamic(&"log.retention.ms".repeat(2_000), "1").unwrap_err();
    assert!(matches!(error, SetError::Unknown { suggestion, .. } if suggestion.is_empty()));
}

#[test]
fn what_was_set_since_goes_over_what_was_given() {
    let start = load(&Sources::none().set("message.max.bytes", "1KiB").set("log.retention.hours", "1")).unwrap();
    let live = live(&start);
    let (all, this, other) = (ConfigResource::Brokers, BrokerId(1), BrokerId(2));
    live.update(&image(&[
        (all.clone(), "message.max.bytes", "2000"),
        (all.clone(), "log.retention.ms", "7"),
        (ConfigResource::Broker(this), "message.max.bytes", "3000"),
        (ConfigResource::Broker(other), "message.max.bytes", "4000"),
        // As a later release may have set them.
        (all.clone(), "brand.new", "x"),
        (ConfigResource::Broker(this), "max.connections", "many"),
    ]));
    let now = live.load();
    assert_eq!((now.message_max_bytes, now.log_retention_ms, now.max_connections), (3000, Some(7), 10_000));
    let topic = TopicSettings::resolve(&ConfigMap::new(), &now.topic_defaults);
    assert_eq!((topic.max_message_bytes, topic.retention_ms), (3000, Some(7)));
    assert_eq!(live.start(), &start);
    live.update(&Image::default());
    assert_eq!(live.load().message_max_bytes, 1024);
    assert!(
        live.is_of(&all) && live.is_of(&ConfigResource::Broker(this)) && !live.is_of(&ConfigResource::Broker(other))
    );
}

#[test]
fn only_what_is_dynamic_is_set_while_the_broker_runs() {
    assert_eq!(check_dynamic("log.retention.ms", " 2days "), Ok("172800000".into()));
    assert_eq!(check_dynamic("num.io.threads", "16"), Ok("16".into()));
    assert_eq!(check_dynamic("sasl.kerberos.min.time.before.relogin", "58000"), Ok("58000".into()));
    for (name, value, expected) in [
        ("num.partitions", "2", "Cannot update these configs dynamically: [num.partitions]"),
        ("log.retention.hours", "2", "Cannot update these configs dynamically: [log.retention.hours]"),
        ("log.retention.m", "2", "unknown broker config 'log.retention.m': did you mean log.retention.ms?"),
        ("log.segment.bytes", "7", "invalid value '7' for broker config 'log.segment.bytes'"),
        ("log.retention.ms", "", "invalid value '' for broker config 'log.retention.ms': allowed is a value"),
        ("num.io.threads", "many", "allowed is a value of its type"),
    ] {
        let error = check_dynamic(name, value).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
    assert!(UNUSED.is_sorted_by(|a, b| a.name < b.name));
    assert!(UNUSED.iter().all(|unused| KEYS.iter().all(|key| key.name != unused.name)));
}

#[test]
fn every_key_is_told_with_its_source() {
    let start = load(&Sources::none().set("log.retention.hours", "1")).unwrap();
    let live = live(&start);
    live.update(&image(&[
        (ConfigResource::Brokers, "log.retention.ms", "7"),
        (ConfigResource::Broker(BrokerId(1)), "log.retention.ms", "8"),
        (ConfigResource::Brokers, "num.io.threads", "9"),
    ]));
    let all = describe_broker(&live.load().configs);
    assert_eq!(all.len(), KEYS.len() + 1);
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    let told = |name: &str| all.iter().find(|key| key.name == name).unwrap();
    let synonyms = |name: &str| -> Vec<_> {
        told(name).synonyms.iter().map(|s| (s.name, s.value.to_string(), s.source)).collect()
    };
    assert_eq!(
        (told("log.retention.ms").value.as_deref(), told("log.retention.ms").source),
        (Some("8"), Source::DynamicBroker)
    );
    assert_eq!(
        synonyms("log.retention.ms"),
        [
            ("log.retention.ms", "8".to_owned(), Source::DynamicBroker),
            ("log.retention.ms", "7".to_owned(), Source::DynamicDefaultBroker),
            ("log.retention.hours", "1".to_owned(), Source::StaticBroker),
            ("log.retention.hours", "168".to_owned(), Source::Default),
        ]
    );
    assert_eq!((told("log.roll.ms").value.as_deref(), synonyms("log.roll.ms").len()), (None, 0));
    assert_eq!((told("node.id").value.as_deref(), told("node.id").read_only), (Some("1"), true));
    assert_eq!(
        (told("num.io.threads").source, told("num.io.threads").read_only),
        (Source::DynamicDefaultBroker, false)
    );
    let of_all: Vec<_> =
        describe_brokers(&live.load().configs.dynamic_default).into_iter().map(|key| key.name).collect();
    assert_eq!(of_all, ["log.retention.ms", "num.io.threads"]);
}

#[test]
fn keys_and_the_topic_configs_that_they_are_defaults_of_agree() {
    let mut met = 0;
    for topic in TOPIC_CONFIGS {
        for (at, synonym) in topic.synonyms.iter().enumerate() {
            let Some(key) = KEYS.iter().find(|key| key.name == synonym.name) else { continue };
            met += 1;
            assert_eq!(key.update == Update::ClusterWide, at == 0, "{}: the strongest alone is dynamic", key.name);
            if topic.synonyms.len() == 1 {
                assert_eq!((key.kind, key.default), (topic.kind, topic.default), "{}", key.name);
            }
            if let Allowed::Range(first, last) = topic.allowed
                && synonym.factor == 1
            {
                // The ends of the range are allowed in both, and what is just outside in neither.
                let allows = |number: i128| Values::plain(key.name, &number.to_string()).unwrap().is_ok();
                let first = i128::from(first).max(if key.name == "log.flush.interval.ms" { 1 } else { i128::MIN });
                let ends = (allows(first - 1), allows(first), allows(last.into()), allows(i128::from(last) + 1));
                assert_eq!(ends, (false, true, true, false), "{}", key.name);
            }
        }
    }
    assert!(met >= 19, "{met}");
    assert!(configs::find_by_synonym("log.retention.hours").is_some());
}
