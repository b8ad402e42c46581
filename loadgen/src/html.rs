//! The HTML report of a folder of results: one file that needs nothing else.
//!
//! `folder` reads what is there: a run, a comparison, a search; `plots` draws it; `page.html` is the template.
//!
//! Invariants: everything is read from the folder's files, so a report can be made again at any time; the page loads
//! nothing; what comes from files is escaped. What breaks the last: a name that does not end in `.html`, by which the
//! template engine knows to escape.

pub mod args;
mod folder;
mod plots;

use std::io;
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

/// The content of a page.
#[derive(Clone, Debug, Default, Serialize)]
struct Page {
    title: String,
    lead: String,
    command: String,
    notices: Vec<String>,
    tables: Vec<Table>,
    plots: Vec<Plot>,
    facts: Vec<(String, String)>,
}

/// A table; cells of the last column may be words of praise or blame.
#[derive(Clone, Debug, Default, Serialize)]
struct Table {
    title: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A plot with its legend.
#[derive(Clone, Debug, Default, Serialize)]
struct Plot {
    title: String,
    caption: String,
    /// Number of the colour and name of each series.
    legend: Vec<(usize, String)>,
    svg: String,
}

/// Writes `report.html` into a folder of results; gives its path.
///
/// # Errors
/// What reading and writing give; `InvalidData` where the folder has no results.
pub fn write(folder: &Path) -> io::Result<PathBuf> {
    let page = folder::read(folder)?;
    let path = folder.join("report.html");
    std::fs::write(&path, render(&page)?)?;
    Ok(path)
}

fn render(page: &Page) -> io::Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let template = environment
        .template_from_str(TEMPLATE)
        .map_err(io::Error::other)?;
    let rendered = template.render(context! { page, style => STYLE });
    rendered.map_err(io::Error::other)
}

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");

#[cfg(test)]
mod tests;
