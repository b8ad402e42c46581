//! The axes of a plot: the position of a value, and its label.
//!
//! Invariants: an axis has at most one label for each decade, and each label has the unit of its axis.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::canvas::{Area, DrawingError, GRID, Size, text};
use super::{Axis, Scale, Unit};

/// The lowest and the highest value of an axis, after scaling.
pub(super) type Range = (f64, f64);
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The scaled position of a point; `None` if a scale has no place for it.
pub(super) fn place(x: Scale, y: Scale, (at_x, at_y): (f64, f64)) -> Option<(f64, f64)> {
    let on = |scale: Scale, value: f64| match scale {
        Scale::Even => value.is_finite().then_some(value),
        Scale::Decades => (value > 0.0).then(|| value.log10()),
        Scale::Percentiles => (value < 1.0).then(|| (1.0 / (1.0 - value)).log10()),
    };
    Some((on(x, at_x)?, on(y, at_y)?))
}

pub(super) fn ranges(x: Scale, y: Scale, points: impl Iterator<Item = (f64, f64)>) -> Option<(Range, Range)> {
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

/// The whole decades that contain some values.
pub(super) fn decades(values: impl Iterator<Item = f64>) -> Option<Range> {
    let ends = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = (ends.0.floor(), ends.1.ceil());
    (low.is_finite() && high.is_finite()).then_some((low, if high > low { high } else { low + 1.0 }))
}

pub(super) fn mesh<'a, 'b>(
    area: &'a Area<'b>,
    size: &Size,
    (x, (from_x, to_x)): (Axis<'_>, Range),
    (y, (from_y, to_y)): (Axis<'_>, Range),
) -> Result<Chart<'a, 'b>, DrawingError> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(size.margin_right)
        .x_label_area_size(44)
        .y_label_area_size(size.labels)
        .build_cartesian_2d(from_x..to_x, from_y..to_y)?;
    let labels = |scale: Scale, from: f64, to: f64| match scale {
        Scale::Even => size.even_labels,
        Scale::Decades | Scale::Percentiles => (to - from) as usize + 1,
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(labels(x.scale, from_x, to_x))
        .y_labels(labels(y.scale, from_y, to_y))
        .x_label_formatter(&|value| label(x, *value))
        .y_label_formatter(&|value| label(y, *value))
        .x_desc(x.title)
        .y_desc(y.title)
        .label_style(text(size))
        .draw()?;
    Ok(chart)
}

pub(super) fn label(axis: Axis<'_>, value: f64) -> String {
    match axis.scale {
        Scale::Even => short(axis.unit, value),
        Scale::Decades => decade(axis.unit, value),
        Scale::Percentiles if value < 0.5 => "0 %".to_owned(),
        Scale::Percentiles => {
            let decimals = (value.round() as usize).saturating_sub(2);
            format!("{:.decimals$} %", 100.0 - 100.0 / 10_f64.powf(value))
        }
    }
}

/// The label of a decade by its logarithm.
pub(super) fn decade(unit: Unit, value: f64) -> String {
    short(unit, 10_f64.powf(value))
}

/// A number with as many decimals as it needs, in the largest unit in which it is at least 1.
fn short(unit: Unit, value: f64) -> String {
    let steps: &[(f64, &str)] = match unit {
        Unit::Number => &[(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")],
        Unit::Microseconds => &[(1e6, " s"), (1e3, " ms"), (1.0, " µs")],
    };
    // A decade is not exact: 999.9999 means 1,000.
    let reached = steps.iter().find(|(least, _)| value.abs() >= least * 0.999_999);
    let (least, name) = reached.or(steps.last()).copied().unwrap_or((1.0, ""));
    let number = format!("{:.4}", value / least);
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number}{name}")
}
