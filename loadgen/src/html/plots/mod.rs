//! The plots, as SVG that takes its colours from the page.
//!
//! Invariants: plotters draws with colours that stand for names, which become the page's variables, so one drawing does
//! for light and dark; scales with decades have a label at each. What breaks them: a colour that is drawn and not in
//! [`paint`].

use std::io;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A line of a plot: points of x and y.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Number of its colour.
    pub(super) colour: usize,
    /// Its points, x and y, from left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether it is drawn thin, beside the others.
    pub(super) faint: bool,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from 0 on.
    Even,
    /// One label for each decade.
    Decades,
    /// 1 / (1 - quantile), with the percentiles as labels.
    Percentiles,
}

/// An axis: its title with the unit, and its scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
}

/// A point with an interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whisker {
    pub(super) colour: usize,
    pub(super) row: f64,
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

/// A point of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) colour: usize,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Whether it may be believed.
    pub(super) valid: bool,
}

/// How many colours there are.
pub(super) const COLOURS: usize = 8;

/// Lines over two axes; `None` where there is nothing to draw.
pub(super) fn lines(x: Axis<'_>, y: Axis<'_>, lines: &[Line]) -> io::Result<Option<String>> {
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
    drawn(HEIGHT, |area| {
        let mut chart = axes(area, (x, range_x), (y, range_y))?;
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

/// Points of a search, with the objective as a level line.
pub(super) fn marks(x: Axis<'_>, y: Axis<'_>, marks: &[Mark], level: f64) -> io::Result<Option<String>> {
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
    drawn(HEIGHT, |area| {
        let mut chart = axes(area, (x, range_x), (y, range_y))?;
        if let Some((_, at)) = level_at {
            let (ends, style) = ([(range_x.0, at), (range_x.1, at)], INK.stroke_width(1));
            chart.draw_series(DashedLineSeries::new(ends, 6, 4, style))?;
            let above = text().pos(Pos::new(HPos::Left, VPos::Bottom));
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
pub(super) fn whiskers(title: &str, names: &[String], points: &[Whisker]) -> io::Result<Option<String>> {
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
    drawn(height, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(40)
            .x_label_area_size(44)
            .y_label_area_size(150)
            .build_cartesian_2d(low..high, (rows - 0.5)..-0.5)?;
        let name = |row: &f64| name_of(names, *row);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels((high - low) as usize + 1)
            .x_label_formatter(&|value| decade(*value))
            .y_labels(names.len() * 2 + 1)
            .y_label_formatter(&name)
            .x_desc(title)
            .label_style(text())
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

type Range = (f64, f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawing = DrawingAreaErrorKind<io::Error>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Where a point lies on its scales; `None` where a scale has no place for it.
fn place(x: Scale, y: Scale, (at_x, at_y): (f64, f64)) -> Option<(f64, f64)> {
    let on = |scale: Scale, value: f64| match scale {
        Scale::Even => value.is_finite().then_some(value),
        Scale::Decades => (value > 0.0).then(|| value.log10()),
        Scale::Percentiles => (value < 1.0).then(|| (1.0 / (1.0 - value)).log10()),
    };
    Some((on(x, at_x)?, on(y, at_y)?))
}

fn ranges(x: Scale, y: Scale, points: impl Iterator<Item = (f64, f64)>) -> Option<(Range, Range)> {
    let (at_x, at_y): (Vec<f64>, Vec<f64>) = points.unzip();
    let range = |scale: Scale, values: Vec<f64>| match scale {
        Scale::Even => {
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            high.is_finite()
                .then_some((0.0, if high > 0.0 { high * 1.05 } else { 1.0 }))
        }
        Scale::Decades | Scale::Percentiles => decades(values.into_iter()),
    };
    Some((range(x, at_x)?, range(y, at_y)?))
}

/// The whole decades around some values.
fn decades(values: impl Iterator<Item = f64>) -> Option<Range> {
    let ends = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = (ends.0.floor(), ends.1.ceil());
    (low.is_finite() && high.is_finite()).then_some((low, if high > low { high } else { low + 1.0 }))
}

fn axes<'a, 'b>(
    area: &'a Area<'b>,
    (x, (from_x, to_x)): (Axis<'_>, Range),
    (y, (from_y, to_y)): (Axis<'_>, Range),
) -> Result<Chart<'a, 'b>, Drawing> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(40)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(from_x..to_x, from_y..to_y)?;
    let labels = |scale: Scale, from: f64, to: f64| match scale {
        Scale::Even => 8,
        Scale::Decades | Scale::Percentiles => (to - from) as usize + 1,
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(labels(x.scale, from_x, to_x))
        .y_labels(labels(y.scale, from_y, to_y))
        .x_label_formatter(&|value| label(x.scale, *value))
        .y_label_formatter(&|value| label(y.scale, *value))
        .x_desc(x.title)
        .y_desc(y.title)
        .label_style(text())
        .draw()?;
    Ok(chart)
}

fn label(scale: Scale, value: f64) -> String {
    match scale {
        Scale::Even => even(value),
        Scale::Decades => decade(value),
        Scale::Percentiles if value < 0.5 => "0 %".to_owned(),
        Scale::Percentiles => {
            let decimals = (value.round() as usize).saturating_sub(2);
            format!("{:.decimals$} %", 100.0 - 100.0 / 10_f64.powf(value))
        }
    }
}

/// A label of an even scale: as many decimals as it needs.
fn even(value: f64) -> String {
    let digits = crate::measure::numbers::digits(value);
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        digits
    }
}

fn decade(value: f64) -> String {
    let number = 10_f64.powf(value);
    match value {
        3.0.. => crate::measure::numbers::grouped(number.round() as u64),
        0.0.. => format!("{number:.0}"),
        _ => {
            let decimals = (-value.floor()) as usize;
            format!("{number:.decimals$}")
        }
    }
}

fn drawn(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<(), Drawing>) -> io::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&area).map_err(|error| io::Error::other(error.to_string()))?;
        area.present()
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(paint(&svg))
}

/// Puts the page's variables in the place of the colours that stand for them.
fn paint(svg: &str) -> String {
    let mut painted = svg
        .replace(&hexadecimal(INK), "var(--soft)")
        .replace(&hexadecimal(GRID), "var(--grid)");
    for number in 0..COLOURS {
        painted = painted.replace(&hexadecimal(series(number)), &format!("var(--s{number})"));
    }
    painted
}

fn hexadecimal(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn text<'a>() -> TextStyle<'a> {
    ("system-ui, sans-serif", 13).into_font().color(&INK)
}

fn series(number: usize) -> RGBColor {
    RGBColor(7, 7, (number % COLOURS) as u8)
}

const INK: RGBColor = RGBColor(1, 2, 3);
const GRID: RGBColor = RGBColor(4, 5, 6);
const WIDTH: u32 = 900;
const HEIGHT: u32 = 380;

#[cfg(test)]
mod tests;
