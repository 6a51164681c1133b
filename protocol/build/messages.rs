//! One struct per message and nested struct, with its reading and writing in every version.
//!
//! Must not know: how the wire's types are read and written (that is the crate's `codec`).

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::names;
use crate::schema::{Field, Kind, Message, Versions};

/// The text of `messages.rs`.
pub(crate) fn generate(all: &[Message]) -> String {
    let mut text = String::new();
    for message in all {
        Generator { message, text: &mut text }.message();
    }
    every_message(all, &mut text);
    text
}

/// A macro that hands all names to another macro: tests and fuzz targets go through all messages by it.
fn every_message(all: &[Message], text: &mut String) {
    let lists: [(&str, &str, &[Kind]); 4] = [
        ("every_message", "all messages", &[]),
        ("every_request", "all requests", &[Kind::Request]),
        ("every_response", "all responses", &[Kind::Response]),
        ("every_stored", "all that is kept in records and files", &[Kind::Data, Kind::RecordKey, Kind::RecordValue]),
    ];
    for (name, what, kinds) in lists {
        let chosen = all.iter().filter(|message| kinds.is_empty() || kinds.contains(&message.kind));
        let chosen: Vec<&str> = chosen.map(|message| message.name.as_str()).collect();
        let _ = writeln!(text, "/// Calls `$name!(A, B, ...)` with {what} by name.\n#[macro_export]");
        let _ = writeln!(text, "macro_rules! {name} {{\n    ($name:ident) => {{\n        $name!(");
        let _ = writeln!(text, "            {}", chosen.join(",\n            "));
        text.push_str("        );\n    };\n}\n");
    }
}

struct Generator<'a> {
    message: &'a Message,
    text: &'a mut String,
}

/// A struct to be generated: where it is used tells which versions it has to know.
struct Body<'a> {
    name: &'a str,
    fields: &'a [Field],
    versions: Versions,
}

macro_rules! line {
    ($self:ident, $($format:tt)*) => {{
        let _ = writeln!($self.text, $($format)*);
    }};
}

impl Generator<'_> {
    fn message(&mut self) {
        let message = self.message;
        let mut bodies = Vec::new();
        collect(&message.fields, message.versions, &mut bodies);
        for shared in &message.structs {
            let versions = shared.versions.intersect(message.versions);
            bodies.push(Body { name: &shared.name, fields: &shared.fields, versions });
            collect(&shared.fields, versions, &mut bodies);
        }
        let module = names::snake(&message.name);
        line!(self, "pub use {module}::{};\n", message.name);
        line!(self, "/// [`{}`] and the structs in it.\npub mod {module} {{", message.name);
        line!(self, "    use super::prelude::*;\n");
        line!(self, "    /// {}\n    ///", self.headline());
        self.body(&Body { name: &message.name, fields: &message.fields, versions: message.versions });
        self.message_impls();
        for body in &bodies {
            line!(self, "    /// Versions {}.\n    ///", body.versions);
            self.body(body);
            self.use_impls(body);
            if message.kind == Kind::Response && self.has_errors(body.fields) {
                line!(self, "    impl {} {{", body.name);
                self.each_error(body.fields);
                line!(self, "    }}\n");
            }
        }
        line!(self, "}}\n");
    }

    fn headline(&self) -> String {
        let what = match (self.message.kind, self.message.key) {
            (Kind::Request, Some(key)) => format!("The request of API {key}"),
            (Kind::Response, Some(key)) => format!("The response of API {key}"),
            (Kind::RecordKey, Some(key)) => format!("The key of a coordinator's record of type {key}"),
            (Kind::RecordValue, Some(key)) => format!("The value of a coordinator's record of type {key}"),
            (Kind::Header, _) => "A header".to_owned(),
            _ => "Data of its own".to_owned(),
        };
        format!("{what}, versions {}, flexible {}.", self.message.versions, self.message.flexible)
    }

    fn message_impls(&mut self) {
        let message = self.message;
        let Versions { first, last } = message.versions;
        let flexible = match message.flexible {
            flexible if flexible.is_none() => "None".to_owned(),
            flexible => format!("Some({})", flexible.first),
        };
        line!(self, "    impl Message for {} {{", message.name);
        line!(self, "        const NAME: &'static str = \"{}\";", message.name);
        line!(self, "        const VERSIONS: RangeInclusive<i16> = {first}..={last};");
        line!(self, "        const FLEXIBLE_FROM: Option<i16> = {flexible};\n    }}\n");
        match (message.kind, message.key) {
            (Kind::Request, Some(_)) => {
                let api = message.name.strip_suffix("Request").unwrap_or(&message.name);
                line!(self, "    impl Request for {} {{", message.name);
                line!(self, "        const KEY: ApiKey = ApiKey::{api};");
                line!(self, "        type Response = super::{api}Response;\n    }}\n");
            }
            (Kind::Response, Some(_)) => {
                line!(self, "    impl Response for {} {{", message.name);
                self.each_error(&message.fields);
                line!(self, "    }}\n");
            }
            (Kind::RecordKey | Kind::RecordValue, Some(key)) => {
                line!(self, "    impl RecordPart for {} {{", message.name);
                line!(self, "        const TYPE: i16 = {key};\n    }}\n");
            }
            _ => {}
        }
    }

    /// The struct, its defaults, its reading and writing.
    fn body(&mut self, body: &Body<'_>) {
        line!(self, "    /// Fields that a version does not have keep their defaults.");
        let plain = body.fields.iter().all(|field| default_of(field) == "Default::default()");
        let derived = if plain { ", Default" } else { "" };
        line!(self, "    #[derive(Clone, Debug, PartialEq{derived})]\n    pub struct {} {{", body.name);
        for field in body.fields {
            let facts = field.to_string();
            let facts = facts.split_once(": ").map_or("", |(_, facts)| facts);
            line!(self, "        /// `{facts}`\n        pub {}: {},", names::field(&field.name), rust_type(field));
        }
        line!(self, "    }}\n");
        if !plain {
            line!(self, "    impl Default for {} {{\n        fn default() -> Self {{\n            Self {{", body.name);
            for field in body.fields {
                line!(self, "                {}: {},", names::field(&field.name), default_of(field));
            }
            line!(self, "            }}\n        }}\n    }}\n");
        }
        line!(self, "    impl Element for {} {{", body.name);
        self.read(body);
        self.write(body);
        line!(self, "    }}\n");
    }

    fn read(&mut self, body: &Body<'_>) {
        line!(self, "        fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {{");
        line!(self, "            let mut it = Self::default();");
        for field in body.fields {
            let versions = self.plain_versions(field, body.versions);
            if versions.is_empty() {
                continue;
            }
            let condition = condition(&versions, body.versions);
            let name = names::field(&field.name);
            let context = self.context(field);
            let read = format!("it.{name} = r.get({context})?;");
            let required = format!("it.{name} = Some(r.get({context})?);");
            let statement = self.by_nullability(field, &versions, read, required);
            self.guarded(condition.as_deref(), &statement, None);
        }
        if !self.message.flexible.intersect(body.versions).is_none() {
            self.read_tags(body);
        }
        line!(self, "            Ok(it)\n        }}\n");
    }

    fn read_tags(&mut self, body: &Body<'_>) {
        let tagged: Vec<&Field> = body.fields.iter().filter(|field| field.tag.is_some()).collect();
        line!(self, "            if v.flexible {{");
        if tagged.is_empty() {
            line!(self, "                r.skip_tags()?;\n            }}");
            return;
        }
        line!(self, "                r.tags(|r, tag| {{\n                    match tag {{");
        for field in tagged {
            let (tag, versions) = field.tag.expect("filtered");
            let versions = versions.intersect(field.versions).intersect(body.versions);
            let guard = condition_of(versions, body.versions).map_or(String::new(), |text| format!(" if {text}"));
            self.assert_nullable_everywhere(field, versions);
            let get = if is_nullable_struct(field) { "tagged_struct" } else { "get" };
            line!(self, "                        {tag}{guard} => it.{} = r.{get}(v)?,", names::field(&field.name));
        }
        line!(self, "                        _ => return Ok(false),\n                    }}");
        line!(self, "                    Ok(true)\n                }})?;\n            }}");
    }

    fn write(&mut self, body: &Body<'_>) {
        line!(self, "        fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError> {{");
        for field in body.fields {
            let versions = self.plain_versions(field, body.versions);
            let name = names::field(&field.name);
            let absent = format!("w.refuse_unsupported({}, \"{}\", v)?;", differs(field), field.name);
            if !versions.is_empty() {
                let context = self.context(field);
                let write = format!("self.{name}.write(w, {context})?;");
                let required = format!("w.required(&self.{name}, \"{}\", {context})?;", field.name);
                let statement = self.by_nullability(field, &versions, write, required);
                let condition = condition(&versions, body.versions);
                // Where the field is tagged, writing the tags sees to it.
                let absent = (!field.ignorable && field.tag.is_none()).then_some(absent.as_str());
                self.guarded(condition.as_deref(), &statement, absent);
            }
            if let Some((_, tagged)) = field.tag
                && !field.ignorable
            {
                let known: Vec<Versions> = versions.into_iter().chain([tagged.intersect(field.versions)]).collect();
                if let Some(condition) = condition(&known, body.versions) {
                    self.guarded(Some(&format!("!({condition})")), &absent, None);
                }
            }
        }
        if !self.message.flexible.intersect(body.versions).is_none() {
            self.write_tags(body);
        }
        line!(self, "            Ok(())\n        }}");
    }

    fn write_tags(&mut self, body: &Body<'_>) {
        let mut tagged: Vec<&Field> = body.fields.iter().filter(|field| field.tag.is_some()).collect();
        tagged.sort_by_key(|field| field.tag.map(|(tag, _)| tag));
        line!(self, "            if v.flexible {{");
        if tagged.is_empty() {
            line!(self, "                w.no_tags();\n            }}");
            return;
        }
        line!(self, "                let mut tags = w.tags();");
        for field in tagged {
            let (tag, versions) = field.tag.expect("filtered");
            let versions = versions.intersect(field.versions).intersect(body.versions);
            let guard = condition_of(versions, body.versions).map_or(String::new(), |text| format!("{text} && "));
            line!(self, "                if {guard}{} {{", differs(field));
            let put = if is_nullable_struct(field) { "put_struct" } else { "put" };
            line!(self, "                    tags.{put}({tag}, &self.{}, v)?;", names::field(&field.name));
            line!(self, "                }}");
        }
        line!(self, "                tags.end();\n            }}");
    }

    /// The walk through an answer that finds its errors.
    fn each_error(&mut self, fields: &[Field]) {
        let has_errors = self.has_errors(fields);
        let told = if has_errors { "told" } else { "_" };
        line!(self, "        fn each_error(&self, {told}: &mut dyn FnMut(i16)) {{");
        for field in fields {
            let name = names::field(&field.name);
            if is_error(field) {
                line!(self, "            if self.{name} != 0 {{ told(self.{name}); }}");
            } else if field.is_struct() && self.has_errors(self.fields_of(field)) {
                match (field.array, field.nullable.is_none()) {
                    (false, true) => line!(self, "            self.{name}.each_error(told);"),
                    (true, false) => {
                        line!(self, "            for it in self.{name}.iter().flatten() {{ it.each_error(told); }}");
                    }
                    _ => line!(self, "            for it in &self.{name} {{ it.each_error(told); }}"),
                }
            }
        }
        line!(self, "        }}");
    }

    /// Whether one of these fields, or one below them, is an error.
    fn has_errors(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| is_error(field) || field.is_struct() && self.has_errors(self.fields_of(field)))
    }

    /// The impls that depend on how a struct is used: in arrays it needs a smallest size, where null is allowed a marker.
    fn use_impls(&mut self, body: &Body<'_>) {
        let all = self.all_fields();
        let uses: Vec<&Field> = all.iter().copied().filter(|field| field.base == body.name).collect();
        let may_be_null = uses.iter().any(|field| !field.array && !field.nullable.is_none());
        let in_arrays = uses.iter().any(|field| field.array);
        if may_be_null {
            line!(self, "    impl Nullable for {} {{}}\n", body.name);
        }
        if in_arrays {
            line!(self, "    impl ArrayElement for {} {{", body.name);
            line!(self, "        fn min_size(v: Version) -> usize {{\n            match v.number {{");
            let last = body.versions.last.min(self.message.versions.last);
            for version in body.versions.first..=last {
                let size = self.min_size(body.fields, version);
                if version == last || self.min_size(body.fields, version + 1) != size {
                    let range = if version == last { "_".to_owned() } else { format!("..={version}") };
                    line!(self, "                {range} => {size},");
                }
            }
            line!(self, "            }}\n        }}\n    }}\n");
        }
    }

    /// The fewest bytes that these fields take in this version.
    fn min_size(&self, fields: &[Field], version: i16) -> usize {
        let tags = usize::from(self.message.flexible.contains(version));
        tags + fields.iter().map(|field| self.min_field_size(field, version)).sum::<usize>()
    }

    fn min_field_size(&self, field: &Field, version: i16) -> usize {
        if !field.versions.contains(version) || field.tag.is_some_and(|(_, versions)| versions.contains(version)) {
            return 0;
        }
        let flexible = field.flexible.unwrap_or(self.message.flexible).contains(version);
        let by_length = |size: usize| if flexible { 1 } else { size };
        match field.base.as_str() {
            _ if field.array => by_length(4),
            "string" => by_length(2),
            "bytes" | "records" => by_length(4),
            "bool" | "int8" => 1,
            "int16" | "uint16" => 2,
            "int32" | "uint32" => 4,
            "int64" | "float64" => 8,
            "uuid" => 16,
            _ if field.nullable.contains(version) => 1,
            _ => self.min_size(self.fields_of(field), version),
        }
    }

    /// The fields of the struct that this field holds.
    fn fields_of<'f>(&'f self, field: &'f Field) -> &'f [Field] {
        if !field.fields.is_empty() {
            return &field.fields;
        }
        let shared = self.message.structs.iter().find(|shared| shared.name == field.base);
        &shared.unwrap_or_else(|| panic!("{}: no struct {}", self.message.name, field.base)).fields
    }

    fn all_fields(&self) -> Vec<&Field> {
        fn walk<'a>(fields: &'a [Field], all: &mut Vec<&'a Field>) {
            for field in fields {
                all.push(field);
                walk(&field.fields, all);
            }
        }
        let mut all = Vec::new();
        walk(&self.message.fields, &mut all);
        for shared in &self.message.structs {
            walk(&shared.fields, &mut all);
        }
        all
    }

    /// The ranges of versions where the field is there and not tagged.
    fn plain_versions(&self, field: &Field, within: Versions) -> Vec<Versions> {
        let versions = field.versions.intersect(within);
        let Some((_, tagged)) = field.tag else { return vec![versions].into_iter().filter(|v| !v.is_none()).collect() };
        let tagged = tagged.intersect(versions);
        if tagged.is_none() {
            return vec![versions];
        }
        let before = Versions { first: versions.first, last: tagged.first - 1 };
        let after = Versions { first: tagged.last.saturating_add(1), last: versions.last };
        [before, after].into_iter().filter(|range| !range.is_none() && range.first <= within.last).collect()
    }

    /// What a field's reading and writing is told of the version.
    fn context(&self, field: &Field) -> &'static str {
        match field.flexible {
            None => "v",
            Some(flexible) if flexible.is_none() => "v.fixed()",
            Some(_) => panic!("{}: only `flexible none` is known", field.name),
        }
    }

    /// One of two statements, or both by version: `any` where null may be, `required` where not.
    fn by_nullability(&self, field: &Field, versions: &[Versions], any: String, required: String) -> String {
        if field.nullable.is_none() || versions.iter().all(|range| field.nullable.covers(*range)) {
            return any;
        }
        let within = Versions { first: versions[0].first, last: versions[versions.len() - 1].last };
        let nullable = field.nullable.intersect(within);
        match condition_of(nullable, within) {
            _ if nullable.is_none() => required,
            Some(condition) => format!("if {condition} {{ {any} }} else {{ {required} }}"),
            None => any,
        }
    }

    fn assert_nullable_everywhere(&self, field: &Field, versions: Versions) {
        let fits = field.nullable.is_none() || field.nullable.covers(versions);
        assert!(fits, "{}.{}: null only in some tagged versions", self.message.name, field.name);
    }

    fn guarded(&mut self, condition: Option<&str>, statement: &str, otherwise: Option<&str>) {
        match (condition, otherwise) {
            (None, _) => line!(self, "            {statement}"),
            (Some(condition), None) => line!(self, "            if {condition} {{ {statement} }}"),
            (Some(condition), Some(otherwise)) => {
                line!(self, "            if {condition} {{ {statement} }} else {{ {otherwise} }}");
            }
        }
    }
}

/// The structs below these fields, each once.
fn collect<'a>(fields: &'a [Field], within: Versions, bodies: &mut Vec<Body<'a>>) {
    for field in fields.iter().filter(|field| !field.fields.is_empty()) {
        let versions = field.versions.intersect(within);
        bodies.push(Body { name: &field.base, fields: &field.fields, versions });
        collect(&field.fields, versions, bodies);
    }
    let distinct: BTreeSet<&str> = bodies.iter().map(|body| body.name).collect();
    assert_eq!(distinct.len(), bodies.len(), "a struct is defined twice");
}

/// The test for "in one of these ranges", given that the version is `within`; `None` when it always holds.
fn condition(ranges: &[Versions], within: Versions) -> Option<String> {
    let tests: Option<Vec<String>> = ranges.iter().map(|range| condition_of(*range, within)).collect();
    tests.map(|tests| tests.join(" || "))
}

fn condition_of(range: Versions, within: Versions) -> Option<String> {
    let range = range.intersect(within);
    match (range.first <= within.first, range.last >= within.last) {
        _ if range.is_none() => Some("false".to_owned()),
        (true, true) => None,
        (true, false) => Some(format!("v.number <= {}", range.last)),
        (false, true) => Some(format!("v.number >= {}", range.first)),
        _ if range.first == range.last => Some(format!("v.number == {}", range.first)),
        (false, false) => Some(format!("({}..={}).contains(&v.number)", range.first, range.last)),
    }
}

/// Kafka names all of them alike.
fn is_error(field: &Field) -> bool {
    field.base == "int16" && !field.array && field.name.ends_with("ErrorCode")
}

fn is_nullable_struct(field: &Field) -> bool {
    field.is_struct() && !field.array && !field.nullable.is_none()
}

fn rust_type(field: &Field) -> String {
    let base = match field.base.as_str() {
        "bool" => "bool",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "uint16" => "u16",
        "uint32" => "u32",
        "float64" => "f64",
        "string" => "Box<str>",
        "uuid" => "Uuid",
        "bytes" | "records" => "Bytes",
        other if field.is_struct() => other,
        other => panic!("{}: unknown type {other}", field.name),
    };
    let whole = if field.array { format!("Vec<{base}>") } else { base.to_owned() };
    if field.nullable.is_none() { whole } else { format!("Option<{whole}>") }
}

/// The default as Rust: nullable fields default to empty, not to null, unless the schema says so.
fn default_of(field: &Field) -> String {
    let nullable = !field.nullable.is_none();
    match field.default.as_deref() {
        Some("null") => "Default::default()".to_owned(),
        Some(text) if field.base == "string" => panic!("{}: default `{text}` of a string", field.name),
        Some(text) => text.to_owned(),
        None if nullable => "Some(Default::default())".to_owned(),
        None => "Default::default()".to_owned(),
    }
}

/// The test for "is not the default".
fn differs(field: &Field) -> String {
    let name = names::field(&field.name);
    let nullable = !field.nullable.is_none();
    let has_length = field.array || matches!(field.base.as_str(), "string" | "bytes" | "records");
    match field.default.as_deref() {
        Some("null") => format!("self.{name}.is_some()"),
        Some("true") => format!("!self.{name}"),
        Some(text) => format!("self.{name} != {text}"),
        None if nullable && has_length => format!("self.{name}.as_ref().is_none_or(|it| !it.is_empty())"),
        None if has_length => format!("!self.{name}.is_empty()"),
        None if nullable => format!("self.{name} != Some(Default::default())"),
        None if field.base == "uuid" => format!("!self.{name}.is_nil()"),
        None if field.base == "bool" => format!("self.{name}"),
        None if field.base == "float64" => format!("self.{name} != 0.0"),
        None if field.is_struct() => format!("self.{name} != Default::default()"),
        None => format!("self.{name} != 0"),
    }
}
