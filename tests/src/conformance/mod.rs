//! The page `docs/CONFORMANCE.md`: every numbered statement of MQTT 3.1.1 and 5.0, the code that says it implements it,
//! and the tests that say they prove it.
//!
//! The lists of statements are `tests/statements/*.tsv`, in our own words, with the numbers of Appendix B of the
//! specifications. Code and tests carry tags: `[MQTT-3.1.2-24]` is a statement of 5.0, `[MQTT3-3.1.2-24]` one of
//! 3.1.1, and `[MQTT-4.3.2-1] to [MQTT-4.3.2-5]` are five.
//!
//! `source.rs` finds the tags in a source.
//!
//! Invariants: a tag names a statement; a statement about the server has code and a test, or a mark that says why
//! not; the page is what this module makes of the tree. `tests.rs` guards them.

mod page;
mod source;
mod statement;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use page::PAGE;
pub use source::{Role, TagPlace};
pub use statement::{Mark, Statement, Version, Whom};

use source::Source;

/// The folders with code and tests of this project.
const FOLDERS: [&str; 5] = ["mqtt", "transport", "broker", "loadgen", "tests"];

/// What is known about one statement.
#[derive(Debug)]
pub struct Row {
    /// The statement itself, from the list.
    pub statement: Statement,
    /// The code that carries its tag.
    pub code: Vec<TagPlace>,
    /// The tests that carry its tag.
    pub tests: Vec<TagPlace>,
}

/// Every statement with its places, and what is wrong.
#[derive(Debug)]
pub struct Conformance {
    /// The statements in the order of the specifications, 3.1.1 first.
    pub rows: Vec<Row>,
    /// One sentence for each thing that is wrong; empty if all is well.
    pub faults: Vec<String>,
}

impl Conformance {
    /// Reads the lists and the sources of the tree at `root`.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or is no list of statements and no Rust source.
    pub fn of_tree(root: &Path) -> io::Result<Self> {
        let mut conformance = Self {
            rows: statements(root)?,
            faults: Vec::new(),
        };
        for path in sources(root)? {
            let text = std::fs::read_to_string(&path)?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            let source = Source::parse(&name.display().to_string(), &text).map_err(io::Error::other)?;
            conformance.add(&source);
        }
        conformance.check();
        Ok(conformance)
    }

    /// The page as it should be.
    pub fn page(&self) -> String {
        page::render(self)
    }

    fn add(&mut self, source: &Source) {
        let index: BTreeMap<_, _> = (0..)
            .zip(&self.rows)
            .map(|(index, row)| ((row.statement.version, row.statement.number.clone()), index))
            .collect();
        for fault in &source.faults {
            self.faults.push(format!("{}: {fault}", source.file));
        }
        for mention in &source.mentions {
            let tag = &mention.tag;
            let Some(row) = index
                .get(&(tag.version, tag.number.clone()))
                .and_then(|index: &usize| self.rows.get_mut(*index))
            else {
                let line = mention.line;
                self.faults
                    .push(format!("{}:{line}: {tag} is no statement", source.file));
                continue;
            };
            for place in &mention.places {
                let places = match place.role {
                    Role::Code => &mut row.code,
                    Role::Test => &mut row.tests,
                };
                if !places.contains(place) {
                    places.push(place.clone());
                }
            }
        }
    }

    fn check(&mut self) {
        for row in &self.rows {
            let statement = &row.statement;
            let proved = !row.tests.is_empty();
            let implemented = row.code.iter().any(|place| !place.file.starts_with("loadgen/"));
            let fault = match &statement.mark {
                None if statement.whom == Whom::Client || proved && implemented => continue,
                None if proved => "is about the server, and no code carries it",
                None => "is about the server, and no test carries it",
                Some(Mark::Open(_)) => continue,
                Some(Mark::Exempt(_)) if !proved => continue,
                Some(Mark::Exempt(_)) => "has a test, and its mark says that it does not apply",
            };
            self.faults.push(format!("{} {fault}", statement.tag()));
        }
    }
}

fn statements(root: &Path) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for version in [Version::V3_1_1, Version::V5] {
        let text = std::fs::read_to_string(root.join(version.list()))?;
        let statements = statement::parse(version, &text).map_err(io::Error::other)?;
        rows.extend(statements.into_iter().map(|statement| Row {
            statement,
            code: Vec::new(),
            tests: Vec::new(),
        }));
    }
    Ok(rows)
}

/// The Rust files of the project in the order of their names.
fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // This folder writes of tags that are no statements.
            if path.ends_with("src/conformance") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
