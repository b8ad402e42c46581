//! `loadgen diff`: two runs, or two folders of comparisons, side by side.
//!
//! Invariants: nothing is measured. Rounds of two folders are paired in their order; rows that only one of them has
//! are left out and named.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::gate::{self, Gate};
use crate::options::help::HelpArgument;
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;
use crate::summary::comparison::sum_up;
use crate::summary::record::Record;
use crate::summary::rounds::{self, Rounds};
use crate::summary::table;
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::print;

/// The request on the command line.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    first: PathBuf,
    second: PathBuf,
    gates: Vec<Gate>,
}

/// Compare two runs or two folders of results
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS,
    after_help = "Shows the figures of two runs, or of the rounds of two comparisons, with their ratio. A verdict \
                  needs six rounds of each."
)]
pub struct DiffArguments {
    /// A file with an outcome, or a folder of `run --out` or `compare`
    #[arg(value_name = "RUN")]
    first: PathBuf,
    /// Another file or folder, of the same kind
    #[arg(value_name = "RUN")]
    second: PathBuf,
    /// Exit 1 if the first is worse in this figure by more than this, for example `latency p99=10` (percent), or if
    /// that cannot be decided; may be repeated
    #[arg(long, value_name = "FIGURE=PERCENT")]
    gate: Vec<Gate>,
    #[command(flatten)]
    help: HelpArgument,
}

impl Options for DiffArguments {
    type Request = DiffRequest;

    const WORD: &'static str = "diff";

    fn request(self, _: Option<Origin>) -> Result<DiffRequest, String> {
        Ok(DiffRequest {
            first: self.first,
            second: self.second,
            gates: self.gate,
        })
    }
}

/// Shows the two; the exit code is 1 if a gate fails.
///
/// # Errors
/// The errors of reading.
pub fn run(request: &DiffRequest) -> Result<u8, Failure> {
    let read = |path: &Path| {
        let rounds = read(path);
        rounds.map_err(Failure::system(format!("cannot read {}", path.display())))
    };
    let (one, other) = (read(&request.first)?, read(&request.second)?);
    let labels = labels(&request.first, &request.second);
    let (both, alone) = side_by_side(one, other, &labels);
    let summary = sum_up(&both, &labels.0, &[]);
    let mut text = table::terminal(&summary);
    for name in alone {
        text.push_str(&format!("{name}: only one of the two has it\n"));
    }
    let failed = gate::check(&summary, &request.gates);
    for sentence in &failed {
        text.push_str(&format!("{sentence}\n"));
    }
    print(&text)?;
    Ok(if failed.is_empty() { EXIT_OK } else { EXIT_MISSED })
}

/// The rounds of a comparison's folder, or the one of a run.
fn read(path: &Path) -> io::Result<Rounds> {
    if path.join("raw").is_dir() {
        return rounds::read(path);
    }
    let file = if path.is_dir() {
        path.join("result.json")
    } else {
        path.to_owned()
    };
    let record = Record::parse(&std::fs::read_to_string(&file)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let name = record.as_run().and_then(|run| run.scenario.origin.as_ref());
    let name = name.map_or("run".to_owned(), |origin| origin.name.clone());
    let broker = BTreeMap::from([(String::new(), vec![record])]);
    Ok(Rounds::from([(name, broker)]))
}

/// The names of the two: those of their files or folders, where they differ.
fn labels(first: &Path, second: &Path) -> (String, String) {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match (name(first), name(second)) {
        (Some(one), Some(other)) if one != other => (one, other),
        _ => ("first".to_owned(), "second".to_owned()),
    }
}

/// The rounds of both, by scenario and broker, and the names that only one has.
fn side_by_side(one: Rounds, other: Rounds, labels: &(String, String)) -> (Rounds, Vec<String>) {
    let by_name = |rounds: Rounds| -> BTreeMap<String, Vec<Record>> {
        let of_scenario = |(scenario, brokers): (String, BTreeMap<String, Vec<Record>>)| {
            let named = move |(broker, records): (String, Vec<Record>)| {
                (format!("{scenario} {broker}").trim_end().to_owned(), records)
            };
            brokers.into_iter().map(named).collect::<Vec<_>>()
        };
        rounds.into_iter().flat_map(of_scenario).collect()
    };
    let mut others = by_name(other);
    let (mut both, mut alone) = (Rounds::new(), Vec::new());
    for (name, records) in by_name(one) {
        match others.remove(&name) {
            Some(theirs) => {
                let pair = [(labels.0.clone(), records), (labels.1.clone(), theirs)];
                both.insert(name, pair.into());
            }
            None => alone.push(name),
        }
    }
    alone.extend(others.into_keys());
    (both, alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::comparison::tests::scheduled;

    #[test]
    fn two_runs_and_two_folders_stand_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, cpu_ns: f64| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let record = scheduled(cpu_ns, 5_000, true);
            std::fs::write(&path, serde_json::to_string(&record).unwrap()).unwrap();
            path
        };
        for round in 1..=9 {
            write(&format!("old/raw/pairs/midge/{round}.json"), 1_000.0);
            write(&format!("new/raw/pairs/midge/{round}.json"), 1_500.0);
        }
        write("new/raw/pairs/nats/1.json", 1_000.0);
        let diff = |first: &str, second: &str, gate: &str| {
            let request = DiffRequest {
                first: folder.path().join(first),
                second: folder.path().join(second),
                gates: vec![gate.parse().unwrap()],
            };
            run(&request).unwrap()
        };
        let gate = "broker CPU per message=10";
        assert_eq!(diff("old", "new", gate), EXIT_OK);
        assert_eq!(diff("new", "old", gate), EXIT_MISSED);
        write("a.json", 1_000.0);
        write("b.json", 1_000.0);
        assert_eq!(
            diff("a.json", "b.json", gate),
            EXIT_MISSED,
            "one round decides nothing"
        );
        let (both, alone) = side_by_side(
            read(&folder.path().join("old")).unwrap(),
            read(&folder.path().join("new")).unwrap(),
            &("old".to_owned(), "new".to_owned()),
        );
        assert_eq!(both.keys().collect::<Vec<_>>(), ["pairs midge"]);
        assert_eq!(alone, ["pairs nats"]);
        assert!(read(&folder.path().join("nothing")).is_err());
    }
}
