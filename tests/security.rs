//! docs/SECURITY.md against the tree: each row has a test that exists, or a reason.

use std::collections::BTreeSet;
use std::path::Path;

/// Every function of the sources.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("fn "));
            found.extend(names.filter_map(|name| name.split('(').next()).map(str::to_owned));
        }
    }
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<[&str; 3]> {
    let cells: Vec<_> = line
        .strip_prefix('|')?
        .strip_suffix('|')?
        .split('|')
        .map(str::trim)
        .collect();
    cells.try_into().ok()
}

#[test]
fn each_row_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/SECURITY.md")).unwrap();
    let mut known = BTreeSet::new();
    for folder in ["broker/src", "mqtt/src", "transport/src", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    let mut ids = Vec::new();
    for [class, behaviour, tests] in page.lines().filter_map(cells) {
        if class == "class" || class.starts_with("---") {
            continue;
        }
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(
            !names.is_empty() || behaviour.starts_with("Reason: "),
            "{class} has neither a test nor a reason"
        );
        for name in names {
            assert!(known.contains(name), "{class}: there is no test {name}");
        }
        ids.extend(
            class
                .split(' ')
                .next()
                .filter(|id| id.starts_with('V'))
                .map(str::to_owned),
        );
    }
    let all: Vec<_> = (1..=40).map(|number| format!("V{number:02}")).collect();
    assert_eq!(ids, all);
}
