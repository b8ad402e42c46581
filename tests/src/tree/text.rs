//! What lines alone show: their width, their number, and paths that climb twice.
//!
//! Invariants: none.

use super::{File, Rule, Violation, limits};

pub(super) fn check(file: &File, found: &mut Vec<Violation>) {
    if !file.is_rust() {
        return;
    }
    let mut lines = 0;
    for (number, line) in (1..).zip(file.text.lines()) {
        lines = number;
        let columns = line.chars().count();
        if columns > limits::LINE_COLUMNS_MAX {
            found.push(file.violation(number, Rule::Width, format!("{columns} columns")));
        }
        // In two parts, or this line would be one of them.
        if line.contains(concat!("super::", "super::")) {
            found.push(file.violation(number, Rule::SuperPath, "write the path from `crate`"));
        }
    }
    let most = limits::file_lines_max(&file.path, file.is_test());
    if lines > most {
        found.push(file.violation(0, Rule::FileLength, format!("{lines} lines, at most {most}")));
    }
}
