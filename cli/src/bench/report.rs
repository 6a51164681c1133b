//! The results as one HTML page that needs nothing else: a table, and plots as SVG in it.
//!
//! Must not know: where it is written.

use anyhow::Result;
use cairn_load::{LaneReport, Outcome};

use super::plots::{self, Line};
use super::results::{Results, headline};
use super::table;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .9em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}code{font-size:90%}";

/// Which of a run's lanes.
type LaneOf = fn(&Outcome) -> Option<&LaneReport>;
/// Points of a lane.
type PointsOf = fn(&LaneReport) -> Vec<(f64, f64)>;

/// The page.
pub(crate) fn html(results: &Results) -> Result<String> {
    let lanes: [(&str, LaneOf); 2] = [("acknowledged", |run| run.acked.as_ref()), ("read", |run| run.read.as_ref())];
    let mut plots = String::new();
    for (what, lane) in lanes {
        let curves = lines(results, lane, |lane| lane.curve.clone());
        if curves.iter().any(|line| !line.points.is_empty()) {
            plots += &plots::by_percentile(&format!("Latency by percentile, {what}"), &curves)?;
        }
        let rates = lines(results, lane, |lane| per_second(lane, |second| as_f64(second.records)));
        if rates.iter().any(|line| !line.points.is_empty()) {
            plots += &plots::over_time(&format!("Records per second, {what}"), "records/s", &rates)?;
        }
        let tails = lines(results, lane, |lane| per_second(lane, |second| second.p99_ms));
        if tails.iter().any(|line| line.points.iter().any(|(_, millis)| *millis > 0.0)) {
            plots += &plots::over_time(&format!("p99 of each second, {what}"), "ms", &tails)?;
        }
    }
    let title = escaped(&headline(&results.plan));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>cairn bench: {title}</title><style>{STYLE}</style>\n\
         <h1>cairn bench</h1>\n<p><code>{title}</code></p>\n{}\n{plots}\n</html>\n",
        html_table(results)
    ))
}

/// A line for each run.
fn lines(results: &Results, lane: LaneOf, points: PointsOf) -> Vec<Line> {
    let mut lines = Vec::new();
    for side in results.sides() {
        for (run, number) in results.of(side).zip(1..) {
            if let Some(lane) = lane(run) {
                lines.push(Line { name: format!("{side:?}{number} {}", results.name(side)), points: points(lane) });
            }
        }
    }
    lines
}

/// Whole seconds: the last one is short, and would look like a fall.
fn per_second(lane: &LaneReport, of: fn(&cairn_load::Second) -> f64) -> Vec<(f64, f64)> {
    let whole = lane.seconds.len().saturating_sub(1).max(1);
    (0_u32..).zip(&lane.seconds).take(whole).map(|(number, second)| (f64::from(number), of(second))).collect()
}

fn html_table(results: &Results) -> String {
    let mut header = vec!["median of runs".to_owned()];
    header.extend(results.sides().into_iter().map(|side| format!("{side:?} {}", results.name(side))));
    if header.len() > 2 {
        header.push("A/B, median of pairs".to_owned());
    }
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table::rows(results).iter().map(|cells| row(cells, "td")).collect();
    format!("<table>\n{}{rows}</table>", row(&header, "th"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[expect(clippy::cast_precision_loss, reason = "a point of a plot")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
