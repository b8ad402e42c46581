//! The surface for plots: SVG in two sizes, with the page's colours.
//!
//! Invariants: every colour that is drawn is a placeholder for a variable of the page, and [`paint`] replaces it by
//! that variable.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{COLOURS, Drawings};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type DrawingError = DrawingAreaErrorKind<io::Error>;

/// The measures of one size, in px.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    width: u32,
    font: u32,
    /// Margin at the right, for half of the last label.
    pub(super) margin_right: u32,
    /// Room for the labels of numbers.
    pub(super) labels: u32,
    /// Room for the labels of names.
    pub(super) names: u32,
    /// Number of labels of a linear scale.
    pub(super) even_labels: usize,
}

/// For a page with a width of at least 700 px.
const WIDE: Size = Size {
    width: 900,
    font: 13,
    margin_right: 40,
    labels: 76,
    names: 150,
    even_labels: 8,
};

/// For a narrow page: readable at 340 px.
const NARROW: Size = Size {
    width: 420,
    font: 14,
    margin_right: 28,
    labels: 70,
    names: 138,
    even_labels: 4,
};

/// Draws the same in both sizes.
pub(super) fn drawings(
    height: u32,
    draw: impl Fn(&Area<'_>, &Size) -> Result<(), DrawingError>,
) -> io::Result<Drawings> {
    Ok(Drawings {
        wide: drawn(&WIDE, height, &draw)?,
        narrow: drawn(&NARROW, height, &draw)?,
    })
}

fn drawn(
    size: &Size,
    height: u32,
    draw: impl Fn(&Area<'_>, &Size) -> Result<(), DrawingError>,
) -> io::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (size.width, height)).into_drawing_area();
        draw(&area, size).map_err(|error| io::Error::other(error.to_string()))?;
        area.present()
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(paint(&svg))
}

/// Replaces the placeholder colours by the page's variables.
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

pub(super) fn text<'a>(size: &Size) -> TextStyle<'a> {
    ("system-ui, sans-serif", size.font).into_font().color(&INK)
}

pub(super) fn series(number: usize) -> RGBColor {
    RGBColor(7, 7, (number % COLOURS) as u8)
}

pub(super) const INK: RGBColor = RGBColor(1, 2, 3);
pub(super) const GRID: RGBColor = RGBColor(4, 5, 6);
