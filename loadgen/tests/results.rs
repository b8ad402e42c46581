//! Every file under `results/` is read as the type that writes it, and has the same values when it is written
//! again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::fs;
use std::path::{Path, PathBuf};

use loadgen::selftest::SelftestOutcome;
use loadgen::summary::comparison::ComparisonSummary;
use loadgen::summary::record::Record;
use loadgen::summary::rounds::BrokerVersion;
use loadgen::system::machine::Machine;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|end| end == "json") {
            files.push(path);
        }
    }
}

fn rewritten<T: DeserializeOwned + Serialize>(text: &str) -> Result<Value, String> {
    let value: T = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(value).unwrap())
}

fn read_and_written(path: &Path, text: &str) -> Result<Value, String> {
    match path.file_name().unwrap().to_str().unwrap() {
        "machine.json" => rewritten::<Machine>(text),
        "selftest.json" => rewritten::<SelftestOutcome>(text),
        "summary.json" => rewritten::<ComparisonSummary>(text),
        "versions.json" => rewritten::<Vec<BrokerVersion>>(text),
        _ => Record::parse(text).map(|record| serde_json::to_value(record).unwrap()),
    }
}

/// Fields of earlier versions, with their present names.
const RENAMED: [(&str, &str); 3] = [("pace", "load"), ("paced", "scheduled"), ("pacer", "schedule")];

/// Everything in `before` is in `after`, which may also have the fields of a later version.
fn assert_kept(before: &Value, after: &Value, place: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let renamed = RENAMED
                    .iter()
                    .find(|(name, _)| name == key && !after.contains_key(key));
                let key = renamed.map_or(key.as_str(), |(_, name)| name);
                let kept = after.get(key).unwrap_or_else(|| panic!("{place}/{key} is gone"));
                assert_kept(value, kept, &format!("{place}/{key}"));
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len(), "{place}");
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                assert_kept(before, after, &format!("{place}/{index}"));
            }
        }
        (before, after) => assert_eq!(before, after, "{place}"),
    }
}

#[test]
fn every_file_is_read_as_the_type_that_writes_it() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let mut files = Vec::new();
    files_below(&results, &mut files);
    assert!(!files.is_empty());
    for file in files {
        let place = file.display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let after = read_and_written(&file, &text).unwrap_or_else(|error| panic!("{place}: {error}"));
        let before = serde_json::from_str(&text).unwrap();
        assert_kept(&before, &after, &place);
    }
}
