//! The numbers of the rules, and who is exempt from which of them.
//!
//! Invariants: every exemption has a reason, and exempts something: [`apply_exemptions`] reports one that is not used.

use super::{Rule, Violation};

/// Columns of a line, comments included.
pub(super) const LINE_COLUMNS_MAX: usize = 120;
/// Lines of a file of the programs.
pub(super) const FILE_LINES_MAX: usize = 400;
/// A file of tests may be longer: its functions do not know of each other.
pub(super) const TEST_FILE_LINES_MAX: usize = 600;
/// Lines of a table that [`EXEMPTIONS`] names.
pub(super) const TABLE_LINES_MAX: usize = 700;
/// Lines of a function from `fn` to its closing brace.
pub(super) const FUNCTION_LINES_MAX: usize = 70;
/// A doc comment has more words than this.
pub(super) const DOC_COMMENT_WORDS_MIN: usize = 3;

/// Folders whose files nobody writes by hand, by their names.
pub(super) const FOLDERS_NOT_READ: [&str; 4] = ["target", "node_modules", "corpus", "artifacts"];

/// Files that are read, by how their names end.
pub(super) const EXTENSIONS_READ: [&str; 13] = [
    "c", "css", "html", "java", "js", "md", "py", "rs", "service", "toml", "tsv", "txt", "yml",
];

/// Files that are read and whose names have no such end, by their paths.
pub(super) const SCRIPTS: [&str; 3] = [".ci/run", "flamegraphs/record", "fuzz/run"];

struct Exemption {
    rule: Rule,
    file: &'static str,
    /// Part of the message of what is exempt; empty for all of the file.
    what: &'static str,
    #[expect(dead_code, reason = "it is for the reader")]
    reason: &'static str,
}

const EXEMPTIONS: [Exemption; 4] = [
    Exemption {
        rule: Rule::Unsafe,
        file: "benches/rivals/src/stores.rs",
        what: "",
        reason: "heed opens LMDB's map by `unsafe` alone; no program links it",
    },
    Exemption {
        rule: Rule::Width,
        file: "mqtt/src/tests/malformed.rs",
        what: "",
        reason: "a table of packets, one a line",
    },
    Exemption {
        rule: Rule::Width,
        file: "mqtt/src/tests/round_trip.rs",
        what: "",
        reason: "a table of packets, one a line",
    },
    Exemption {
        rule: Rule::Width,
        file: "mqtt/src/tests/valid.rs",
        what: "",
        reason: "a table of packets, one a line",
    },
];

/// Whether the file is a table that may have [`TABLE_LINES_MAX`] lines.
fn is_table(path: &str) -> bool {
    EXEMPTIONS
        .iter()
        .any(|exemption| exemption.rule == Rule::FileLength && exemption.file == path)
}

/// The lines that a file may have.
pub(super) fn file_lines_max(path: &str, is_test: bool) -> usize {
    if is_table(path) {
        TABLE_LINES_MAX
    } else if is_test {
        TEST_FILE_LINES_MAX
    } else {
        FILE_LINES_MAX
    }
}

/// Removes what is exempt, and adds the exemptions that exempt nothing.
pub(super) fn apply_exemptions(found: &mut Vec<Violation>) {
    for exemption in &EXEMPTIONS {
        if exemption.rule == Rule::FileLength {
            continue;
        }
        let before = found.len();
        found.retain(|violation| {
            violation.rule != exemption.rule
                || violation.file != exemption.file
                || !violation.message.contains(exemption.what)
        });
        if found.len() == before {
            found.push(Violation {
                file: exemption.file.to_owned(),
                line: 0,
                rule: Rule::Exemption,
                message: format!("nothing in it needs the exemption from {}", exemption.rule),
            });
        }
    }
}
