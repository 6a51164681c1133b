use cairn_metadata::configs::{ConfigMap, TopicSettings};

use super::*;

fn load(sources: &Sources) -> Result<BrokerConfig, String> {
    BrokerConfig::load(sources).map_err(|error| error.to_string())
}

fn file(name: &str, content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn topic_settings(config: &BrokerConfig) -> TopicSettings {
    TopicSettings::resolve(&ConfigMap::new(), &config.topic_defaults())
}

fn defaults() -> BrokerConfig {
    BrokerConfig::load(&Sources::none()).unwrap()
}

#[test]
fn every_key_has_its_default_when_nothing_is_given() {
    let config = defaults();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.data_dir(), Path::new("./cairn-data"));
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
        ("log.dirs", "/a,/b", "the path of one folder"),
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
    assert_eq!(topic_settings(&settings).durability, configs::Durability::Synced);
    assert_eq!(topic_settings(&settings).max_message_bytes, 1024);
}
