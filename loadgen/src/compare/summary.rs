//! What the rounds of a comparison say together: for each scenario and figure the medians, their intervals, and Midge
//! against each other broker.
//!
//! Invariants: everything comes from the files under `raw/`, so a summary can be made again from a folder alone;
//! latencies of a run that the generator limited do not count, its costs do. Nobody is worse by a figure of "as fast as
//! possible" that was the generator's limit and not the broker's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::plan::MIDGE;
use super::statistics::{Comparison, Estimate, Sign, compare, estimate};

/// The whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// One for each scenario.
    pub rows: Vec<RowSummary>,
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub struct RowSummary {
    /// Its name.
    pub scenario: String,
    /// Its figures.
    pub figures: Vec<FigureSummary>,
    /// What the runs said of themselves, with the number of runs that said it.
    pub findings: BTreeMap<String, BTreeMap<String, usize>>,
    /// Messages lost, duplicate and out of order, by broker.
    pub wrong: BTreeMap<String, u64>,
}

/// One figure of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct FigureSummary {
    /// Its name.
    pub figure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether lower is better; `None` where neither is.
    pub lower_is_better: Option<bool>,
    /// The rounds of each broker.
    pub rounds: BTreeMap<String, Vec<f64>>,
    /// The median of each broker.
    pub values: BTreeMap<String, Estimate>,
    /// Midge against each other broker.
    pub comparisons: BTreeMap<String, Comparison>,
    /// Of "as fast as possible": those with whom the generator had no CPU time left, so that they may be better than this.
    pub at_generator_limit: BTreeSet<String>,
}

impl FigureSummary {
    /// In a word: for whom it speaks.
    pub fn verdict(&self, contender: &str) -> &'static str {
        let Some(comparison) = self.comparisons.get(contender) else {
            return "";
        };
        let limited = |who: &str| self.at_generator_limit.contains(who);
        match (comparison.sign, self.lower_is_better) {
            (_, None) => "",
            (Sign::Lower, Some(true)) | (Sign::Higher, Some(false)) if limited(contender) => {
                GENERATOR_LIMITED
            }
            (Sign::Lower, Some(false)) | (Sign::Higher, Some(true)) if limited(MIDGE) => GENERATOR_LIMITED,
            (Sign::Lower, Some(true)) | (Sign::Higher, Some(false)) => "better",
            (Sign::Lower, Some(false)) | (Sign::Higher, Some(true)) => "worse",
            (Sign::None, _) => "no difference",
            (Sign::Unknown, _) => "too few rounds",
        }
    }
}

/// A figure: where it stands in an outcome.
struct Figure {
    name: &'static str,
    unit: &'static str,
    lower_is_better: Option<bool>,
    /// The kind of outcome that has it; `None`: a load.
    kind: Option<&'static str>,
    /// It says how fast something went, so that a generator without CPU time left is what it may show.
    is_speed: bool,
    of: fn(&Value) -> Option<f64>,
}

/// The raw outcomes: by scenario and broker, in the order of the rounds.
pub type Rounds = BTreeMap<String, BTreeMap<String, Vec<Value>>>;

/// Reads the raw outcomes of a folder.
///
/// # Errors
/// What reading gives, and a file that is no JSON.
pub fn read(folder: &Path) -> io::Result<Rounds> {
    let mut rounds = Rounds::new();
    for row in sorted(&folder.join("raw"))? {
        for contender in sorted(&row)? {
            let files = sorted(&contender)?;
            let outcomes = rounds
                .entry(name(&row))
                .or_default()
                .entry(name(&contender))
                .or_default();
            for file in files
                .iter()
                .filter(|file| file.extension().is_some_and(|end| end == "json"))
            {
                let text = fs::read_to_string(file)?;
                let value = serde_json::from_str(&text);
                outcomes.push(value.map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
                })?);
            }
        }
    }
    Ok(rounds)
}

/// Sums the raw outcomes up, the scenarios in this order where they are named.
pub fn sum_up(rounds: &Rounds, order: &[String]) -> Summary {
    let place = |scenario: &String| {
        order
            .iter()
            .position(|name| name == scenario)
            .unwrap_or(usize::MAX)
    };
    let mut names: Vec<&String> = rounds.keys().collect();
    names.sort_by_key(|scenario| place(scenario));
    let rows = names.into_iter().filter_map(|scenario| {
        let contenders = rounds.get(scenario)?;
        Some(RowSummary {
            scenario: scenario.clone(),
            figures: FIGURES
                .iter()
                .filter_map(|figure| figure.sum_up(contenders))
                .collect(),
            findings: contenders
                .iter()
                .map(|(contender, outcomes)| (contender.clone(), findings(outcomes)))
                .collect(),
            wrong: contenders
                .iter()
                .map(|(contender, outcomes)| (contender.clone(), outcomes.iter().map(wrong).sum()))
                .collect(),
        })
    });
    Summary { rows: rows.collect() }
}

impl Figure {
    fn sum_up(&self, contenders: &BTreeMap<String, Vec<Value>>) -> Option<FigureSummary> {
        let of = |outcome: &Value| {
            let kind = outcome.get("kind").and_then(Value::as_str);
            (kind == self.kind).then(|| (self.of)(outcome)).flatten()
        };
        let rounds: BTreeMap<String, Vec<f64>> = contenders
            .iter()
            .map(|(contender, outcomes)| (contender.clone(), outcomes.iter().filter_map(of).collect()))
            .filter(|(_, values): &(String, Vec<f64>)| !values.is_empty())
            .collect();
        if rounds.is_empty() {
            return None;
        }
        let values = rounds
            .iter()
            .filter_map(|(contender, values)| Some((contender.clone(), estimate(values)?)));
        let ours = rounds.get(MIDGE);
        let comparisons = rounds
            .iter()
            .filter(|(contender, _)| *contender != MIDGE)
            .filter_map(|(contender, theirs)| Some((contender.clone(), compare(ours?, theirs)?)));
        Some(FigureSummary {
            figure: self.name,
            unit: self.unit,
            lower_is_better: self.lower_is_better,
            values: values.collect(),
            comparisons: comparisons.collect(),
            at_generator_limit: contenders
                .iter()
                .filter(|(_, outcomes)| self.is_speed && outcomes.iter().any(generator_was_limit))
                .map(|(contender, _)| contender.clone())
                .collect(),
            rounds,
        })
    }
}

/// Whether a thread of the generator had hardly any CPU time left, and the broker had.
fn generator_was_limit(outcome: &Value) -> bool {
    let is_full = |used: &Value| {
        let times = number(used, "/cpu_ns").zip(number(used, "/wall_ns"));
        times.is_some_and(|(cpu_ns, wall_ns)| cpu_ns > FULL * wall_ns)
    };
    let generator = outcome.get("generator");
    let threads = generator.map(|generator| generator.get("threads").unwrap_or(generator));
    let mut threads = threads.and_then(Value::as_array).into_iter().flatten();
    threads.any(is_full) && !outcome.pointer("/broker/usage").is_some_and(is_full)
}

/// Share of a core above which who has it may be what limits a run.
const FULL: f64 = 0.95;

const GENERATOR_LIMITED: &str = "generator-limited";

const fn figure(name: &'static str, unit: &'static str, of: fn(&Value) -> Option<f64>) -> Figure {
    Figure {
        name,
        unit,
        lower_is_better: Some(true),
        kind: None,
        is_speed: false,
        of,
    }
}

/// The name of the headline.
pub const CPU_PER_MESSAGE: &str = "broker CPU per message";
/// The name of the memory of a connection.
pub const RSS_PER_CONNECTION: &str = "RSS per connection";

const FIGURES: &[Figure] = &[
    figure(CPU_PER_MESSAGE, "µs", |outcome| {
        Some(number(outcome, "/broker/usage/cpu_ns_per_delivery")? / 1e3)
    }),
    Figure {
        lower_is_better: Some(false),
        is_speed: true,
        ..figure("delivered", "per s", |outcome| {
            number(outcome, "/rates/delivered_per_s").filter(|_| closed_loop(outcome) || flood(outcome))
        })
    },
    Figure {
        lower_is_better: None,
        ..figure("offered", "per s", |outcome| {
            number(outcome, "/rates/sent_per_s").filter(|_| flood(outcome))
        })
    },
    figure("RSS at most", "MiB", |outcome| {
        let bytes = number(outcome, "/broker/usage/rss_bytes_peak");
        Some(bytes.filter(|_| flood(outcome) || has_slow(outcome))? / (1024.0 * 1024.0))
    }),
    figure("p99 of the others by that while all read", "times", |outcome| {
        number(outcome, "/slow/p99_ratio")
    }),
    figure(
        "lost to the slow, or not come while it was waited for",
        "%",
        |outcome| {
            let expected = number(outcome, "/slow/ledger/expected").filter(|&expected| expected > 0.0)?;
            Some(100.0 * number(outcome, "/slow/ledger/lost")? / expected)
        },
    ),
    figure("last delivery after the end", "ms", |outcome| {
        Some(number(outcome, "/drain/wall_ns").filter(|_| flood(outcome))? / 1e6)
    }),
    figure("lost, or not come while it was waited for", "%", |outcome| {
        let expected =
            number(outcome, "/ledger/expected").filter(|&expected| flood(outcome) && expected > 0.0)?;
        Some(100.0 * number(outcome, "/ledger/lost")? / expected)
    }),
    figure("latency p50", "µs", |outcome| {
        paced_latency(outcome, "/latency/p50_ns")
    }),
    figure("latency p99", "µs", |outcome| {
        paced_latency(outcome, "/latency/p99_ns")
    }),
    figure(RSS_PER_CONNECTION, "KiB", |outcome| {
        let connections = many(outcome)?;
        let grown = number(outcome, "/broker/usage/rss_bytes_connected")?
            - number(outcome, "/broker/usage/rss_bytes_before")?;
        Some(grown / connections / 1024.0)
    }),
    figure("broker CPU per connection", "µs", |outcome| {
        Some(number(outcome, "/broker/usage/connect_cpu_ns")? / many(outcome)? / 1e3)
    }),
    Figure {
        kind: Some("sweep"),
        lower_is_better: Some(false),
        ..figure("highest rate within the objective", "per s", |outcome| {
            number(outcome, "/highest_per_s")
        })
    },
    Figure {
        kind: Some("connections"),
        ..figure("broker CPU per connection", "µs", |outcome| {
            Some(number(outcome, "/broker/usage/cpu_ns_per_connection")? / 1e3)
        })
    },
    Figure {
        kind: Some("connections"),
        lower_is_better: Some(false),
        is_speed: true,
        ..figure("connections made", "per s", |outcome| {
            number(outcome, "/rates/made_per_s")
        })
    },
    Figure {
        kind: Some("connections"),
        is_speed: true,
        ..figure("start to CONNACK p50", "µs", |outcome| {
            Some(number(outcome, "/whole/p50_ns")? / 1e3)
        })
    },
    Figure {
        kind: Some("retained"),
        ..figure("broker CPU per insert", "µs", |outcome| {
            Some(number(outcome, "/broker/cpu_ns_per_insert")? / 1e3)
        })
    },
    Figure {
        kind: Some("retained"),
        ..figure("RSS per retained message", "B", |outcome| {
            number(outcome, "/broker/rss_bytes_per_message")
        })
    },
    Figure {
        kind: Some("retained"),
        ..figure("broker CPU per message to a subscriber of all", "µs", |outcome| {
            Some(number(outcome, "/broker/cpu_ns_per_message")? / 1e3)
        })
    },
];

/// Connections, where there are enough of them to divide by.
fn many(outcome: &Value) -> Option<f64> {
    number(outcome, "/connect/connections").filter(|&connections| connections >= CONNECTIONS_MIN)
}

const CONNECTIONS_MIN: f64 = 1_000.0;

fn closed_loop(outcome: &Value) -> bool {
    outcome.pointer("/scenario/load/saturating").is_some()
}

fn has_slow(outcome: &Value) -> bool {
    outcome.pointer("/slow/subscribers").is_some()
}

fn flood(outcome: &Value) -> bool {
    outcome.pointer("/scenario/load").and_then(Value::as_str) == Some("flood")
}

fn paced_latency(outcome: &Value, pointer: &str) -> Option<f64> {
    let paced = outcome.pointer("/scenario/load/paced").is_some();
    let valid = outcome.pointer("/verdict/valid").and_then(Value::as_bool) == Some(true);
    Some(number(outcome, pointer).filter(|_| paced && valid)? / 1e3)
}

/// A number in an outcome.
pub fn number(outcome: &Value, pointer: &str) -> Option<f64> {
    outcome.pointer(pointer)?.as_f64()
}

fn wrong(outcome: &Value) -> u64 {
    let count = |name: &str| {
        outcome
            .pointer(&format!("/ledger/{name}"))
            .and_then(Value::as_u64)
    };
    ["lost", "duplicate", "reordered"]
        .into_iter()
        .filter_map(count)
        .sum()
}

/// The sentences of the verdicts without their numbers, and how often each stands there.
fn findings(outcomes: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        let error = outcome.get("error").and_then(Value::as_str).map(str::to_owned);
        let findings = outcome.pointer("/verdict/findings").and_then(Value::as_array);
        let texts = findings.into_iter().flatten().filter_map(|finding| {
            let text = finding.get("text")?.as_str()?;
            let gravity = finding.get("gravity")?.as_str()?;
            (gravity != "note").then(|| without_numbers(text))
        });
        for text in texts.chain(error) {
            *counts.entry(text).or_insert(0) += 1;
        }
    }
    counts
}

fn without_numbers(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '0'..='9' if result.ends_with('#') => {}
            '0'..='9' => result.push('#'),
            '.' | ',' if result.ends_with('#') => {}
            other => result.push(other),
        }
    }
    result
}

fn sorted(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
pub(crate) mod tests;
