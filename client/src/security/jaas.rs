//! `sasl.jaas.config`: one login module, and its options.
//!
//! ```text
//!   org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";
//! ```
//! Must not know: what modules there are.

use std::collections::HashMap;

/// The class of the module without its package, and the options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Jaas {
    pub(super) module: String,
    pub(super) options: HashMap<String, String>,
}

impl Jaas {
    /// None when it is not written as the Java clients want it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_suffix(';')?;
        let (class, rest) = text.split_once(char::is_whitespace)?;
        let (flag, mut rest) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_ascii_lowercase().as_str()) {
            return None;
        }
        let mut options = HashMap::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value(after.trim_start())?;
            options.insert(name.trim().to_owned(), value);
            rest = after;
        }
        Some(Self { module: class.rsplit('.').next()?.to_owned(), options })
    }
}

/// A word, or what stands in quotes, in which a backslash makes the next character plain; and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quote) = text.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            end if end == quote => return Some((value, &text[1 + at + quote.len_utf8()..])),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_its_options() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required\n username=\"al ice\" password='a\\\"b;c=d' serviceName=kafka;";
        let jaas = Jaas::parse(text).expect("well written");
        assert_eq!(jaas.module, "PlainLoginModule");
        let option = |name| jaas.options.get(name).map(String::as_str);
        assert_eq!(
            (option("username"), option("password"), option("serviceName")),
            (Some("al ice"), Some("a\"b;c=d"), Some("kafka"))
        );
        assert_eq!(Jaas::parse("a.B required;").expect("without options").module, "B");
        for wrong in ["", "a.B required", "a.B needed x=y;", "a.B required x;", "a.B required x=\"y;", "B"] {
            assert_eq!(Jaas::parse(wrong), None, "{wrong:?}");
        }
    }
}
