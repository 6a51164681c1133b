//! A line on stderr that tells how far long work has come, when a person is there to see it.
//!
//! Must not know: what the work is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is redrawn at most, per second.
const REDRAWS_PER_SECOND: u8 = 8;

/// A bar towards `total`, or a spinner when nobody knows the total. Hidden unless stderr is a terminal.
#[must_use]
pub(crate) fn bar(total: Option<u64>, unit: Unit) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    // indicatif's own check: a target that is no terminal draws nothing.
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
    if let Ok(style) = ProgressStyle::with_template(template(total, unit)) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Something that turns while nobody can say how far the work has come.
#[must_use]
pub(crate) fn spinner(what: String) -> ProgressBar {
    let spinner = ProgressBar::no_length().with_message(what);
    spinner.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(250));
    spinner
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Records.
    Records,
    /// Partitions.
    Partitions,
}

fn template(total: Option<u64>, unit: Unit) -> &'static str {
    match (total, unit) {
        (Some(_), Unit::Bytes) => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left",
        (None, Unit::Bytes) => "{spinner} {bytes} {binary_bytes_per_sec}",
        (Some(_), Unit::Records) => "{bar:30} {human_pos}/{human_len} records, {per_sec}, {eta} left",
        (_, Unit::Partitions) => "{spinner} {human_pos}/{human_len} partitions moved, {elapsed}",
        (None, Unit::Records) => "{spinner} {human_pos} records, {per_sec}",
    }
}
