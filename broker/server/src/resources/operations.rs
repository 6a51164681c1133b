//! What one config is changed by, and what a list comes to.
//!
//! Must not know: which configs there are.

use std::collections::HashSet;

use cairn_metadata::configs::ConfigKind;
use cairn_protocol::error_code::ErrorCode;

use super::invalid;

/// The longest value: what a string on the wire can hold, so that each value can be told.
const VALUE_MAX: usize = i16::MAX as usize;
use crate::api::refusal::Refusal;

/// A change of one config.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) name: &'a str,
    pub(crate) operation: Operation<'a>,
}

/// KIP-339's operations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Set(&'a str),
    Delete,
    /// To a list.
    Append(&'a str),
    /// From a list.
    Subtract(&'a str),
}

impl<'a> Operation<'a> {
    /// The operation with this number.
    pub(crate) fn parse(name: &str, number: i8, value: Option<&'a str>) -> Result<Self, Refusal> {
        let value = |of: fn(&'a str) -> Self| {
            value.map(of).ok_or_else(|| invalid(format!("Null value not supported for : {name}")))
        };
        match number {
            0 => value(Self::Set),
            1 => Ok(Self::Delete),
            2 => value(Self::Append),
            3 => value(Self::Subtract),
            other => Err(invalid(format!("unknown config operation {other}"))),
        }
    }

    /// The value that it comes to; none: the config is no longer set. `present` is asked for only where that counts.
    pub(super) fn outcome(
        self,
        name: &str,
        kind: ConfigKind,
        present: impl FnOnce() -> Box<str>,
    ) -> Result<Option<String>, Refusal> {
        if let (Self::Append(_) | Self::Subtract(_), false) = (self, kind == ConfigKind::List) {
            let message = format!("config '{name}' is no list: nothing can be appended to or subtracted from it");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        let value = match self {
            Self::Set(value) => Some(value.to_owned()),
            Self::Delete => None,
            Self::Append(given) => {
                let present = present();
                let added = words(given).filter(|word| words(&present).all(|known| known != *word));
                Some(words(&present).chain(added).collect::<Vec<_>>().join(","))
            }
            Self::Subtract(given) => {
                let present = present();
                let left = words(&present).filter(|word| words(given).all(|gone| gone != *word));
                Some(left.collect::<Vec<_>>().join(","))
            }
        };
        match value {
            Some(value) if value.len() > VALUE_MAX => {
                let message =
                    format!("config '{name}' would be a list of {} bytes, the most is {VALUE_MAX}", value.len());
                Err(Refusal::new(ErrorCode::InvalidConfig, message))
            }
            value => Ok(value),
        }
    }
}

/// Refuses a request that names a config more than once.
pub(crate) fn check_once<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid(format!("config '{name}' stands in the request more than once")));
        }
    }
    Ok(())
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}
