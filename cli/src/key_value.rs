//! `key=value` as an argument.
//!
//! Must not know: which keys there are.

use std::str::FromStr;

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// What stands before the first `=`, without spaces around it.
    pub(crate) key: String,
    /// All that stands after it, as it is.
    pub(crate) value: String,
}

/// The text is no `key=value`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected key=value")]
pub(crate) struct KeyValueError;

impl FromStr for KeyValue {
    type Err = KeyValueError;

    fn from_str(text: &str) -> Result<Self, KeyValueError> {
        let (key, value) = text.split_once('=').ok_or(KeyValueError)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(KeyValueError);
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_parts() {
        let parsed: KeyValue = "a.b=c=d ".parse().expect("key and value");
        assert_eq!((parsed.key.as_str(), parsed.value.as_str()), ("a.b", "c=d "));
        assert_eq!("k=".parse::<KeyValue>().expect("empty value").value, "");
        for wrong in ["", "=v", "key", " =v"] {
            assert_eq!(wrong.parse::<KeyValue>(), Err(KeyValueError), "{wrong:?}");
        }
    }
}
