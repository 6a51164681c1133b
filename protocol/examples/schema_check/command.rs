//! What the command does with its arguments.
//!
//! Must not know: how definitions are read or compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::schema::{self, Message};
use crate::{compare, definitions};

/// The jars that define what Cairn speaks or stores.
const JARS: [&str; 4] = ["kafka-clients", "kafka-group-coordinator", "kafka-transaction-coordinator", "kafka-storage"];

/// How the command ends when nothing fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No differences, or all is written.
    Done,
    /// The schema differs from the jars.
    Different,
    /// The arguments are no use of the command.
    Usage,
}

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Result<Outcome, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--write", dir, ref jars @ ..] if !jars.is_empty() => write(Path::new(dir), jars),
        [first, ..] if !first.starts_with('-') => check(&words),
        _ => {
            eprintln!("usage: schema_check [--write DIR] (JAR | DIR-OF-JARS)...");
            Ok(Outcome::Usage)
        }
    }
}

fn check(jars: &[&str]) -> Result<Outcome, String> {
    let theirs = read_jars(jars)?;
    let ours = read_schema(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schema"))?;
    let differences = compare::compare(&ours, &theirs);
    for difference in &differences {
        println!("{difference}");
    }
    println!("{} messages of ours, {} of the jars, {} differences", ours.len(), theirs.len(), differences.len());
    Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Different })
}

/// Writes the jars' facts as schema text: one file per API, per record type and per other message.
fn write(dir: &Path, jars: &[&str]) -> Result<Outcome, String> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for message in read_jars(jars)?.values() {
        let text = files.entry(dir.join(definitions::file_of(message))).or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&message.to_string());
    }
    for (path, text) in &files {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| format!("create {}: {error}", parent.display()))?;
        }
        std::fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    println!("{} files", files.len());
    Ok(Outcome::Done)
}

fn read_jars(arguments: &[&str]) -> Result<BTreeMap<String, Message>, String> {
    let mut messages = BTreeMap::new();
    for jar in find_jars(arguments)? {
        let file = std::fs::File::open(&jar).map_err(|error| format!("open {}: {error}", jar.display()))?;
        for message in definitions::read_jar(file).map_err(|error| format!("{}: {error}", jar.display()))? {
            messages.insert(message.name.clone(), message);
        }
    }
    if messages.is_empty() { Err("no message definitions in these jars".to_owned()) } else { Ok(messages) }
}

/// A directory stands for the jars in it that define messages of ours: each has to be there once.
fn find_jars(arguments: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut jars = Vec::new();
    for argument in arguments {
        let path = Path::new(argument);
        if !path.is_dir() {
            jars.push(path.to_owned());
            continue;
        }
        for name in JARS {
            let is_it = |file: &str| {
                let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                version.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with(".jar"))
            };
            let entries = std::fs::read_dir(path).map_err(|error| format!("read {argument}: {error}"))?;
            let mut found = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_it));
            let jar = found.next().ok_or_else(|| format!("{argument} holds no {name}-VERSION.jar"))?;
            if found.next().is_some() {
                return Err(format!("{argument} holds several {name}-VERSION.jar"));
            }
            jars.push(jar.path());
        }
    }
    Ok(jars)
}

pub(crate) fn read_schema(dir: &Path) -> Result<BTreeMap<String, Message>, String> {
    let mut messages = BTreeMap::new();
    let entries = std::fs::read_dir(dir).map_err(|error| format!("read {}: {error}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            messages.extend(read_schema(&path)?);
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
        for message in schema::parse(&text).map_err(|error| format!("{}: {error}", path.display()))? {
            messages.insert(message.name.clone(), message);
        }
    }
    Ok(messages)
}
