//! Subscriptions by regular expression: KIP-848 asks for those of RE2, which take time linear in the name.
//!
//! The `regex` crate has the same roots, syntax and guarantee. A name has to match as a whole. Where it differs from Kafka's
//! RE2/J: it knows no `\C`; it knows the flags `x`, `u` and `R`, and the class operators `&&`, `--` and `~~`, which RE2 does
//! not; a repetition is bounded by the size of what it makes and not by 1,000. Names of topics are ASCII, so it does not
//! matter that here `\w`, `\d` and `\s` are those of Unicode.
//!
//! Must not know: who subscribes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_protocol::ids::Timestamp;
use regex::{Regex, RegexBuilder};

use super::change::Resolved;
use super::topics::Topics;

/// How large the automaton of a regular expression may become.
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// How deep its parts may be nested.
const NESTING_MAX: u32 = 200;

/// Why a regular expression is refused.
#[derive(Debug, thiserror::Error)]
#[error("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.")]
pub(crate) struct InvalidRegex {
    regex: Box<str>,
    reason: Box<str>,
}

/// A regular expression for whole names.
pub(crate) fn compile(regex: &str) -> Result<Regex, InvalidRegex> {
    let unquoted = unquote(regex);
    // By itself first: what is put around it must not make a whole out of parts.
    build(&unquoted)
        .and_then(|_| build(&format!(r"\A(?:{unquoted})\z")))
        .map_err(|error| InvalidRegex { regex: regex.into(), reason: reason(&error).into() })
}

fn build(regex: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(regex);
    builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(NESTING_MAX).build()
}

/// The last line of what the crate says: those before it draw the place.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.trim_start_matches("error: ").to_owned()
}

/// `\Q...\E` takes what is between them as it is; the crate does not know that.
fn unquote(regex: &str) -> Cow<'_, str> {
    if !regex.contains(r"\Q") {
        return regex.into();
    }
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some(at) = rest.find('\\') {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        if let Some(quoted) = escaped.strip_prefix(r"\Q") {
            let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = after;
        } else {
            let end = escaped.char_indices().nth(2).map_or(escaped.len(), |(at, _)| at);
            out.push_str(&escaped[..end]);
            rest = &escaped[end..];
        }
    }
    out.push_str(rest);
    out.into()
}

/// The topics that there are now and that match.
pub(crate) fn resolve(regex: &Regex, topics: &dyn Topics, at: Timestamp) -> Resolved {
    let matching: BTreeSet<Arc<str>> = topics.names().filter(|name| regex.is_match(name)).map(Into::into).collect();
    Resolved { topics: matching, version: topics.version(), at }
}

#[cfg(test)]
mod tests {
    use super::super::topics::tests::Fixed;
    use super::*;

    #[test]
    fn a_name_has_to_match_as_a_whole() {
        let table = [
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("foo.*", "foobar", true),
            ("foo", "foobar", false),
            ("^foo$", "foo", true),
            ("(?i)FOO", "foo", true),
            (r"t-\d+", "t-12", true),
            (r"\Qa.b\E.*", "a.bc", true),
            (r"\Qa.b\E.*", "axbc", false),
            (r"\Qa.b", "a.b", true),
            (r"a\\Qb", r"a\Qb", true),
            ("[[:alpha:]]+", "abc", true),
            ("a{2,3}", "aaaa", false),
            ("", "", true),
        ];
        for (regex, name, matches) in table {
            assert_eq!(compile(regex).expect(regex).is_match(name), matches, "{regex} on {name}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for regex in ["(", "a)|(b", "*", "[z-a]", r"(a)\1", "(?=a)", r"\Q(\E(", "(?x)a # b", "((a{500}){500}){500}"] {
            let error = compile(regex).expect_err(regex).to_string();
            assert!(error.starts_with(&format!("SubscribedTopicRegex `{regex}` is not a valid")), "{error}");
        }
        assert!(compile(&"(".repeat(10_000)).is_err());
        assert!(compile(&format!("{}{}", "(".repeat(1_000), ")".repeat(1_000))).is_err());
    }

    #[test]
    fn topics_are_found_by_it() {
        let topics = Fixed::default().with("a-1", 1, 1).with("a-2", 2, 1).with("b-1", 3, 1);
        let found = resolve(&compile("a-.*").expect("valid"), &topics, Timestamp(5));
        assert!(found.topics.iter().map(|name| &**name).eq(["a-1", "a-2"]));
        assert_eq!((found.version, found.at), (topics.version(), Timestamp(5)));
    }
}
