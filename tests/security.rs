//! docs/SECURITY.md against the tree: each row has a test that exists, or a reason, and names every test of its number.
//! `MIDGE_WRITE_DOCS=1 cargo test -p tests security` writes the names again.

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

fn known() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for folder in ["broker/src", "broker/tests", "mqtt/src", "transport/src", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    known
}

/// The cells of a table's row: class, behaviour, tests.
fn cells(line: &str) -> Option<[&str; 3]> {
    let cells: Vec<_> = line
        .strip_prefix('|')?
        .strip_suffix('|')?
        .split('|')
        .map(str::trim)
        .collect();
    let cells: [&str; 3] = cells.try_into().ok()?;
    (cells[0] != "class" && !cells[0].starts_with("---")).then_some(cells)
}

fn names(tests: &str) -> impl Iterator<Item = &str> {
    tests.split('`').skip(1).step_by(2)
}

/// `V01`, if the row has a number.
fn number(class: &str) -> Option<&str> {
    class
        .split(' ')
        .next()
        .filter(|word| word.len() == 3 && word.starts_with('V'))
}

/// The line with every test of its number, and with the others that it names.
fn completed(line: &str, known: &BTreeSet<String>) -> String {
    let Some([class, behaviour, tests]) = cells(line) else {
        return line.to_owned();
    };
    let Some(number) = number(class) else {
        return line.to_owned();
    };
    let prefix = format!("{}_", number.to_lowercase());
    let own = known
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .map(String::as_str);
    let others = names(tests).filter(|name| !name.starts_with(&prefix));
    let all: Vec<_> = own.chain(others).map(|name| format!("`{name}`")).collect();
    let tests = all.join(", ");
    format!(
        "| {class} | {behaviour} | {tests}{}|",
        if tests.is_empty() { "" } else { " " }
    )
}

#[test]
fn each_row_has_a_test_or_a_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SECURITY.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let known = known();
    let whole: Vec<_> = page.lines().map(|line| completed(line, &known)).collect();
    if std::env::var_os("MIDGE_WRITE_DOCS").is_some() {
        std::fs::write(&path, whole.join("\n") + "\n").unwrap();
    }
    let mut numbers = Vec::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let old = "run MIDGE_WRITE_DOCS=1 cargo test -p tests security";
        assert_eq!(line, completed(line, &known), "{old}");
        let Some([class, behaviour, tests]) = cells(line) else {
            continue;
        };
        let has_tests = names(tests).next().is_some();
        assert!(
            has_tests || behaviour.starts_with("Reason: "),
            "{class} has neither a test nor a reason"
        );
        for name in names(tests) {
            assert!(known.contains(name), "{class}: there is no test {name}");
        }
        numbers.extend(number(class).map(str::to_owned));
    }
    let all: Vec<_> = (1..=40).map(|number| format!("V{number:02}")).collect();
    assert_eq!(numbers, all);
}
