//! The rules of CONTRIBUTING.md that a program can check, and what in the tree violates them.
//!
//! `text.rs` checks lines and lengths of files, `syntax.rs` what the parser sees (headers, functions, doc comments,
//! names of types, `unsafe`), `exits.rs` silent ways out, `owners.rs` methods that belong to an owner, `words.rs` the
//! terms, `maps.rs` the maps of folders and pages, `floors.rs` the imports. `limits.rs` has the numbers and the
//! exemptions by name; `lexer.rs` cuts a source into code, comments and strings.
//!
//! Invariants: a rule is a pure function of the files, so the same tree gives the same violations in the same order; an
//! exemption names what it exempts and why, and one that exempts nothing is a violation. `tests.rs` guards them.

mod exits;
mod floors;
mod lexer;
mod limits;
mod maps;
mod owners;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::fmt;
use std::io;
use std::path::Path;

pub use words::{Scope, TERMS, Term};

/// What a violation violates; its name is what the program takes as `--rule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Rule {
    /// A line has at most 120 columns.
    Width,
    /// A file has at most 400 lines.
    FileLength,
    /// A function has at most 70 lines.
    FunctionLength,
    /// A module begins with a header that names its invariants.
    Header,
    /// A doc comment has more than three words, and more than the name of its item.
    DocComment,
    /// A type name stands for one type in a crate.
    TypeName,
    /// No term of the list is used for something that has a name in the field.
    Word,
    /// A file that a page or a header names exists, and a folder's map names its modules.
    Map,
    /// A path does not climb twice by `super`.
    SuperPath,
    /// A way out of the logic is explained, or calls `unreachable_state`.
    SilentReturn,
    /// A method of a coordinator that is about one owner alone is that owner's.
    Owner,
    /// `unsafe` is in `transport` alone.
    Unsafe,
    /// An import goes to the same floor or to one below.
    Floor,
    /// An exemption is used.
    Exemption,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum as _;
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// One place that violates one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, from the root of the tree.
    pub file: String,
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// The rule that is violated.
    pub rule: Rule,
    /// What is wrong, and where it is not clear what to do.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.message)
    }
}

/// A text file of the tree.
#[derive(Clone, Debug)]
struct File {
    /// From the root of the tree, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests, benches and fuzz targets: their files may be longer, and have no invariants to name.
    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        let first = parts.next().unwrap_or_default();
        if first == "tests" {
            return !self.path.starts_with("tests/src/") || self.path.ends_with("/tests.rs");
        }
        matches!(first, "benches" | "fuzz") || parts.any(is_test_part)
    }

    /// The package that the file is compiled into.
    fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn violation(&self, line: usize, rule: Rule, message: impl Into<String>) -> Violation {
        Violation {
            file: self.path.clone(),
            line,
            rule,
            message: message.into(),
        }
    }
}

/// Whether a folder or file is named like tests: `tests`, `tests.rs`, `client_tests.rs`.
fn is_test_part(part: &str) -> bool {
    let name = part.strip_suffix(".rs").unwrap_or(part);
    name == "tests" || name.ends_with("_tests")
}

/// All violations in the tree at `root`, in the order of files and lines.
///
/// # Errors
///
/// Where a file cannot be read or is no Rust source.
pub fn check(root: &Path) -> io::Result<Vec<Violation>> {
    let files = read_tree(root)?;
    check_files(&files)
}

fn check_files(files: &[File]) -> io::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for file in files {
        text::check(file, &mut found);
        words::check(file, &mut found);
        if file.is_rust() {
            syntax::check(file, &mut found)?;
            exits::check(file, &mut found)?;
            owners::check(file, &mut found)?;
        }
    }
    syntax::check_type_names(files, &mut found)?;
    maps::check(files, &mut found);
    floors::check(files, &mut found)?;
    limits::apply_exemptions(&mut found);
    found.sort();
    Ok(found)
}

/// What people write: sources, pages, templates, scripts and settings; not what is built, fetched or measured.
fn read_tree(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                // Below `results/` are measurements.
                let is_measured = folder.ends_with("results");
                let is_hidden = name.starts_with('.') && name != ".ci";
                if !is_measured && !is_hidden && !limits::FOLDERS_NOT_READ.contains(&name.as_ref()) {
                    folders.push(path);
                }
                continue;
            }
            let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            if is_read(&relative) {
                let text = std::fs::read_to_string(&path)?;
                files.push(File { path: relative, text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Whether the file is one of those that people write.
fn is_read(path: &str) -> bool {
    let extension = Path::new(path)
        .extension()
        .map(|extension| extension.to_string_lossy());
    extension.is_some_and(|extension| limits::EXTENSIONS_READ.contains(&extension.as_ref()))
        || limits::SCRIPTS.contains(&path)
}
