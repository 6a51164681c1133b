//! Lines of bytes into keys and values.
//!
//! Must not know: where lines come from, producers.

use bytes::Bytes;

/// What one line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineRecord {
    /// What stood before the separator, if there is one.
    pub(crate) key: Option<Bytes>,
    /// The rest.
    pub(crate) value: Bytes,
}

/// Takes the line's end (`\n` or `\r\n`) off, then parts it at the first separator.
#[must_use]
pub(crate) fn parse(mut line: Bytes, key_separator: Option<&[u8]>) -> LineRecord {
    if line.last() == Some(&b'\n') {
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
    }
    let Some(separator) = key_separator else { return LineRecord { key: None, value: line } };
    match find(&line, separator) {
        None => LineRecord { key: None, value: line },
        Some(at) => LineRecord { key: Some(line.slice(..at)), value: line.slice(at + separator.len()..) },
    }
}

fn find(line: &[u8], separator: &[u8]) -> Option<usize> {
    line.windows(separator.len()).position(|window| window == separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &'static str, separator: Option<&str>) -> (Option<String>, String) {
        let record = parse(Bytes::from_static(line.as_bytes()), separator.map(str::as_bytes));
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text in, text out");
        (record.key.map(text), text(record.value))
    }

    #[test]
    fn the_end_of_the_line_goes() {
        assert_eq!(parsed("a\n", None), (None, "a".into()));
        assert_eq!(parsed("a\r\n", None), (None, "a".into()));
        assert_eq!(parsed("a\r", None), (None, "a\r".into()));
        assert_eq!(parsed("\n", None), (None, String::new()));
        assert_eq!(parsed("last", None), (None, "last".into()));
    }

    #[test]
    fn the_first_separator_parts() {
        assert_eq!(parsed("k:v:w\n", Some(":")), (Some("k".into()), "v:w".into()));
        assert_eq!(parsed("k=>v\n", Some("=>")), (Some("k".into()), "v".into()));
        assert_eq!(parsed("none\n", Some("\t")), (None, "none".into()));
        assert_eq!(parsed(":v\n", Some(":")), (Some(String::new()), "v".into()));
        assert_eq!(parsed("k:\n", Some(":")), (Some("k".into()), String::new()));
        assert_eq!(parsed("a", Some("longer than the line")), (None, "a".into()));
    }
}
