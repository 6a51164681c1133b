//! The results as a table.
//!
//! Must not know: where it is printed.

use comfy_table::{Table, presets};

use super::results::{MEASURES, Results, Side, headline};

/// The plan in a line, a row for each measure, a column for each cluster.
pub(crate) fn of(results: &Results) -> String {
    let mut table = Table::new();
    let mut header = vec!["median of runs".to_owned()];
    header.extend(results.sides().into_iter().map(|side| format!("{side:?} {}", results.name(side))));
    let is_compared = results.sides().len() > 1;
    if is_compared {
        header.push("A/B, median of pairs".to_owned());
    }
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows(results) {
        table.add_row(row);
    }
    let stopped = results.sides().iter().any(|side| results.of(*side).any(|run| run.stopped));
    let note = if stopped { "\nstopped before its time" } else { "" };
    format!("{}\n{}{note}", headline(&results.plan), table.trim_fmt())
}

/// Rows of text, without measures that nobody has.
pub(crate) fn rows(results: &Results) -> Vec<Vec<String>> {
    let sides = results.sides();
    let counts = ["runs", "sent", "acked", "failed", "read"].map(|name| {
        let count = |side: &Side| {
            let runs = results.of(*side);
            let lane = |lane: &Option<cairn_load::LaneReport>| lane.as_ref().map_or(0, |lane| lane.records);
            let count: u64 = match name {
                "runs" => runs.map(|_| 1).sum(),
                "sent" => runs.map(|run| run.sent).sum(),
                "acked" => runs.map(|run| lane(&run.acked)).sum(),
                "failed" => runs.map(|run| run.failed).sum(),
                _ => runs.map(|run| lane(&run.read)).sum(),
            };
            count.to_string()
        };
        let mut row = vec![name.to_owned()];
        row.extend(sides.iter().map(count));
        row
    });
    let mut rows = counts.to_vec();
    for measure in &MEASURES {
        let medians: Vec<_> = sides.iter().map(|side| results.median(*side, measure)).collect();
        if medians.iter().all(Option::is_none) {
            continue;
        }
        let text = |value: Option<f64>, digits| value.map_or_else(String::new, |value| format!("{value:.digits$}"));
        let mut row = vec![measure.name.to_owned()];
        row.extend(medians.into_iter().map(|median| text(median, measure.digits)));
        if sides.len() > 1 {
            row.push(text(results.ratio(measure), 2));
        }
        rows.push(row);
    }
    rows
}
