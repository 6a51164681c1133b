//! The schema check finds what differs: our own schema, packed as definitions into a jar, is the same; with one seeded
//! change of each kind it is not.

#[allow(dead_code)]
#[path = "../build/schema.rs"]
mod schema;

#[allow(dead_code)]
#[path = "../build/names.rs"]
mod names;

#[path = "../examples/schema_check/command.rs"]
mod command;
#[path = "../examples/schema_check/compare.rs"]
mod compare;
#[path = "../examples/schema_check/definitions.rs"]
mod definitions;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use command::Outcome;
use schema::{Field, Kind, Message, Versions};
use serde_json::{Value, json};

fn our_schema() -> BTreeMap<String, Message> {
    command::read_schema(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")).unwrap()
}

/// A message as Kafka's definition files say it.
fn definition(message: &Message) -> Value {
    let kind = match message.kind {
        Kind::RecordKey => "coordinator-key",
        Kind::RecordValue => "coordinator-value",
        other => other.word(),
    };
    let mut value = json!({
        "type": kind,
        "name": message.name,
        "validVersions": message.versions.to_string(),
        "flexibleVersions": message.flexible.to_string(),
        "fields": message.fields.iter().map(field_definition).collect::<Vec<_>>(),
    });
    if let Some(key) = message.key {
        value["apiKey"] = json!(key);
    }
    if !message.listeners.is_empty() {
        value["listeners"] = json!(message.listeners);
    }
    if message.unstable {
        value["latestVersionUnstable"] = json!(true);
    }
    let shared = message.structs.iter().map(|shared| {
        let fields = shared.fields.iter().map(field_definition).collect::<Vec<_>>();
        json!({"name": shared.name, "versions": shared.versions.to_string(), "fields": fields})
    });
    value["commonStructs"] = shared.collect();
    value
}

fn field_definition(field: &Field) -> Value {
    let array = if field.array { "[]" } else { "" };
    let mut value = json!({
        "name": field.name,
        "type": format!("{array}{}", field.base),
        "versions": field.versions.to_string(),
        "about": "nothing that counts",
        "ignorable": field.ignorable,
        "mapKey": field.key,
    });
    if !field.nullable.is_none() {
        value["nullableVersions"] = json!(field.nullable.to_string());
    }
    if let Some((tag, versions)) = field.tag {
        value["tag"] = json!(tag);
        value["taggedVersions"] = json!(versions.to_string());
    }
    if let Some(default) = &field.default {
        value["default"] = json!(default);
    }
    if let Some(flexible) = field.flexible {
        value["flexibleVersions"] = json!(flexible.to_string());
    }
    if !field.fields.is_empty() {
        value["fields"] = field.fields.iter().map(field_definition).collect();
    }
    value
}

/// A jar with these messages, in a folder that is removed at the end.
fn jar(messages: &BTreeMap<String, Message>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kafka-all-1.jar");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for message in messages.values() {
        let folder = if message.name == "ProducerSnapshot" { "message" } else { "common/message" };
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("{folder}/{}.json", message.name), options).unwrap();
        write!(zip, "// A comment before it.\n{:#}", definition(message)).unwrap();
    }
    zip.start_file("message/OfAnotherTopic.json", zip::write::SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    (dir, path)
}

fn check(messages: &BTreeMap<String, Message>) -> (Outcome, Vec<String>) {
    let (_dir, path) = jar(messages);
    let outcome = command::run(&[path.to_str().unwrap().to_owned()]).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let read = definitions::read_jar(file).unwrap();
    let theirs = read.into_iter().map(|message| (message.name.clone(), message)).collect();
    (outcome, compare::compare(&our_schema(), &theirs))
}

#[test]
fn our_own_schema_has_no_differences() {
    assert_eq!(check(&our_schema()), (Outcome::Done, vec![]));
}

#[test]
fn every_seeded_difference_is_found() {
    type Change = fn(&mut BTreeMap<String, Message>);
    fn topic(messages: &mut BTreeMap<String, Message>) -> &mut Field {
        &mut messages.get_mut("ProduceRequest").unwrap().fields[3]
    }
    fn partition(messages: &mut BTreeMap<String, Message>) -> &mut Field {
        &mut topic(messages).fields[2]
    }
    let changes: [(Change, &str); 19] = [
        (|all| drop(all.remove("FetchRequest")), "FetchRequest: only in our schema"),
        (
            |all| {
                let mut new = all["FetchRequest"].clone();
                new.name = "NewRequest".to_owned();
                all.insert(new.name.clone(), new);
            },
            "NewRequest: only in the jars",
        ),
        (|all| all.get_mut("VoteRequest").unwrap().key = Some(9), "VoteRequest: key: ours Some(52), the jars' Some(9)"),
        (|all| all.get_mut("VoteRequest").unwrap().versions.last = 3, "VoteRequest: versions: ours 0-2, the jars' 0-3"),
        (
            |all| all.get_mut("VoteRequest").unwrap().flexible = Versions::NONE,
            "VoteRequest: flexible versions: ours 0+, the jars' none",
        ),
        (
            |all| all.get_mut("VoteRequest").unwrap().kind = Kind::Data,
            "VoteRequest: kind: ours Request, the jars' Data",
        ),
        (
            |all| all.get_mut("VoteRequest").unwrap().unstable = true,
            "VoteRequest: unstable: ours false, the jars' true",
        ),
        (
            |all| all.get_mut("VoteRequest").unwrap().listeners.push("broker".to_owned()),
            "VoteRequest: listeners: ours [\"controller\"], the jars' [\"controller\", \"broker\"]",
        ),
        (
            |all| all.get_mut("LeaderChangeMessage").unwrap().structs[0].fields[1].versions.first = 0,
            "LeaderChangeMessage.Voter.VoterDirectoryId: versions: ours 1+, the jars' 0+",
        ),
        (|all| drop(partition(all).fields.pop()), "ProduceRequest.TopicData.PartitionData.Records: only in our schema"),
        (
            |all| {
                let mut new = partition(all).fields[0].clone();
                new.name = "New".to_owned();
                partition(all).fields.push(new);
            },
            "ProduceRequest.TopicData.PartitionData.New: only in the jars",
        ),
        (
            |all| topic(all).fields.swap(0, 1),
            "ProduceRequest.TopicData: order of fields: ours [\"Name\", \"TopicId\", \"PartitionData\"], \
             the jars' [\"TopicId\", \"Name\", \"PartitionData\"]",
        ),
        (
            |all| topic(all).fields[0].base = "uuid".to_owned(),
            "ProduceRequest.TopicData.Name: type: ours (false, \"string\"), the jars' (false, \"uuid\")",
        ),
        (
            |all| topic(all).fields[0].versions = Versions::parse("0+").unwrap(),
            "ProduceRequest.TopicData.Name: versions: ours 0-12, the jars' 0+",
        ),
        (
            |all| topic(all).fields[0].nullable = Versions::parse("3+").unwrap(),
            "ProduceRequest.TopicData.Name: nullable versions: ours none, the jars' 3+",
        ),
        (
            |all| topic(all).fields[0].tag = Some((1, Versions::parse("9+").unwrap())),
            "ProduceRequest.TopicData.Name: tag: ours None, the jars' Some((1, Versions { first: 9, last: 32767 }))",
        ),
        (
            |all| partition(all).fields[0].default = Some("-1".to_owned()),
            "ProduceRequest.TopicData.PartitionData.Index: default: ours None, the jars' Some(\"-1\")",
        ),
        (
            |all| topic(all).fields[0].ignorable = false,
            "ProduceRequest.TopicData.Name: ignorable: ours true, the jars' false",
        ),
        (|all| topic(all).fields[0].key = false, "ProduceRequest.TopicData.Name: key: ours true, the jars' false"),
    ];
    for (change, expected) in changes {
        let mut theirs = our_schema();
        change(&mut theirs);
        assert_eq!(check(&theirs), (Outcome::Different, vec![expected.to_owned()]));
    }
}

#[test]
fn jars_without_definitions_are_an_error() {
    let (_dir, path) = jar(&BTreeMap::new());
    assert!(command::run(&[path.to_str().unwrap().to_owned()]).is_err());
    assert!(command::run(&["/nowhere".to_owned()]).is_err());
    assert_eq!(command::run(&[]), Ok(Outcome::Usage));
    let unknown = r#"{"type": "data", "name": "X", "validVersions": "0", "fields": [], "surprise": 1}"#;
    assert_eq!(definitions::read_definition(unknown), Err("unknown property `surprise`".to_owned()));
}

#[test]
fn the_schema_is_printed_as_it_is_read() {
    for (name, message) in our_schema() {
        assert_eq!(schema::parse(&message.to_string()), Ok(vec![message]), "{name}");
    }
}
