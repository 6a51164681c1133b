//! The `ApiKey` enum and the facts about each key.
//!
//! Must not know: fields.

use std::fmt::Write;

use crate::schema::{Kind, Message};

/// The text of `api_keys.rs`.
pub(crate) fn generate(all: &[Message]) -> String {
    let mut requests: Vec<&Message> = all.iter().filter(|message| message.kind == Kind::Request).collect();
    requests.sort_by_key(|message| message.key);
    let mut text = String::from(
        "/// Every API of Kafka that still has versions.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         #[repr(i16)]\n\
         pub enum ApiKey {\n",
    );
    for request in &requests {
        let name = api_name(request);
        let key = key_of(request);
        let _ = writeln!(text, "    /// Key {key}.\n    {name} = {key},");
    }
    let _ = writeln!(text, "}}\n\nimpl ApiKey {{\n    /// All keys in ascending order.");
    let _ = writeln!(text, "    pub const ALL: [Self; {}] = [", requests.len());
    for request in &requests {
        let _ = writeln!(text, "        Self::{},", api_name(request));
    }
    text.push_str("    ];\n\n    /// What the schema says about this key.\n    #[must_use]\n");
    text.push_str("    pub const fn facts(self) -> ApiFacts {\n        match self {\n");
    for request in &requests {
        let response = all.iter().find(|message| message.kind == Kind::Response && message.key == request.key);
        let response = response.unwrap_or_else(|| panic!("{} has no response", request.name));
        let listeners = |name: &str| request.listeners.iter().any(|listener| listener == name);
        assert_eq!(request.flexible, response.flexible, "{}: request and response differ", request.name);
        assert_eq!(request.versions, response.versions, "{}: request and response differ", request.name);
        let flexible = match request.flexible {
            flexible if flexible.is_none() => "None".to_owned(),
            flexible => format!("Some({})", flexible.first),
        };
        let _ = writeln!(
            text,
            "            Self::{name} => ApiFacts {{ name: \"{name}\", first: {}, last: {}, flexible_from: {flexible}, \
             latest_unstable: {}, on_broker: {}, on_controller: {} }},",
            request.versions.first,
            request.versions.last,
            request.unstable,
            listeners("broker"),
            listeners("controller"),
            name = api_name(request),
        );
    }
    text.push_str("        }\n    }\n\n    /// The API of this key, when there is one.\n    #[must_use]\n");
    text.push_str("    pub const fn from_code(code: i16) -> Option<Self> {\n        Some(match code {\n");
    for request in &requests {
        let _ = writeln!(text, "            {} => Self::{},", key_of(request), api_name(request));
    }
    text.push_str("            _ => return None,\n        })\n    }\n}\n");
    text
}

/// `ProduceRequest` -> `Produce`.
pub(crate) fn api_name(request: &Message) -> &str {
    request.name.strip_suffix("Request").unwrap_or_else(|| panic!("{} is no name of a request", request.name))
}

fn key_of(request: &Message) -> i16 {
    request.key.unwrap_or_else(|| panic!("{} has no key", request.name))
}
