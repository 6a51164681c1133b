//! The levels of this process's loggers, as Kafka's tools see and change them.
//!
//! A logger is a crate of the broker, or a module of one by its path. Levels are forgotten when the process ends.
//!
//! Must not know: how log lines are made and filtered; whoever sets up logging gives that.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// The logger that all others take their level from.
pub const ROOT: &str = "root";

/// The loggers that are always told.
const LOGGERS: &[&str] = &[
    "cairn",
    "cairn_broker",
    "cairn_consensus",
    "cairn_groups",
    "cairn_metadata",
    "cairn_protocol",
    "cairn_storage",
    "openraft",
];

/// Kafka's levels and what they are here.
const LEVELS: &[(&str, &str)] = &[
    ("DEBUG", "debug"),
    ("ERROR", "error"),
    ("FATAL", "error"),
    ("INFO", "info"),
    ("TRACE", "trace"),
    ("WARN", "warn"),
];

/// Puts another filter in force: directives as in `RUST_LOG`.
type Reload = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The loggers of this process.
pub struct Loggers {
    /// What was in force at start.
    base: Box<str>,
    /// What was set since, by logger.
    set: Mutex<BTreeMap<Box<str>, &'static str>>,
    reload: Reload,
}

impl fmt::Debug for Loggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loggers").field("base", &self.base).field("set", &self.set.lock()).finish_non_exhaustive()
    }
}

/// A level was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// No logger has this name.
    #[error("Logger {0} does not exist!")]
    Unknown(Box<str>),
    /// Not one of Kafka's levels.
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. \
         Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    Level {
        /// The logger.
        logger: Box<str>,
        /// As it was given.
        level: Box<str>,
    },
    /// Logging did not take it.
    #[error("log levels cannot be changed: {0}")]
    Reload(Box<str>),
}

/// A checked change of one logger's level; none takes back what was set.
pub(crate) type LevelChange = (Box<str>, Option<&'static str>);

impl Loggers {
    /// Loggers whose levels begin with `base`, directives as in `RUST_LOG`, and are changed by `reload`.
    pub fn new(base: &str, reload: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { base: base.into(), set: Mutex::default(), reload: Box::new(reload) }
    }

    /// Loggers of a process that set up no logging, or one that cannot be changed.
    #[must_use]
    pub fn fixed() -> Self {
        Self::new("error", |_| Err("logging was set up by somebody else".to_owned()))
    }

    /// Every logger and its level in force, by name.
    pub(crate) fn levels(&self) -> BTreeMap<Box<str>, &'static str> {
        let directives = self.directives(&self.set.lock());
        let named = directives.keys().map(|name| &**name);
        let all = LOGGERS.iter().copied().chain(named).chain([ROOT]);
        all.map(|name| (name.into(), in_force(&directives, name))).collect()
    }

    pub(crate) fn check(&self, changes: &[(&str, Option<&str>)]) -> Result<Vec<LevelChange>, LevelError> {
        let check = |(logger, level): &(&str, Option<&str>)| {
            if !exists(logger) {
                return Err(LevelError::Unknown((*logger).into()));
            }
            let Some(level) = level else { return Ok(((*logger).into(), None)) };
            let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(level));
            let unknown = || LevelError::Level { logger: (*logger).into(), level: (*level).into() };
            Ok(((*logger).into(), Some(known.ok_or_else(unknown)?.0)))
        };
        changes.iter().map(check).collect()
    }

    /// Makes all changes, or none.
    pub(crate) fn set(&self, changes: &[LevelChange]) -> Result<(), LevelError> {
        let mut set = self.set.lock();
        let mut next = set.clone();
        for (logger, level) in changes {
            match level {
                Some(level) => next.insert(logger.clone(), level),
                None => next.remove(logger),
            };
        }
        let shown = next.iter().map(|(name, level)| match &**name {
            ROOT => directive(level).to_owned(),
            name => format!("{name}={}", directive(level)),
        });
        let set_since: Vec<String> = shown.collect();
        let filter = [&*self.base, &set_since.join(",")].join(",");
        (self.reload)(filter.trim_matches(',')).map_err(|why| LevelError::Reload(why.into()))?;
        *set = next;
        Ok(())
    }

    /// The level of each logger that has one of its own.
    fn directives(&self, set: &BTreeMap<Box<str>, &'static str>) -> BTreeMap<Box<str>, &'static str> {
        let mut directives = BTreeMap::new();
        for directive in self.base.split(',').map(str::trim) {
            let (name, level) = directive.split_once('=').unwrap_or((ROOT, directive));
            if let Some((level, _)) = LEVELS.iter().find(|(_, own)| own.eq_ignore_ascii_case(level)) {
                directives.insert(name.into(), *level);
            }
        }
        directives.extend(set.iter().map(|(name, level)| (name.clone(), *level)));
        directives
    }
}

/// The level of a logger: its own, or that of the nearest one above it.
fn in_force(directives: &BTreeMap<Box<str>, &'static str>, name: &str) -> &'static str {
    let mut at = name;
    loop {
        if let Some(level) = directives.get(at) {
            return level;
        }
        match at.rsplit_once("::") {
            Some((above, _)) => at = above,
            None => return directives.get(ROOT).copied().unwrap_or("ERROR"),
        }
    }
}

fn exists(logger: &str) -> bool {
    let first = logger.split("::").next().unwrap_or_default();
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    logger == ROOT || LOGGERS.contains(&first) && logger.split("::").all(plain)
}

fn directive(level: &str) -> &'static str {
    LEVELS.iter().find(|(name, _)| *name == level).map_or("info", |(_, own)| own)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn loggers(base: &str) -> (Loggers, Arc<Mutex<String>>) {
        let filter = Arc::new(Mutex::new(String::new()));
        let there = Arc::clone(&filter);
        let reload = move |text: &str| {
            *there.lock() = text.to_owned();
            Ok(())
        };
        (Loggers::new(base, reload), filter)
    }

    fn set(loggers: &Loggers, changes: &[(&str, Option<&str>)]) -> Result<(), LevelError> {
        loggers.set(&loggers.check(changes)?)
    }

    #[test]
    fn a_level_is_that_of_the_nearest_logger_above() {
        let (loggers, filter) = loggers("info,openraft=warn");
        let level = |name: &str| loggers.levels().get(name).copied();
        assert_eq!((level(ROOT), level("openraft"), level("cairn_broker")), (Some("INFO"), Some("WARN"), Some("INFO")));
        set(&loggers, &[("cairn_broker::net", Some("trace")), (ROOT, Some("FATAL"))]).unwrap();
        assert_eq!(*filter.lock(), "info,openraft=warn,cairn_broker::net=trace,error");
        assert_eq!(
            (level(ROOT), level("cairn_broker"), level("cairn_broker::net")),
            (Some("FATAL"), Some("FATAL"), Some("TRACE"))
        );
        set(&loggers, &[("cairn_broker::net", None), (ROOT, None)]).unwrap();
        assert_eq!(*filter.lock(), "info,openraft=warn");
        assert_eq!((level(ROOT), level("cairn_broker::net")), (Some("INFO"), None));
    }

    #[test]
    fn what_is_not_there_is_refused_and_changes_nothing() {
        let (loggers, filter) = loggers("info");
        for (changes, expected) in [
            (
                &[("cairn_broker", Some("debug")), ("kafka.server.KafkaApis", Some("INFO"))],
                "Logger kafka.server.KafkaApis does not exist!",
            ),
            (
                &[("cairn_broker", Some("debug")), ("cairn_storage", Some("LOUD"))],
                "Cannot set the log level of cairn_storage to LOUD",
            ),
            (
                &[("cairn_broker", Some("debug")), ("cairn_broker::a,b", Some("INFO"))],
                "Logger cairn_broker::a,b does not exist!",
            ),
        ] {
            let error = set(&loggers, changes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(*filter.lock(), "");
        let fixed = Loggers::fixed();
        assert!(matches!(set(&fixed, &[(ROOT, Some("INFO"))]), Err(LevelError::Reload(_))));
        assert_eq!(fixed.levels()[ROOT], "ERROR");
    }
}
