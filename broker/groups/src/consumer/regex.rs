//! Subscriptions by regular expression: KIP-848 asks for those of RE2, which take time linear in the name.
//!
//! The `regex` crate has the same roots, syntax and guarantee. A name has to match as a whole. Where it differs from Kafka's
//! RE2/J: it knows no `\C`; it knows the flags `x`, `u` and `R`, and the class operators `&&`, `--` and `~~`, which RE2 does
//! not; a repetition is bounded by the size of what it makes and not by 1,000. Names of topics are ASCII, so it does not
//! matter that here `\w`, `\d` and `\s` are those of Unicode.
//!
//! To compile an expression and to try it on all topics takes milliseconds where there are many. So that is a [`Search`], which
//! is carried out while nothing of the groups is held, and its [`Found`] is there when the heartbeat that it is for is decided on.
//!
//! Must not know: who subscribes.

use std::borrow::Cow;
use std::collections::BTreeMap;
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

/// A regular expression whose topics are to be found.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) regex: Arc<str>,
    /// What was found the last time: where that is right still, it is found again.
    pub(crate) before: Option<Arc<Resolved>>,
}

/// Regular expressions whose topics are to be found.
#[derive(Debug)]
pub struct Search {
    pub(crate) regexes: Vec<Sought>,
    /// Whether these are all of a group whose topics may be others by now.
    pub(crate) extent: Extent,
    pub(crate) topics: Arc<dyn Topics>,
    pub(crate) at: Timestamp,
}

/// For how much of a group a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For all that members have asked for before, where that has not been looked at with these topics.
    Whole,
    /// For what a member asks for now.
    Member,
}

/// The topics of regular expressions.
#[derive(Debug, Default)]
pub struct Found {
    by_regex: BTreeMap<Arc<str>, Result<Arc<Resolved>, InvalidRegex>>,
    /// The version of the topics that all of a group was looked at with.
    whole: Option<i64>,
}

/// Nothing was looked for.
pub(crate) static NOTHING: Found = Found { by_regex: BTreeMap::new(), whole: None };

impl Search {
    /// Finds them. This may take a while.
    #[must_use]
    pub fn run(self) -> Found {
        let version = self.topics.version();
        // A name that several expressions match is kept once.
        let mut names: Vec<(&str, Option<Arc<str>>)> = self.topics.names().map(|name| (name, None)).collect();
        let mut found = |sought: &Sought| -> Result<Arc<Resolved>, InvalidRegex> {
            let compiled = compile(&sought.regex)?;
            let matching = names.iter_mut().filter(|(name, _)| compiled.is_match(name));
            let topics = matching.map(|(name, kept)| Arc::clone(kept.get_or_insert_with(|| (*name).into()))).collect();
            let before = sought.before.as_ref().filter(|before| before.topics == topics).cloned();
            Ok(before.unwrap_or_else(|| Arc::new(Resolved { topics, version, at: self.at })))
        };
        let by_regex = self.regexes.iter().map(|sought| (Arc::clone(&sought.regex), found(sought))).collect();
        Found { by_regex, whole: (self.extent == Extent::Whole).then_some(version) }
    }
}

impl Found {
    pub(crate) fn get(&self, regex: &str) -> Option<Result<&Arc<Resolved>, &InvalidRegex>> {
        self.by_regex.get(regex).map(Result::as_ref)
    }

    /// The version of the topics that all of a group was looked at with; none when not all was.
    pub(crate) fn whole(&self) -> Option<i64> {
        self.whole
    }
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
        let version = topics.version();
        let search = |extent| Search {
            regexes: ["a-.*", "(", ".*1"].map(|regex| Sought { regex: regex.into(), before: None }).into(),
            extent,
            topics: Arc::new(topics.clone()),
            at: Timestamp(5),
        };
        let found = search(Extent::Whole).run();
        let of = |regex| found.get(regex).expect("looked for").map(Arc::clone);
        let (first, last) = (of("a-.*").expect("valid"), of(".*1").expect("valid"));
        assert!(first.topics.iter().map(|name| &**name).eq(["a-1", "a-2"]));
        assert!(last.topics.iter().map(|name| &**name).eq(["a-1", "b-1"]));
        assert!(Arc::ptr_eq(first.topics.first().expect("a-1"), last.topics.first().expect("a-1")), "kept once");
        assert_eq!((first.version, first.at, found.whole()), (version, Timestamp(5), Some(version)));
        assert!(of("(").is_err() && found.get("b").is_none());
        assert_eq!(search(Extent::Member).run().whole(), None);
        let again = Sought { regex: "a-.*".into(), before: Some(Arc::clone(&first)) };
        let again = Search { regexes: vec![again], at: Timestamp(6), ..search(Extent::Whole) }.run();
        assert!(Arc::ptr_eq(again.get("a-.*").expect("looked for").expect("valid"), &first), "nothing has changed");
    }
}
