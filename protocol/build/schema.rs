//! The schema text as a model: parsing it, and printing a model as that text (`docs/formats/schema.md` is its grammar).
//!
//! Must not know: Rust code that is made from it, Kafka's own definition files.

use std::fmt::{self, Write};

/// A range of versions; `none` is `first > last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Versions {
    pub(crate) const NONE: Self = Self { first: 0, last: -1 };

    pub(crate) fn is_none(self) -> bool {
        self.first > self.last
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        other.is_none() || (self.first <= other.first && other.last <= self.last)
    }

    pub(crate) fn intersect(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_none() { Self::NONE } else { both }
    }

    /// Kafka's spelling: `3+`, `0-12`, `5`, `none`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<i16>().map_err(|_| format!("expected a version, found `{text}`"));
        if text == "none" {
            return Ok(Self::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: number(first)?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: number(first)?, last: number(last)? };
        if range.is_none() { Err(format!("`{text}` holds no version")) } else { Ok(range) }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first > last => f.write_str("none"),
            (first, i16::MAX) => write!(f, "{first}+"),
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Header,
    Data,
    RecordKey,
    RecordValue,
}

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Request, "request"),
        (Self::Response, "response"),
        (Self::Header, "header"),
        (Self::Data, "data"),
        (Self::RecordKey, "record-key"),
        (Self::RecordValue, "record-value"),
    ];

    pub(crate) fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// One message in all its versions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The API key, or the record type of a record's key and value.
    pub(crate) key: Option<i16>,
    pub(crate) versions: Versions,
    pub(crate) flexible: Versions,
    /// The listeners that serve it (requests only).
    pub(crate) listeners: Vec<String>,
    /// The latest version is not advertised yet.
    pub(crate) unstable: bool,
    /// Structs that several fields use.
    pub(crate) structs: Vec<Struct>,
    pub(crate) fields: Vec<Field>,
}

/// A struct that several fields of one message use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Without the `[]` of an array.
    pub(crate) base: String,
    pub(crate) array: bool,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: Option<(u32, Versions)>,
    /// `None`: the type's own default (0, false, empty, all zeros).
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
    /// The element is found by this field in Kafka's maps.
    pub(crate) key: bool,
    /// Overrides the message's flexible versions.
    pub(crate) flexible: Option<Versions>,
    /// The fields of a struct defined in place; empty when `base` is a shared struct or no struct.
    pub(crate) fields: Vec<Field>,
}

impl Field {
    pub(crate) fn is_struct(&self) -> bool {
        self.base.starts_with(|first: char| first.is_ascii_uppercase())
    }
}

/// Reads one schema file.
pub(crate) fn parse(text: &str) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let body = line.split('#').next().unwrap_or("").trim_end();
        if body.is_empty() {
            continue;
        }
        parse_line(body, &mut messages).map_err(|error| format!("line {}: {error}", index + 1))?;
    }
    Ok(messages)
}

fn parse_line(line: &str, messages: &mut Vec<Message>) -> Result<(), String> {
    let indent = line.len() - line.trim_start().len();
    if !indent.is_multiple_of(2) {
        return Err("indent by two spaces".to_owned());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    if indent == 0 {
        messages.push(parse_message(&words)?);
        return Ok(());
    }
    let message = messages.last_mut().ok_or("a field before the first message")?;
    if indent == 2 && words[0] == "struct" {
        let [_, name, versions] = words[..] else { return Err("expected `struct Name versions`".to_owned()) };
        let versions = Versions::parse(versions)?;
        message.structs.push(Struct { name: name.to_owned(), versions, fields: Vec::new() });
        return Ok(());
    }
    let field = parse_field(&words)?;
    let shared = message.structs.last_mut().filter(|_| message.fields.is_empty());
    let (mut fields, depth) = match shared {
        Some(shared) if indent > 2 => (&mut shared.fields, indent / 2 - 2),
        _ => (&mut message.fields, indent / 2 - 1),
    };
    for _ in 0..depth {
        fields = &mut fields.last_mut().ok_or("indented too far")?.fields;
    }
    fields.push(field);
    Ok(())
}

fn parse_message(words: &[&str]) -> Result<Message, String> {
    let [kind, name, rest @ ..] = words else { return Err("expected a kind and a name".to_owned()) };
    let kind = Kind::ALL.iter().find(|(_, word)| word == kind).ok_or_else(|| format!("unknown kind `{kind}`"))?.0;
    let mut message = Message {
        kind,
        name: (*name).to_owned(),
        key: None,
        versions: Versions::NONE,
        flexible: Versions::NONE,
        listeners: Vec::new(),
        unstable: false,
        structs: Vec::new(),
        fields: Vec::new(),
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("`{word}` needs a value"));
        match *word {
            "key" => message.key = Some(value()?.parse().map_err(|_| "expected a key".to_owned())?),
            "versions" => message.versions = Versions::parse(value()?)?,
            "flexible" => message.flexible = Versions::parse(value()?)?,
            "listeners" => message.listeners = value()?.split(',').map(str::to_owned).collect(),
            "unstable" => message.unstable = true,
            other => return Err(format!("unknown word `{other}`")),
        }
    }
    Ok(message)
}

fn parse_field(words: &[&str]) -> Result<Field, String> {
    let [name, ty, versions, rest @ ..] = words else { return Err("expected `Name: type versions`".to_owned()) };
    let name = name.strip_suffix(':').ok_or("expected a colon after the field's name")?;
    let base = ty.strip_prefix("[]").unwrap_or(ty);
    let mut field = Field {
        name: name.to_owned(),
        base: base.to_owned(),
        array: base != *ty,
        versions: Versions::parse(versions)?,
        nullable: Versions::NONE,
        tag: None,
        default: None,
        ignorable: false,
        key: false,
        flexible: None,
        fields: Vec::new(),
    };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("`{word}` needs a value"));
        match *word {
            "null" => field.nullable = Versions::parse(value()?)?,
            "tag" => {
                let number = value()?.parse().map_err(|_| "expected a tag number".to_owned())?;
                field.tag = Some((number, Versions::parse(value()?)?));
            }
            "=" => field.default = Some(value()?.to_owned()),
            "ignorable" => field.ignorable = true,
            "key" => field.key = true,
            "flexible" => field.flexible = Some(Versions::parse(value()?)?),
            other => return Err(format!("unknown word `{other}`")),
        }
    }
    Ok(field)
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)?;
        if let Some(key) = self.key {
            write!(f, " key {key}")?;
        }
        write!(f, " versions {}", self.versions)?;
        if !self.flexible.is_none() {
            write!(f, " flexible {}", self.flexible)?;
        }
        if !self.listeners.is_empty() {
            write!(f, " listeners {}", self.listeners.join(","))?;
        }
        if self.unstable {
            f.write_str(" unstable")?;
        }
        f.write_char('\n')?;
        for shared in &self.structs {
            writeln!(f, "  struct {} {}", shared.name, shared.versions)?;
            write_fields(f, &shared.fields, 2)?;
        }
        write_fields(f, &self.fields, 1)
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[Field], depth: usize) -> fmt::Result {
    for field in fields {
        writeln!(f, "{:indent$}{field}", "", indent = depth * 2)?;
        write_fields(f, &field.fields, depth + 1)?;
    }
    Ok(())
}

/// One line, without the fields below it.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let array = if self.array { "[]" } else { "" };
        write!(f, "{}: {array}{} {}", self.name, self.base, self.versions)?;
        if !self.nullable.is_none() {
            write!(f, " null {}", self.nullable)?;
        }
        if let Some((tag, versions)) = self.tag {
            write!(f, " tag {tag} {versions}")?;
        }
        if let Some(default) = &self.default {
            write!(f, " = {default}")?;
        }
        if self.ignorable {
            f.write_str(" ignorable")?;
        }
        if self.key {
            f.write_str(" key")?;
        }
        if let Some(flexible) = self.flexible {
            write!(f, " flexible {flexible}")?;
        }
        Ok(())
    }
}
