//! How values of configs read, and which are allowed.
//!
//! Must not know: which configs there are.

use std::fmt;

/// The type of a config, by the names that DescribeConfigs gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// A word.
    Text,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Words with commas between them.
    List,
}

/// Which values a config accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// Every one of its kind.
    Any,
    /// Whole numbers from the first to the last.
    Range(i64, i64),
    /// Fractions from the first to the last.
    Fraction(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, at least one, none twice.
    SomeOf(&'static [&'static str]),
    /// Numbers as in the range, or the one before it that means "none" or "as another one".
    RangeOr(i64, i64, i64),
    /// Replicas, each as `PARTITION:BROKER`, or `*` for all.
    Replicas,
}

impl ConfigKind {
    /// DescribeConfigs' number for it.
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::Text => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }

    /// The one spelling of a value; none when it does not read as this kind. Kafka trims values too.
    #[must_use]
    pub fn canonical(self, value: &str) -> Option<Box<str>> {
        let value = value.trim();
        match self {
            Self::Boolean => {
                ["true", "false"].into_iter().find(|word| word.eq_ignore_ascii_case(value)).map(Into::into)
            }
            Self::Int => value.parse::<i32>().ok().map(|number| number.to_string().into()),
            Self::Short => value.parse::<i16>().ok().map(|number| number.to_string().into()),
            Self::Long => value.parse::<i64>().ok().map(|number| number.to_string().into()),
            Self::Double => value.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| value.into()),
            Self::Text => Some(value.into()),
            Self::List => Some(words(value).collect::<Vec<_>>().join(",").into()),
        }
    }
}

impl Allowed {
    /// Whether a canonical value is allowed.
    pub(super) fn contains(self, value: &str) -> bool {
        let number = || value.parse::<i64>().ok();
        match self {
            Self::Any => true,
            Self::Range(first, last) => number().is_some_and(|n| (first..=last).contains(&n)),
            Self::RangeOr(first, last, other) => number().is_some_and(|n| (first..=last).contains(&n) || n == other),
            Self::Fraction(first, last) => value.parse::<f64>().is_ok_and(|n| (first..=last).contains(&n)),
            Self::OneOf(allowed) => allowed.contains(&value),
            Self::SomeOf(allowed) => {
                let chosen: Vec<_> = words(value).collect();
                let repeated = chosen.iter().enumerate().any(|(at, word)| chosen[..at].contains(word));
                !repeated && chosen.iter().all(|word| allowed.contains(word))
            }
            Self::Replicas => value == "*" || words(value).all(is_replica),
        }
    }
}

/// `PARTITION:BROKER`, both numbers.
fn is_replica(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value of its type"),
            Self::Range(first, i64::MAX) => write!(f, "a number from {first}"),
            Self::Range(first, last) => write!(f, "a number from {first} to {last}"),
            Self::RangeOr(first, last, other) => write!(f, "{}, or {other}", Self::Range(*first, *last)),
            Self::Fraction(first, last) => write!(f, "a fraction from {first} to {last}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::SomeOf(words) => write!(f, "a list of {}, which may be empty", words.join(", ")),
            Self::Replicas => f.write_str("PARTITION:BROKER, several by comma, or *"),
        }
    }
}
