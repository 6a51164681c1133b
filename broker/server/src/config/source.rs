//! Where settings come from: a file, the environment, the command line; the later wins.
//!
//! Kafka's keys are flat, and some are both a key and the beginning of others (`max.connections`,
//! `max.connections.per.ip`), which the `config` crate would nest and so lose. So every source goes through [`Flat`], which
//! joins what is nested and turns `.` into `_`; messages give Kafka's spelling again.
//!
//! Must not know: which keys there are.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{Config, ConfigError as SourceError, Environment, File, FileFormat, Map, Source, Value, ValueKind};

/// What stands before the name of a key in an environment variable, as `CAIRN__NUM_PARTITIONS`.
pub const ENVIRONMENT_PREFIX: &str = "CAIRN";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: HashMap<String, String>,
    overrides: Vec<(String, String)>,
}

/// One setting as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: String,
}

/// The sources could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read configuration: {0}")]
pub struct ReadSourcesError(#[from] SourceError);

impl Sources {
    /// No source at all: every key has its default.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes a TOML file.
    #[must_use]
    pub fn file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// Takes `CAIRN__*` of these variables, usually [`std::env::vars`].
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Takes one key from the command line, in Kafka's spelling.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Everything that was given, by key with `_` for `.`.
    pub(super) fn collect(&self) -> Result<BTreeMap<String, Given>, ReadSourcesError> {
        let mut builder = Config::builder();
        if let Some(path) = &self.file {
            builder = builder.add_source(Flat(File::from(path.as_path()).format(FileFormat::Toml)));
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator("__")
            .source(Some(self.environment.clone().into_iter().collect()));
        builder = builder.add_source(Flat(environment)).add_source(CommandLine(self.overrides.clone()));
        let table = builder.build()?.cache.into_table()?;
        let given = table.into_iter().map(|(key, value)| {
            let origin = value.origin().unwrap_or("environment").to_owned();
            Ok((key, Given { text: text(value)?, origin }))
        });
        given.collect()
    }
}

/// A source whose nested keys are joined, and spelled with `_`.
#[derive(Clone, Debug)]
struct Flat<S>(S);

impl<S: Source + Clone + Send + Sync + 'static> Source for Flat<S> {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, SourceError> {
        let mut flat = Map::new();
        for (key, value) in self.0.collect()? {
            flatten(&key, value, &mut flat);
        }
        Ok(flat)
    }
}

fn flatten(key: &str, value: Value, flat: &mut Map<String, Value>) {
    match value.kind {
        ValueKind::Table(inner) => {
            for (name, value) in inner {
                flatten(&format!("{key}_{name}"), value, flat);
            }
        }
        _ => {
            flat.insert(key.replace('.', "_").to_ascii_lowercase(), value);
        }
    }
}

/// `--set key=value` and the flags that stand for keys.
#[derive(Clone, Debug)]
struct CommandLine(Vec<(String, String)>);

impl Source for CommandLine {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, SourceError> {
        let origin = "command line".to_owned();
        let value = |text: &String| Value::new(Some(&origin), ValueKind::String(text.clone()));
        Ok(self.0.iter().map(|(key, text)| (key.replace('.', "_").to_ascii_lowercase(), value(text))).collect())
    }
}

/// A list is given as Kafka would: by comma.
fn text(value: Value) -> Result<String, SourceError> {
    if !matches!(value.kind, ValueKind::Array(_)) {
        return value.into_string().map(|text| text.trim().to_owned());
    }
    let items: Result<Vec<String>, SourceError> = value.into_array()?.into_iter().map(Value::into_string).collect();
    Ok(items?.join(","))
}
