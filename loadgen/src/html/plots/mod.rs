//! Plots as SVG that takes its colours from the page. `axes.rs` and `canvas.rs` have what all kinds of plots share.
//!
//! Invariants: plotters draws with placeholder colours, which are replaced by the page's variables, so one drawing
//! serves the light and the dark page. A logarithmic scale has a label at each decade. What breaks them: a drawn
//! colour that is missing in `canvas::paint`.

mod axes;
mod canvas;

use std::io;

use plotters::chart::ChartBuilder;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use axes::{decade, decades, mesh, place, ranges};
use canvas::{GRID, INK, drawings, series, text};

/// A line of a plot: points of x and y.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// The index of its colour, below [`COLOURS`].
    pub(super) colour: usize,
    /// Its points, x and y, from left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether it is drawn thin, beside the others.
    pub(super) faint: bool,
}

/// How values are distributed over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// A linear scale that begins at 0.
    Even,
    /// A logarithmic scale with a label at each decade.
    Decades,
    /// 1 / (1 - quantile), with the percentiles as labels.
    Percentiles,
}

/// The unit of an axis, for its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Counts, or the unit in the title.
    Number,
    /// Durations in µs, shown in µs, ms or s.
    Microseconds,
}

/// An axis: its title with the unit, and its scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
    pub(super) unit: Unit,
}

/// Latencies, given in µs.
pub(super) const LATENCY: Axis<'_> = Axis {
    title: "latency",
    scale: Scale::Decades,
    unit: Unit::Microseconds,
};

/// The time since the load began, in s.
pub(super) const TIME: Axis<'_> = Axis {
    title: "seconds since the load began, warm-up included",
    scale: Scale::Even,
    unit: Unit::Number,
};

/// Percentiles, given as quantiles.
pub(super) const PERCENTILES: Axis<'_> = Axis {
    title: "percentile",
    scale: Scale::Percentiles,
    unit: Unit::Number,
};

/// Rates that were offered, in messages per second.
pub(super) const OFFERED: Axis<'_> = Axis {
    title: "messages per second offered",
    scale: Scale::Decades,
    unit: Unit::Number,
};

/// A plot as SVG in two versions: for a wide page and for a narrow one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawings {
    pub(super) wide: String,
    pub(super) narrow: String,
}

/// A point with its confidence interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whisker {
    pub(super) colour: usize,
    pub(super) row: f64,
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

/// A step of a search, by its rate and latency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) colour: usize,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Whether the generator kept up, so that the point is valid.
    pub(super) valid: bool,
}

/// The number of colours that the page has.
pub(super) const COLOURS: usize = 8;

const HEIGHT: u32 = 380;

/// Lines over two axes; `None` if there is nothing to draw.
pub(super) fn lines(x: Axis<'_>, y: Axis<'_>, lines: &[Line]) -> io::Result<Option<Drawings>> {
    let placed: Vec<Line> = lines
        .iter()
        .map(|line| Line {
            points: line
                .points
                .iter()
                .filter_map(|&point| place(x.scale, y.scale, point))
                .collect(),
            ..line.clone()
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let all = || placed.iter().flat_map(|line| line.points.iter().copied());
    let Some((range_x, range_y)) = ranges(x.scale, y.scale, all()) else {
        return Ok(None);
    };
    drawings(HEIGHT, |area, size| {
        let mut chart = mesh(area, size, (x, range_x), (y, range_y))?;
        for line in &placed {
            let width = if line.faint { 1 } else { 2 };
            let style = series(line.colour).stroke_width(width);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            if line.points.len() < 3 {
                let style = series(line.colour).filled();
                chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 4, style)))?;
            }
        }
        Ok(())
    })
    .map(Some)
}

/// Points of a search, with the objective as a horizontal line.
pub(super) fn marks(x: Axis<'_>, y: Axis<'_>, marks: &[Mark], level: f64) -> io::Result<Option<Drawings>> {
    let placed: Vec<(Mark, (f64, f64))> = marks
        .iter()
        .filter_map(|mark| Some((*mark, place(x.scale, y.scale, (mark.x, mark.y))?)))
        .collect();
    let level_at = place(
        x.scale,
        y.scale,
        (marks.first().map_or(1.0, |mark| mark.x), level),
    );
    let all = placed.iter().map(|(_, point)| *point).chain(level_at);
    let Some((range_x, range_y)) = ranges(x.scale, y.scale, all) else {
        return Ok(None);
    };
    drawings(HEIGHT, |area, size| {
        let mut chart = mesh(area, size, (x, range_x), (y, range_y))?;
        if let Some((_, at)) = level_at {
            let (ends, style) = ([(range_x.0, at), (range_x.1, at)], INK.stroke_width(1));
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, style))?;
            let above = text(size).pos(Pos::new(HPos::Left, VPos::Bottom));
            let name = EmptyElement::at((range_x.0, at)) + Text::new("objective", (6, -3), above);
            chart.draw_series([name])?;
        }
        for colour in 0..COLOURS {
            let own: Vec<(f64, f64)> = placed
                .iter()
                .filter(|(mark, _)| mark.colour == colour && mark.valid)
                .map(|(_, point)| *point)
                .collect();
            chart.draw_series(LineSeries::new(own, series(colour).stroke_width(1)))?;
        }
        for (mark, point) in &placed {
            let style = if mark.valid {
                series(mark.colour).filled()
            } else {
                series(mark.colour).stroke_width(2)
            };
            chart.draw_series([Circle::new(*point, 4, style)])?;
        }
        Ok(())
    })
    .map(Some)
}

/// Points with intervals, one row for each name.
pub(super) fn whiskers(title: &str, names: &[String], points: &[Whisker]) -> io::Result<Option<Drawings>> {
    let log = |value: f64| (value > 0.0).then(|| value.log10());
    let values = points
        .iter()
        .flat_map(|point| [point.low, point.middle, point.high])
        .filter_map(log);
    let Some((low, high)) = decades(values) else {
        return Ok(None);
    };
    let rows = names.len() as f64;
    let height = 70 + 46 * u32::try_from(names.len()).unwrap_or(u32::MAX / 64);
    drawings(height, |area, size| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(size.margin_right)
            .x_label_area_size(44)
            .y_label_area_size(size.names)
            .build_cartesian_2d(low..high, (rows - 0.5)..-0.5)?;
        let name = |row: &f64| name_of(names, *row);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels((high - low) as usize + 1)
            .x_label_formatter(&|value| decade(Unit::Microseconds, *value))
            .y_labels(names.len() * 2 + 1)
            .y_label_formatter(&name)
            .x_desc(title)
            .label_style(text(size))
            .draw()?;
        for point in points {
            let (Some(from), Some(middle), Some(to)) = (log(point.low), log(point.middle), log(point.high))
            else {
                continue;
            };
            let style = series(point.colour).stroke_width(2);
            chart.draw_series([PathElement::new([(from, point.row), (to, point.row)], style)])?;
            chart.draw_series([Circle::new((middle, point.row), 5, series(point.colour).filled())])?;
        }
        Ok(())
    })
    .map(Some)
}

fn name_of(names: &[String], row: f64) -> String {
    let index = row.round();
    let near = (row - index).abs() < 1e-6 && index >= 0.0;
    let name = near.then(|| names.get(index as usize)).flatten();
    name.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
