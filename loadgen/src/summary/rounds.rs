//! The rounds of a comparison in the files of its folder: `raw/SCENARIO/BROKER/ROUND.json`.
//!
//! Invariants: rounds are in the order of their numbers, so the same position is the same round for every broker.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::summary::record::Record;

/// All rounds: by scenario and broker.
pub type Rounds = BTreeMap<String, BTreeMap<String, Vec<Record>>>;

/// A broker in the list of versions.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct BrokerVersion {
    /// The name of the broker in this comparison.
    pub broker: String,
    /// The version that it reports.
    pub version: String,
    /// SHA-256 of the broker's program.
    pub sha256: Option<String>,
    /// The commit from which the program was built, if it is known, and how it was built.
    #[serde(default)]
    pub build: Option<String>,
}

/// Reads the rounds of a folder.
///
/// # Errors
/// The errors of reading, and a file that contains no outcome.
pub fn read(folder: &Path) -> io::Result<Rounds> {
    let mut rounds = Rounds::new();
    for scenario in sorted(&folder.join("raw"))? {
        for broker in sorted(&scenario)? {
            let records = rounds
                .entry(name(&scenario))
                .or_default()
                .entry(name(&broker))
                .or_default();
            for file in in_order(&broker)? {
                let record = Record::parse(&fs::read_to_string(&file)?);
                records.push(record.map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
                })?);
            }
        }
    }
    Ok(rounds)
}

/// The files of a broker's rounds ordered by number: 2 precedes 10.
fn in_order(broker: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = sorted(broker)?;
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    let number = |file: &PathBuf| file.file_stem()?.to_str()?.parse::<u32>().ok();
    files.sort_by_key(|file| number(file).unwrap_or(u32::MAX));
    Ok(files)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw/pairs/midge");
        fs::create_dir_all(&raw).unwrap();
        for round in [1, 2, 10] {
            let text = format!("{{\"error\": \"round {round}\"}}");
            fs::write(raw.join(format!("{round}.json")), text).unwrap();
        }
        fs::write(raw.join("1.hgrm"), "no JSON").unwrap();
        let rounds = read(folder.path()).unwrap();
        let errors = rounds["pairs"]["midge"].iter().map(|record| match record {
            Record::Failed(failure) => failure.error.as_str(),
            _ => "no failure",
        });
        assert_eq!(errors.collect::<Vec<_>>(), ["round 1", "round 2", "round 10"]);
        fs::write(raw.join("3.json"), "no JSON").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("3.json"));
    }
}
