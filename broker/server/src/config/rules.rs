//! What the text of one setting may be: one small rule per kind of value.
//!
//! Must not know: which keys there are.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;

use cairn_groups::{Assignor, Assignors};

use super::listener::{Advertised, Listener};

/// Text in, value out. What is refused is described by [`Rule::allowed`].
pub(super) trait Rule {
    /// The value that the text stands for.
    type Out;

    /// Nothing when the text is not allowed.
    fn parse(&self, text: &str) -> Option<Self::Out>;

    /// The text as Kafka would spell it: numbers without units.
    fn plain(&self, text: &str) -> String {
        text.to_owned()
    }

    /// What is allowed, as part of a sentence behind "allowed is".
    fn allowed(&self) -> String;
}

/// A plain number of a range.
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T: FromStr + PartialOrd + Display> Rule for Number<T> {
    type Out = T;

    fn parse(&self, text: &str) -> Option<T> {
        text.parse().ok().filter(|value| self.0.contains(value))
    }

    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A number of bytes, plain or with a unit.
pub(super) struct Bytes<T>(pub(super) RangeInclusive<T>);

impl<T: FromStr + PartialOrd + Display + TryFrom<u64>> Rule for Bytes<T> {
    type Out = T;

    fn parse(&self, text: &str) -> Option<T> {
        let with_unit = || text.parse::<bytesize::ByteSize>().ok().and_then(|size| T::try_from(size.as_u64()).ok());
        text.parse().ok().or_else(with_unit).filter(|value| self.0.contains(value))
    }

    fn plain(&self, text: &str) -> String {
        self.parse(text).map_or_else(|| text.to_owned(), |value| value.to_string())
    }

    fn allowed(&self) -> String {
        format!("bytes from {} to {}, plain or with a unit (64MiB)", self.0.start(), self.0.end())
    }
}

/// A number of milliseconds, plain or as a duration.
pub(super) struct Millis(pub(super) RangeInclusive<i64>);

impl Rule for Millis {
    type Out = i64;

    fn parse(&self, text: &str) -> Option<i64> {
        let with_unit =
            || humantime::parse_duration(text).ok().and_then(|duration| i64::try_from(duration.as_millis()).ok());
        text.parse().ok().or_else(with_unit).filter(|value| self.0.contains(value))
    }

    fn plain(&self, text: &str) -> String {
        self.parse(text).map_or_else(|| text.to_owned(), |value| value.to_string())
    }

    fn allowed(&self) -> String {
        format!("milliseconds from {} to {}, plain or as a duration (7days)", self.0.start(), self.0.end())
    }
}

/// Bytes in a second, with a fraction as Kafka writes its default.
pub(super) struct Rate;

impl Rule for Rate {
    type Out = f64;

    fn parse(&self, text: &str) -> Option<f64> {
        text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 1.0)
    }

    fn allowed(&self) -> String {
        "a number from 1".to_owned()
    }
}

/// Kafka's `log.cleanup.policy`.
pub(super) struct Policy;

impl Rule for Policy {
    type Out = String;

    fn parse(&self, text: &str) -> Option<String> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let known = words.iter().all(|word| matches!(*word, "compact" | "delete"));
        let twice = words.len() > 1 && words[1..].contains(&words[0]);
        (known && !twice && words.len() <= 2).then(|| words.join(","))
    }

    fn plain(&self, text: &str) -> String {
        self.parse(text).unwrap_or_else(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        "compact, delete, both with a comma between them, or nothing".to_owned()
    }
}

/// The protocols that members of groups may speak. The classic one is always among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebalanceProtocols {
    /// Whether KIP-848's is.
    pub consumer: bool,
}

/// Names of protocols, with commas between them.
pub(super) struct ProtocolList;

impl Rule for ProtocolList {
    type Out = RebalanceProtocols;

    fn parse(&self, text: &str) -> Option<RebalanceProtocols> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_known = words.iter().all(|word| matches!(*word, "classic" | "consumer"));
        (is_known && words.contains(&"classic")).then(|| RebalanceProtocols { consumer: words.contains(&"consumer") })
    }

    fn allowed(&self) -> String {
        "classic, or classic,consumer".to_owned()
    }
}

/// Names of assignors, or those of Kafka's classes, with commas between them.
pub(super) struct AssignorList;

impl Rule for AssignorList {
    type Out = Assignors;

    fn parse(&self, text: &str) -> Option<Assignors> {
        let one = |word: &str| match word.trim() {
            "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => Some(Assignor::Uniform),
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => Some(Assignor::Range),
            name => Assignor::of(name),
        };
        Assignors::new(&text.split(',').map(one).collect::<Option<Vec<_>>>()?)
    }

    fn allowed(&self) -> String {
        "uniform, range, or both with a comma between them".to_owned()
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Rule for Flag {
    type Out = bool;

    fn parse(&self, text: &str) -> Option<bool> {
        text.to_ascii_lowercase().parse().ok()
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// One of a few words.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Rule for OneOf<T> {
    type Out = T;

    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    fn allowed(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }
}

/// One of a few words, as a text.
pub(super) struct OneOfTexts(pub(super) &'static [&'static str]);

impl Rule for OneOfTexts {
    type Out = String;

    fn parse(&self, text: &str) -> Option<String> {
        self.0.contains(&text).then(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        format!("one of {}", self.0.join(", "))
    }
}

/// A plain number of a range, or one beside it that means something of its own.
pub(super) struct NumberOr<T>(pub(super) Number<T>, pub(super) T);

impl<T: FromStr + PartialOrd + Display> Rule for NumberOr<T> {
    type Out = T;

    fn parse(&self, text: &str) -> Option<T> {
        self.0.parse(text).or_else(|| text.parse().ok().filter(|value| *value == self.1))
    }

    fn allowed(&self) -> String {
        format!("{}, or {}", self.0.allowed(), self.1)
    }
}

/// Any text that is not empty.
pub(super) struct Text;

impl Rule for Text {
    type Out = String;

    fn parse(&self, text: &str) -> Option<String> {
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn allowed(&self) -> String {
        "any text".to_owned()
    }
}

/// One folder.
pub(super) struct Folder;

impl Rule for Folder {
    type Out = PathBuf;

    fn parse(&self, text: &str) -> Option<PathBuf> {
        Some(PathBuf::from(text)).filter(|_| !text.is_empty() && !text.contains(','))
    }

    fn allowed(&self) -> String {
        "the path of one folder".to_owned()
    }
}

/// One folder or several.
pub(super) struct Folders;

impl Rule for Folders {
    type Out = Vec<PathBuf>;

    fn parse(&self, text: &str) -> Option<Vec<PathBuf>> {
        text.split(',').map(|path| Folder.parse(path.trim())).collect()
    }

    fn allowed(&self) -> String {
        "the path of a folder, several by comma".to_owned()
    }
}

/// Which log dirs take no new partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cordoned {
    /// These; none, where it is empty.
    Dirs(Vec<PathBuf>),
    /// All that there are.
    All,
}

impl Cordoned {
    /// Whether the dir at this absolute path is among them.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Dirs(dirs) => dirs.iter().any(|dir| absolute(dir).is_ok_and(|dir| dir == path)),
        }
    }

    /// One that is none of the log dirs.
    pub(super) fn stranger(&self, log_dirs: &[PathBuf]) -> Option<&Path> {
        let Self::Dirs(dirs) = self else { return None };
        let is_known = |dir: &PathBuf| log_dirs.iter().any(|known| absolute(known).ok() == absolute(dir).ok());
        dirs.iter().find(|dir| !is_known(dir)).map(PathBuf::as_path)
    }
}

/// Kafka's `cordoned.log.dirs`.
pub(super) struct CordonedDirs;

impl Rule for CordonedDirs {
    type Out = Cordoned;

    fn parse(&self, text: &str) -> Option<Cordoned> {
        match text.trim() {
            "" => Some(Cordoned::Dirs(Vec::new())),
            "*" => Some(Cordoned::All),
            text if text.split(',').any(|dir| dir.trim() == "*") => None,
            text => Folders.parse(text).map(Cordoned::Dirs),
        }
    }

    fn allowed(&self) -> String {
        "paths that are in log.dirs, several by comma, or * alone".to_owned()
    }
}

/// Another rule, or nothing at all.
pub(super) struct Optional<R>(pub(super) R);

impl<R: Rule> Rule for Optional<R> {
    type Out = Option<R::Out>;

    fn parse(&self, text: &str) -> Option<Option<R::Out>> {
        if text.is_empty() {
            return Some(None);
        }
        self.0.parse(text).map(Some)
    }

    fn plain(&self, text: &str) -> String {
        self.0.plain(text)
    }

    fn allowed(&self) -> String {
        format!("empty, or {}", self.0.allowed())
    }
}

/// `HOST:PORT`, where an IPv6 host stands in brackets.
pub(super) struct Address;

impl Rule for Address {
    type Out = HostPort;

    fn parse(&self, text: &str) -> Option<HostPort> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "HOST:PORT, an IPv6 host in brackets, port 0 for any free one".to_owned()
    }
}

/// `HOST:PORT`, several by comma; nothing is none.
pub(super) struct Addresses;

impl Rule for Addresses {
    type Out = Vec<HostPort>;

    fn parse(&self, text: &str) -> Option<Vec<HostPort>> {
        if text.is_empty() {
            return Some(Vec::new());
        }
        text.split(',').map(|part| part.trim().parse().ok()).collect()
    }

    fn allowed(&self) -> String {
        "HOST:PORT, several by comma, an IPv6 host in brackets".to_owned()
    }
}

/// Kafka's `listeners`.
pub(super) struct Listeners;

impl Rule for Listeners {
    type Out = Vec<Listener>;

    fn parse(&self, text: &str) -> Option<Vec<Listener>> {
        text.split(',').map(|part| part.trim().parse().ok()).collect()
    }

    fn allowed(&self) -> String {
        "NAME://HOST:PORT, several by comma; an empty host means all interfaces".to_owned()
    }
}

/// Kafka's `advertised.listeners`.
pub(super) struct AdvertisedListeners;

impl Rule for AdvertisedListeners {
    type Out = Vec<Advertised>;

    fn parse(&self, text: &str) -> Option<Vec<Advertised>> {
        text.split(',').map(|part| part.trim().parse().ok()).collect()
    }

    fn allowed(&self) -> String {
        "NAME://HOST:PORT, several by comma; the host must be one that clients can reach, not 0.0.0.0".to_owned()
    }
}

/// `ADDRESS:COUNT` pairs. Names of hosts are not looked up: what they stand for may change.
pub(super) struct CountsByAddress;

impl Rule for CountsByAddress {
    type Out = Vec<(IpAddr, u32)>;

    fn parse(&self, text: &str) -> Option<Vec<(IpAddr, u32)>> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (address, count) = pair.rsplit_once(':')?;
                let address = address.trim();
                let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
                Some((bare.parse::<IpAddr>().ok()?.to_canonical(), count.trim().parse().ok()?))
            })
            .collect()
    }

    fn allowed(&self) -> String {
        "ADDRESS:COUNT, several by comma".to_owned()
    }
}

/// `NAME:PROTOCOL` pairs.
pub(super) struct ProtocolMap;

impl Rule for ProtocolMap {
    type Out = Vec<(String, String)>;

    fn parse(&self, text: &str) -> Option<Vec<(String, String)>> {
        text.split(',')
            .map(|pair| {
                let (name, protocol) = pair.trim().split_once(':')?;
                (protocol == "PLAINTEXT" && !name.is_empty()).then(|| (name.to_uppercase(), protocol.to_owned()))
            })
            .collect()
    }

    fn allowed(&self) -> String {
        "NAME:PLAINTEXT, several by comma (TLS and SASL are not served yet)".to_owned()
    }
}

/// A host, which may be a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address without brackets; empty for all interfaces.
    pub host: String,
    /// 0: any free port.
    pub port: u16,
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is no `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT")]
pub struct ParseHostPortError;

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(ParseHostPortError)?;
        let port = port.parse().map_err(|_| ParseHostPortError)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(inside) = bracketed {
            inside.parse::<Ipv6Addr>().map_err(|_| ParseHostPortError)?;
            return Ok(Self { host: inside.to_owned(), port });
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !host.bytes().all(plain) {
            return Err(ParseHostPortError);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}
