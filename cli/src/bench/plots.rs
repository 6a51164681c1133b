//! Lines in an SVG: latency by percentile, throughput and latency over time.
//!
//! Must not know: what was measured.

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 340);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
];

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Milliseconds over quantiles: to the right, each nine takes the same room.
pub(crate) fn by_percentile(title: &str, lines: &[Line]) -> Result<String> {
    let nines = |line: &Line| Line {
        name: line.name.clone(),
        points: line.points.iter().map(|(quantile, millis)| (1.0 / (1.0 - quantile), *millis)).collect(),
    };
    let lines: Vec<Line> = lines.iter().map(nines).collect();
    let percent = |x: &f64| format!("{}%", trimmed(100.0 * (1.0 - 1.0 / x)));
    let (right, top) = ends(&lines);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(62)
            .build_cartesian_2d((1.0..right.max(100.0) * 1.05).log_scale(), 0.0..top * 1.05)
            .map_err(drawing)?;
        let labels = percent;
        chart
            .configure_mesh()
            .y_desc("ms")
            .x_desc("percentile")
            .x_label_formatter(&labels)
            .light_line_style(WHITE)
            .draw()
            .map_err(drawing)?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            let drawn = chart.draw_series(series).map_err(drawing)?;
            let colour = *colour;
            drawn
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()
            .map_err(drawing)?;
        root.present().map_err(drawing).context("cannot finish a plot")?;
    }
    Ok(svg)
}

/// Something over the seconds of a run.
pub(crate) fn over_time(title: &str, unit: &str, lines: &[Line]) -> Result<String> {
    let (right, top) = ends(lines);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..right.max(1.0), 0.0..top * 1.05)
            .map_err(drawing)?;
        chart.configure_mesh().y_desc(unit).x_desc("s").light_line_style(WHITE).draw().map_err(drawing)?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            let drawn = chart.draw_series(series).map_err(drawing)?;
            let colour = *colour;
            drawn
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()
            .map_err(drawing)?;
        root.present().map_err(drawing).context("cannot finish a plot")?;
    }
    Ok(svg)
}

/// How far the lines go to the right and up; never nothing, as axes need a length.
fn ends(lines: &[Line]) -> (f64, f64) {
    let points = lines.iter().flat_map(|line| &line.points);
    let (right, top) = points.fold((0.0_f64, 0.0_f64), |(right, top), (x, y)| (right.max(*x), top.max(*y)));
    (right, if top > 0.0 { top } else { 1.0 })
}

/// A percentage without zeroes behind it.
fn trimmed(percent: f64) -> String {
    format!("{percent:.5}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line { name: "a <line>".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn a_plot_has_its_lines_and_its_names_escaped() {
        let svg =
            over_time("t", "ms", &[line(&[(0.0, 1.0), (1.0, 2.0)]), line(&[(0.0, 3.0), (1.0, 1.0)])]).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("a &lt;line&gt;") && !svg.contains("a <line>"), "{svg}");
        for colour in ["#1F77B4", "#D62728"] {
            assert!(svg.contains(colour), "{colour}: {svg}");
        }
    }

    #[test]
    fn percentiles_are_told_by_their_nines() {
        let svg = by_percentile("t", &[line(&[(0.5, 1.0), (0.99, 2.0), (0.999, 9.0)])]).expect("drawn");
        assert!(svg.contains("99%") && svg.contains("99.9%"), "{svg}");
    }

    #[test]
    fn nothing_is_drawn_without_a_panic() {
        over_time("t", "ms", &[line(&[])]).expect("drawn");
        by_percentile("t", &[]).expect("drawn");
    }
}
