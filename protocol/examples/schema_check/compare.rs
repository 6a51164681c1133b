//! The differences between two sets of messages, one line each.
//!
//! Must not know: where either set came from.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use crate::schema::{Field, Message};

/// Every difference, both ways.
pub(crate) fn compare(ours: &BTreeMap<String, Message>, theirs: &BTreeMap<String, Message>) -> Vec<String> {
    let mut found = Vec::new();
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        found.push(format!("{name}: only in our schema"));
    }
    for (name, their) in theirs {
        match ours.get(name) {
            Some(our) => compare_messages(our, their, &mut found),
            None => found.push(format!("{name}: only in the jars")),
        }
    }
    found
}

fn compare_messages(our: &Message, their: &Message, found: &mut Vec<String>) {
    let path = &our.name;
    different(path, "kind", &our.kind, &their.kind, found);
    different(path, "key", &our.key, &their.key, found);
    different_text(path, "versions", &our.versions, &their.versions, found);
    different_text(path, "flexible versions", &our.flexible, &their.flexible, found);
    different(path, "listeners", &our.listeners, &their.listeners, found);
    different(path, "unstable", &our.unstable, &their.unstable, found);
    let names = |message: &Message| message.structs.iter().map(|shared| shared.name.clone()).collect::<Vec<_>>();
    different(path, "shared structs", &names(our), &names(their), found);
    for our in &our.structs {
        if let Some(their) = their.structs.iter().find(|their| their.name == our.name) {
            let path = format!("{path}.{}", our.name);
            different_text(&path, "versions", &our.versions, &their.versions, found);
            compare_fields(&path, &our.fields, &their.fields, found);
        }
    }
    compare_fields(path, &our.fields, &their.fields, found);
}

fn compare_fields(path: &str, ours: &[Field], theirs: &[Field], found: &mut Vec<String>) {
    let missing = |from: &[Field], name: &str| !from.iter().any(|field| field.name == name);
    for our in ours.iter().filter(|our| missing(theirs, &our.name)) {
        found.push(format!("{path}.{}: only in our schema", our.name));
    }
    for their in theirs.iter().filter(|their| missing(ours, &their.name)) {
        found.push(format!("{path}.{}: only in the jars", their.name));
    }
    let shared = |fields: &[Field], other: &[Field]| {
        let both = fields.iter().filter(|field| !missing(other, &field.name));
        both.map(|field| field.name.clone()).collect::<Vec<_>>()
    };
    different(path, "order of fields", &shared(ours, theirs), &shared(theirs, ours), found);
    for our in ours {
        if let Some(their) = theirs.iter().find(|their| their.name == our.name) {
            compare_field(&format!("{path}.{}", our.name), our, their, found);
        }
    }
}

fn compare_field(path: &str, our: &Field, their: &Field, found: &mut Vec<String>) {
    different(path, "type", &(our.array, &our.base), &(their.array, &their.base), found);
    different_text(path, "versions", &our.versions, &their.versions, found);
    different_text(path, "nullable versions", &our.nullable, &their.nullable, found);
    different(path, "tag", &our.tag, &their.tag, found);
    different(path, "default", &our.default, &their.default, found);
    different(path, "ignorable", &our.ignorable, &their.ignorable, found);
    different(path, "key", &our.key, &their.key, found);
    different(path, "flexible versions", &our.flexible, &their.flexible, found);
    compare_fields(path, &our.fields, &their.fields, found);
}

fn different<T: PartialEq + Debug>(path: &str, what: &str, our: &T, their: &T, found: &mut Vec<String>) {
    if our != their {
        found.push(format!("{path}: {what}: ours {our:?}, the jars' {their:?}"));
    }
}

fn different_text<T: PartialEq + Display>(path: &str, what: &str, our: &T, their: &T, found: &mut Vec<String>) {
    if our != their {
        found.push(format!("{path}: {what}: ours {our}, the jars' {their}"));
    }
}
