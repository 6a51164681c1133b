//! What the benchmarks of storage ask of the machine: a folder on a real disk, sizes, processor time, bytes written.
//!
//! Must not know: what is measured.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

pub use cairn_load::processor_time;

/// A folder on the disk to measure: under `CAIRN_BENCH_DIR`, by default under `target`, which is rarely a memory disk.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let base = std::env::var("CAIRN_BENCH_DIR").unwrap_or_else(|_| default.to_owned());
    tempfile::tempdir_in(&base).unwrap_or_else(|error| panic!("make a folder in {base}: {error}"))
}

/// The number in the environment variable `name`, or `default`. Prints it, so that a result tells its size.
#[must_use]
pub fn setting<T: FromStr + std::fmt::Display>(name: &str, default: T) -> T {
    let value = match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
        Err(_) => default,
    };
    println!("{name}={value}");
    value
}

/// Whether only a trial was asked for (`cargo test --benches`), in which everything runs once and small. As criterion tells.
#[must_use]
pub fn is_trial() -> bool {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    given("--test") || !given("--bench")
}

/// Bytes that the device below `path` has written since the machine started, by everybody; `None` where it cannot be told.
#[must_use]
pub fn device_written_bytes(path: &Path) -> Option<u64> {
    const SECTOR_BYTES: u64 = 512;
    let device = fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let statistics = fs::read_to_string("/proc/diskstats").ok()?;
    statistics.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        if is_it { fields.get(9)?.parse::<u64>().ok().map(|sectors| sectors * SECTOR_BYTES) } else { None }
    })
}

/// Nanoseconds in a form that people read.
#[must_use]
pub fn nanos(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} ns"),
        1_000..1_000_000 => format!("{}.{} us", value / 1_000, value % 1_000 / 100),
        _ => format!("{}.{} ms", value / 1_000_000, value % 1_000_000 / 100_000),
    }
}
