//! Makes Rust out of the schema: `messages.rs` and `api_keys.rs` in OUT_DIR.
//!
//! Must not know: the protocol crate's code, beyond the names that the generated code uses.

#[allow(dead_code)]
mod schema;

mod api_keys;
mod messages;
mod names;

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let schema_dir = Path::new("schema");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=schema");
    let mut all = Vec::new();
    for path in schema_files(schema_dir) {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        let parsed = schema::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        all.extend(parsed);
    }
    // Kafka keeps the names of removed messages, without any version.
    all.retain(|message| !message.versions.is_none());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("messages.rs"), messages::generate(&all)).expect("write messages.rs");
    fs::write(out.join("api_keys.rs"), api_keys::generate(&all)).expect("write api_keys.rs");
}

fn schema_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("read {}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("read the schema's directory").path();
        if path.is_dir() {
            files.extend(schema_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "schema") {
            files.push(path);
        }
    }
    files.sort();
    files
}
