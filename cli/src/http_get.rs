//! One HTTP GET of a small JSON document, as the metrics listener of a broker serves it.
//!
//! HTTP/1.0, so that the body ends with the connection. Must not know: what is asked for.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the whole may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 200 when all is well.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Asks `HOST:PORT` for this path.
pub(crate) async fn get(address: &str, path: &str) -> anyhow::Result<Answer> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
        stream.write_all(request.as_bytes()).await.with_context(|| format!("cannot ask {address}"))?;
        let mut bytes = Vec::new();
        let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
        read.with_context(|| format!("cannot read the answer of {address}"))?;
        parse(&bytes).ok_or_else(|| anyhow!("{address} does not speak HTTP: is it the metrics listener?"))
    };
    tokio::time::timeout(TIMEOUT, asking)
        .await
        .with_context(|| format!("no answer from {address} within {TIMEOUT:?}"))?
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let _version = words.next().filter(|version| version.starts_with("HTTP/1."))?;
    Some(Answer { status: words.next()?.parse().ok()?, body: bytes[end + 4..].to_vec() })
}

/// A name as it may stand in a path.
pub(crate) fn percent_encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse(b"HTTP/1.0 404 Not Found\r\ncontent-type: application/json\r\n\r\n{}").expect("HTTP");
        assert_eq!(answer, Answer { status: 404, body: b"{}".to_vec() });
        for bytes in
            [&b""[..], b"HTTP/1.1 200", b"\0\0\0\x08\r\n\r\n", b"HTTP/1.1 all-is-well\r\n\r\n", b"SSH-2.0\r\n\r\n"]
        {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(percent_encoded("my-group_1"), "my-group_1");
        assert_eq!(percent_encoded("a/b c%é"), "a%2Fb%20c%25%C3%A9");
    }
}
