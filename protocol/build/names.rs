//! Kafka's names in Rust's spelling.
//!
//! Must not know: anything else about the schema.

/// `TopicData` -> `topic_data`, `KRaftVersion` -> `kraft_version`.
pub(crate) fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (index, letter) in name.replace("KRaft", "Kraft").char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// A field's name, which may be a word of Rust's.
pub(crate) fn field(name: &str) -> String {
    let text = snake(name);
    if matches!(text.as_str(), "type" | "match") { format!("r#{text}") } else { text }
}
