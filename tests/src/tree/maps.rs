//! The pages that name files: `docs/ARCHITECTURE.md`, and the headers that are maps of a folder or a crate.
//!
//! A name is a path that ends in `.rs`, or a folder in backticks that ends in `/`. It is looked for at the end of the
//! paths below the map's folder, so `handle/publish.rs` is enough where one file ends so.
//!
//! Invariants: none.

use super::{File, Rule, Violation};

const PAGES: [&str; 3] = ["docs/ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"];

pub(super) fn check(files: &[File], found: &mut Vec<Violation>) {
    for file in files {
        let is_page = PAGES.contains(&file.path.as_str());
        let Some(folder) = folder_of_map(&file.path).or(is_page.then_some("")) else {
            continue;
        };
        for (line, text) in (1..).zip(file.text.lines()) {
            if !is_page && !text.starts_with("//!") {
                continue;
            }
            for name in names(text) {
                if !exists(files, folder, name) {
                    let message = format!("there is no `{name}`");
                    found.push(file.violation(line, Rule::Map, message));
                }
            }
        }
    }
}

/// The folder that the header of this file is a map of.
fn folder_of_map(path: &str) -> Option<&str> {
    if !path.contains("/src/") {
        return None;
    }
    path.strip_suffix("lib.rs")
        .or_else(|| path.strip_suffix("mod.rs"))
}

/// The names of files and folders in a line of text.
pub(super) fn names(text: &str) -> Vec<&str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "/_.-".contains(letter);
    let files = text
        .split(|letter| !is_name(letter))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.len() > ".rs".len() && word.ends_with(".rs") && *word != "docs.rs");
    let folders = text.split('`').skip(1).step_by(2).filter(|word| {
        word.len() > 1 && word.ends_with('/') && !word.starts_with('/') && word.chars().all(is_name)
    });
    files.chain(folders).collect()
}

fn exists(files: &[File], folder: &str, name: &str) -> bool {
    let as_part = format!("/{}", name.trim_start_matches("./"));
    files
        .iter()
        .filter_map(|file| file.path.strip_prefix(folder))
        .map(|path| format!("/{path}"))
        .any(|path| {
            if name.ends_with('/') {
                path.contains(&as_part)
            } else {
                path.ends_with(&as_part)
            }
        })
}
