//! `loadgen report`: the HTML report of a folder of results, in one file that loads nothing else.
//!
//! `folder` reads the results (a run, a comparison, a search or a sweep), `plots` draws them, `page.html` is the
//! template, `args.rs` has the options.
//!
//! Invariants: everything is read from the folder's files, so a report can be made again at any time. The page loads
//! nothing. Text from files is escaped. What breaks the last: a template whose name does not end in `.html`, because
//! the template engine escapes by that ending.

pub mod args;
mod folder;
mod plots;

use std::io;
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

/// The content of a page.
#[derive(Clone, Debug, Default, Serialize)]
struct Page {
    title: String,
    lead: String,
    command: String,
    badge: Option<Badge>,
    cards: Vec<Card>,
    notices: Vec<Notice>,
    tables: Vec<Table>,
    plots: Vec<Plot>,
    facts: Vec<(String, String)>,
}

/// The verdict as one word.
#[derive(Clone, Debug, Serialize)]
struct Badge {
    level: Level,
    text: &'static str,
}

/// One of the most important figures.
#[derive(Clone, Debug, Serialize)]
struct Card {
    name: &'static str,
    value: String,
    /// It does not describe the broker.
    is_marked: bool,
}

/// A sentence above the figures.
#[derive(Clone, Debug, Serialize)]
struct Notice {
    level: Level,
    text: String,
}

/// The severity of a notice, which sets its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Information without an assessment.
    Plain,
    /// The figures are reliable.
    Good,
    /// The figures may be inaccurate.
    Warning,
    /// The run is invalid, or it failed.
    Bad,
}

/// A table with a title and a heading for each column.
#[derive(Clone, Debug, Default, Serialize)]
struct Table {
    title: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    last: LastColumn,
}

/// The kind of content in the last column of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum LastColumn {
    /// A figure, as in the columns before it.
    #[default]
    Figure,
    /// A word that assesses the row.
    Verdict,
    /// A sentence, which may be long.
    Sentence,
}

/// A plot with its legend.
#[derive(Clone, Debug, Default, Serialize)]
struct Plot {
    title: String,
    caption: String,
    /// Number of the colour and name of each series.
    legend: Vec<(usize, String)>,
    svg: String,
    /// The same plot for a narrow page.
    svg_narrow: String,
}

/// Writes `report.html` into a folder of results, and its first plot as `plot.svg`; returns the path of the page.
///
/// # Errors
/// The errors of reading and writing; `InvalidData` if the folder has no results.
pub fn write(folder: &Path) -> io::Result<PathBuf> {
    let page = folder::read(folder)?;
    let path = folder.join("report.html");
    std::fs::write(&path, render_page(&page)?)?;
    if let Some(plot) = page.plots.first() {
        std::fs::write(folder.join("plot.svg"), render_plot(plot)?)?;
    }
    Ok(path)
}

fn render_page(page: &Page) -> io::Result<String> {
    render(PAGE, context! { page, colours => COLOURS, style => STYLE })
}

/// A stand-alone plot: with its legend and the page's colours.
fn render_plot(plot: &Plot) -> io::Result<String> {
    // `<svg width="900" height="254" ...`: the output of `plots`.
    let mut sizes = plot.svg.split('"').skip(1).step_by(2);
    let mut size = || sizes.next().and_then(|size| size.parse::<u32>().ok());
    let (width, height) = (size(), size());
    render(PLOT, context! { plot, width, height, colours => COLOURS })
}

fn render(template: &str, content: Value) -> io::Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let template = environment
        .template_from_str(template)
        .map_err(io::Error::other)?;
    template.render(content).map_err(io::Error::other)
}

const PAGE: &str = include_str!("page.html");
const PLOT: &str = include_str!("plot.svg");
/// The colours of page and plots, for light and dark.
const COLOURS: &str = include_str!("colours.css");
const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;
