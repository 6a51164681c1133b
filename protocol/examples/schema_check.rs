//! Compares the schema under `protocol/schema` with the message definitions that Apache Kafka publishes inside its jars,
//! field by field and both ways: `schema_check JAR...`, or the directory that holds the jars. It prints the differences
//! and exits with 1 when there are any. `--write DIR` prints the jars' facts as schema text into DIR instead.
//!
//! Must not know: the generated Rust code.

#[allow(dead_code)]
#[path = "../build/schema.rs"]
mod schema;

#[allow(dead_code)]
#[path = "../build/names.rs"]
mod names;

#[path = "schema_check/command.rs"]
mod command;
#[path = "schema_check/compare.rs"]
mod compare;
#[path = "schema_check/definitions.rs"]
mod definitions;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::run(&arguments) {
        Ok(command::Outcome::Done) => ExitCode::SUCCESS,
        Ok(command::Outcome::Different) => ExitCode::FAILURE,
        Ok(command::Outcome::Usage) => ExitCode::from(2),
        Err(error) => {
            eprintln!("schema_check: {error}");
            ExitCode::FAILURE
        }
    }
}
