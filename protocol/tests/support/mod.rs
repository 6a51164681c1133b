//! The schema as a second, independent implementation of the wire: it makes bytes of messages straight from the schema's
//! text, without the generated code, with values that a [`Choices`] picks.
//!
//! Must not know: the generated types.

#![allow(dead_code)]

#[path = "../../build/schema.rs"]
pub(crate) mod schema;

pub(crate) mod random;

use std::collections::BTreeMap;
use std::path::Path;

use schema::{Field, Message};

/// All messages of the schema that have versions, by name.
pub(crate) fn all_messages() -> BTreeMap<String, Message> {
    fn read(dir: &Path, messages: &mut BTreeMap<String, Message>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, messages);
                continue;
            }
            for message in schema::parse(&std::fs::read_to_string(&path).unwrap()).unwrap() {
                messages.insert(message.name.clone(), message);
            }
        }
    }
    let mut messages = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schema"), &mut messages);
    messages.retain(|_, message| !message.versions.is_none());
    messages
}

/// Picks the values. Paths name the fields down to the one that is asked about, as `Topics.Partitions`.
pub(crate) trait Choices {
    /// Whether a nullable field is null.
    fn is_null(&mut self, path: &str, field: &Field) -> bool;
    /// How many elements an array has.
    fn count(&mut self, path: &str) -> usize;
    /// Whether a tagged field is written, should its value differ from the default.
    fn has_tag(&mut self, path: &str) -> bool;
    /// The unknown tagged fields of a struct, with tags above all known ones.
    fn unknown_tags(&mut self) -> Vec<(u32, Vec<u8>)>;
    /// `len` bytes of a number.
    fn number(&mut self, len: usize) -> Vec<u8>;
    /// A bool.
    fn truth(&mut self) -> bool;
    /// A string.
    fn text(&mut self) -> String;
    /// A byte field.
    fn bytes(&mut self) -> Vec<u8>;
}

/// One message in one version.
pub(crate) fn message_bytes(message: &Message, version: i16, choices: &mut dyn Choices) -> Vec<u8> {
    let mut maker = Maker { message, version, choices, path: String::new() };
    maker.fields(&message.fields)
}

struct Maker<'a> {
    message: &'a Message,
    version: i16,
    choices: &'a mut dyn Choices,
    /// The field that is made.
    path: String,
}

impl<'a> Maker<'a> {
    fn fields(&mut self, fields: &'a [Field]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut tagged = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|field| field.versions.contains(version)) {
            let outer = self.path.len();
            self.path.push_str(if outer == 0 { "" } else { "." });
            self.path.push_str(&field.name);
            match field.tag.filter(|(_, versions)| versions.contains(self.version)) {
                None => bytes.extend(self.field(field)),
                Some((tag, _)) if self.choices.has_tag(&self.path) => {
                    let value = self.field(field);
                    if value != self.default_of(field) {
                        tagged.push((tag, value));
                    }
                }
                Some(_) => {}
            }
            self.path.truncate(outer);
        }
        if self.message.flexible.contains(self.version) {
            tagged.sort();
            tagged.extend(self.choices.unknown_tags());
            put_varint(&mut bytes, tagged.len());
            for (tag, value) in tagged {
                put_varint(&mut bytes, tag as usize);
                put_varint(&mut bytes, value.len());
                bytes.extend(value);
            }
        }
        bytes
    }

    fn field(&mut self, field: &'a Field) -> Vec<u8> {
        let nullable = field.nullable.contains(self.version);
        let null = nullable && self.choices.is_null(&self.path, field);
        if field.array {
            let count = if null { 0 } else { self.choices.count(&self.path) };
            let mut bytes = self.length(field, (!null).then_some(count), 4);
            for _ in 0..count {
                bytes.extend(self.value(field));
            }
            return bytes;
        }
        match field.base.as_str() {
            "string" | "bytes" | "records" if null => {
                self.length(field, None, if field.base == "string" { 2 } else { 4 })
            }
            // In tagged fields the marker is a variable-length number.
            _ if field.is_struct() && null => vec![if field.tag.is_some() { 0 } else { 0xff }],
            _ if field.is_struct() && nullable => [vec![1], self.value(field)].concat(),
            _ => self.value(field),
        }
    }

    fn value(&mut self, field: &'a Field) -> Vec<u8> {
        match field.base.as_str() {
            "bool" => vec![u8::from(self.choices.truth())],
            "int8" => self.choices.number(1),
            "int16" | "uint16" => self.choices.number(2),
            "int32" | "uint32" => self.choices.number(4),
            "int64" | "float64" => self.choices.number(8),
            "uuid" => self.choices.number(16),
            "string" => {
                let text = self.choices.text();
                [self.length(field, Some(text.len()), 2), text.into_bytes()].concat()
            }
            "bytes" | "records" => {
                let bytes = self.choices.bytes();
                [self.length(field, Some(bytes.len()), 4), bytes].concat()
            }
            _ => {
                let fields = self.fields_of(field);
                self.fields(fields)
            }
        }
    }

    fn fields_of(&self, field: &'a Field) -> &'a [Field] {
        if !field.fields.is_empty() {
            return &field.fields;
        }
        &self.message.structs.iter().find(|shared| shared.name == field.base).expect("a shared struct").fields
    }

    fn length(&self, field: &Field, len: Option<usize>, fixed: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if field.flexible.unwrap_or(self.message.flexible).contains(self.version) {
            put_varint(&mut bytes, len.map_or(0, |len| len + 1));
            return bytes;
        }
        let len = len.map_or(-1, |len| i32::try_from(len).unwrap());
        if fixed == 2 { i16::try_from(len).unwrap().to_be_bytes().to_vec() } else { len.to_be_bytes().to_vec() }
    }

    /// The bytes of the value that a tagged field has when it is left out.
    fn default_of(&self, field: &'a Field) -> Vec<u8> {
        let number = |len: usize| {
            let value: i64 = field.default.as_deref().unwrap_or("0").parse().unwrap();
            value.to_be_bytes()[8 - len..].to_vec()
        };
        let null = field.default.as_deref() == Some("null");
        match field.base.as_str() {
            _ if field.array => self.length(field, (!null).then_some(0), 4),
            "string" => self.length(field, (!null).then_some(0), 2),
            "bytes" | "records" => self.length(field, (!null).then_some(0), 4),
            "bool" => vec![u8::from(field.default.as_deref() == Some("true"))],
            "int8" => number(1),
            "int16" | "uint16" => number(2),
            "int32" | "uint32" => number(4),
            "int64" => number(8),
            "float64" => vec![0; 8],
            "uuid" => vec![0; 16],
            _ if null => vec![0],
            _ => {
                let present = self.fields_of(field).iter().filter(|inner| inner.versions.contains(self.version));
                let untagged =
                    present.filter(|inner| !inner.tag.is_some_and(|(_, tagged)| tagged.contains(self.version)));
                let mut bytes: Vec<u8> = untagged.flat_map(|inner| self.default_of(inner)).collect();
                bytes.push(0);
                if field.nullable.contains(self.version) {
                    bytes.insert(0, 1);
                }
                bytes
            }
        }
    }
}

/// Seven bits a byte, the lowest first.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// Every array of a message that is there in `version`, by path.
pub(crate) fn array_paths(message: &Message, version: i16) -> Vec<String> {
    fn walk(message: &Message, fields: &[Field], path: &str, version: i16, paths: &mut Vec<String>) {
        for field in fields.iter().filter(|field| field.versions.contains(version)) {
            let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            if field.array {
                paths.push(path.clone());
            }
            let shared = message.structs.iter().find(|shared| shared.name == field.base);
            let inner =
                if field.fields.is_empty() { shared.map_or(&[][..], |shared| &shared.fields) } else { &field.fields };
            walk(message, inner, &path, version, paths);
        }
    }
    let mut paths = Vec::new();
    walk(message, &message.fields, "", version, &mut paths);
    paths
}
