//! Apache Kafka's message definitions (JSON with comments, inside its jars) as the schema's model.
//!
//! Must not know: where the schema's files are, how the two are compared.

use std::borrow::Cow;
use std::io::{Read, Seek};

use serde_json::{Map, Value};

use crate::names;
use crate::schema::{Field, Kind, Message, Struct, Versions};

/// All definitions in one jar.
pub(crate) fn read_jar(jar: impl Read + Seek) -> Result<Vec<Message>, String> {
    let mut archive = zip::ZipArchive::new(jar).map_err(|error| error.to_string())?;
    let names = archive.file_names().flatten().filter(|name| is_ours(name)).map(Cow::into_owned).collect::<Vec<_>>();
    let mut messages = Vec::with_capacity(names.len());
    for name in names {
        let mut text = String::new();
        let mut file = archive.by_name(&name).map_err(|error| error.to_string())?;
        file.read_to_string(&mut text).map_err(|error| format!("{name}: {error}"))?;
        messages.push(read_definition(&text).map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(messages)
}

/// Of the storage jar only the producer snapshot: the others belong to tiered storage's own topic.
fn is_ours(name: &str) -> bool {
    name == "message/ProducerSnapshot.json" || (name.starts_with("common/message/") && name.ends_with(".json"))
}

/// One definition file.
pub(crate) fn read_definition(text: &str) -> Result<Message, String> {
    let without_comments: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let value: Value = serde_json::from_str(&without_comments).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("expected an object")?;
    let kind = match word(object, "type")? {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "header" => Kind::Header,
        "data" => Kind::Data,
        "coordinator-key" => Kind::RecordKey,
        "coordinator-value" => Kind::RecordValue,
        other => return Err(format!("unknown type `{other}`")),
    };
    let known = ["type", "name", "apiKey", "validVersions", "flexibleVersions", "listeners", "fields", "commonStructs"];
    refuse_unknown(object, &known, &["latestVersionUnstable"])?;
    let mut structs = Vec::new();
    for shared in list(object, "commonStructs")? {
        let shared = shared.as_object().ok_or("expected a struct")?;
        refuse_unknown(shared, &["name", "versions", "fields"], &[])?;
        structs.push(Struct {
            name: word(shared, "name")?.to_owned(),
            versions: versions(shared, "versions")?.ok_or("a struct without versions")?,
            fields: fields(shared)?,
        });
    }
    let listeners = list(object, "listeners")?.iter().map(|name| name.as_str().map(str::to_owned));
    let key = object.get("apiKey").map(|key| key.as_i64().and_then(|key| i16::try_from(key).ok()).ok_or("bad apiKey"));
    Ok(Message {
        kind,
        name: word(object, "name")?.to_owned(),
        key: key.transpose()?,
        versions: versions(object, "validVersions")?.ok_or("no validVersions")?,
        flexible: versions(object, "flexibleVersions")?.unwrap_or(Versions::NONE),
        listeners: listeners.collect::<Option<Vec<_>>>().ok_or("expected names of listeners")?,
        unstable: object.get("latestVersionUnstable").and_then(Value::as_bool).unwrap_or(false),
        structs,
        fields: fields(object)?,
    })
}

fn fields(object: &Map<String, Value>) -> Result<Vec<Field>, String> {
    list(object, "fields")?.iter().map(field).collect()
}

fn field(value: &Value) -> Result<Field, String> {
    let object = value.as_object().ok_or("expected a field")?;
    let name = word(object, "name")?;
    read_field(object, name).map_err(|error| format!("{name}: {error}"))
}

fn read_field(object: &Map<String, Value>, name: &str) -> Result<Field, String> {
    let known = ["name", "type", "versions", "nullableVersions", "tag", "taggedVersions", "default", "fields"];
    // What only tells people and Kafka's own tools something: texts, names of entities, a hint to its Java generator.
    refuse_unknown(object, &known, &["ignorable", "mapKey", "flexibleVersions", "about", "entityType", "zeroCopy"])?;
    let ty = word(object, "type")?;
    let base = ty.strip_prefix("[]").unwrap_or(ty);
    let tagged = versions(object, "taggedVersions")?;
    let tag = match (object.get("tag").and_then(Value::as_u64), tagged) {
        (Some(tag), Some(tagged)) => Some((u32::try_from(tag).map_err(|error| error.to_string())?, tagged)),
        (None, None) => None,
        _ => return Err("tag and taggedVersions belong together".to_owned()),
    };
    // A field that says nowhere which versions have it is in those where it is tagged.
    let own_versions = versions(object, "versions")?.or(tagged).ok_or("no versions")?;
    Ok(Field {
        name: name.to_owned(),
        base: base.to_owned(),
        array: base != ty,
        versions: own_versions,
        nullable: versions(object, "nullableVersions")?.unwrap_or(Versions::NONE),
        tag,
        default: default(object.get("default"), ty)?,
        ignorable: flag(object, "ignorable"),
        key: flag(object, "mapKey"),
        flexible: versions(object, "flexibleVersions")?,
        fields: fields(object)?,
    })
}

/// A default in one spelling: nothing when it is the type's own, numbers in decimal.
fn default(value: Option<&Value>, ty: &str) -> Result<Option<String>, String> {
    let text = match value {
        // Kafka's own generator takes a bare null for "nothing said"; only the text "null" makes null the default.
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let is_number = matches!(ty, "int8" | "int16" | "int32" | "int64" | "uint16" | "uint32");
    let text = match text.strip_prefix("0x") {
        Some(digits) if is_number => i64::from_str_radix(digits, 16).map_err(|error| error.to_string())?.to_string(),
        _ => text,
    };
    let is_own = text.is_empty() || (is_number && text == "0") || (ty == "bool" && text == "false");
    if text.contains(char::is_whitespace) {
        return Err(format!("default `{text}` is no single word"));
    }
    Ok((!is_own).then_some(text))
}

fn refuse_unknown(object: &Map<String, Value>, known: &[&str], flags: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str()) && !flags.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown property `{name}`")),
        None => Ok(()),
    }
}

fn word<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| format!("no `{name}`"))
}

fn flag(object: &Map<String, Value>, name: &str) -> bool {
    object.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn versions(object: &Map<String, Value>, name: &str) -> Result<Option<Versions>, String> {
    object.get(name).and_then(Value::as_str).map(Versions::parse).transpose()
}

fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match object.get(name) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("expected `{name}` to be a list")),
    }
}

/// The schema file that a message belongs into.
pub(crate) fn file_of(message: &Message) -> String {
    let without = |suffixes: &[&str]| {
        let stem = suffixes.iter().find_map(|suffix| message.name.strip_suffix(suffix));
        names::snake(stem.unwrap_or(&message.name))
    };
    match message.kind {
        Kind::Request | Kind::Response => format!("api/{}.schema", without(&["Request", "Response"])),
        Kind::Header => "header.schema".to_owned(),
        Kind::Data => format!("data/{}.schema", without(&[])),
        Kind::RecordKey | Kind::RecordValue => format!("record/{}.schema", without(&["Key", "Value"])),
    }
}
