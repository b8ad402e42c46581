//! The pages that name files: `docs/ARCHITECTURE.md`, and the headers, of which that of a `lib.rs` or `mod.rs` is the
//! map of its folder and names each of its modules.
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
        if !is_page && !file.is_rust() {
            continue;
        }
        if folder_of_map(&file.path).is_some() && !file.is_test() {
            check_modules(file, found);
        }
        let folder = folder_of_map(&file.path).unwrap_or_default();
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

/// Each module of the file is named in its header, as a word or as a file.
fn check_modules(file: &File, found: &mut Vec<Violation>) {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let header: Vec<&str> = file
        .text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .flat_map(|line| line.split(|letter| !is_word(letter)))
        .collect();
    let mut is_of_tests = false;
    for (line, text) in (1..).zip(file.text.lines()) {
        let name = text.split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';'));
        let is_module = !text.starts_with([' ', '/']) && name.is_some_and(|name| name.chars().all(is_word));
        if let Some(name) = name.filter(|name| is_module && !is_of_tests && !header.contains(name)) {
            let message = format!("the header does not say what `{name}` is for");
            found.push(file.violation(line, Rule::Map, message));
        }
        is_of_tests = text.starts_with("#[cfg(test)]");
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
