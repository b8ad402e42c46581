//! One round of a comparison as its file contains it: the outcome of any kind, or the reason why there is none.
//!
//! Invariants: a file is read as the type that wrote it; a file of a newer format is refused instead of misread.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connect::outcome::ConnectOutcome;
use crate::measure::thread_use::ThreadUse;
use crate::outcome::Outcome;
use crate::outcome::header::{OutcomeKind, SCHEMA};
use crate::outcome::validity::Verdict;
use crate::retained::RetainedOutcome;
use crate::search::SearchOutcome;
use crate::sweep::SweepOutcome;

/// The content of a file with an outcome.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A load of messages.
    Run(Box<Outcome>),
    /// Connections opened and closed again.
    Connections(Box<ConnectOutcome>),
    /// Retained messages stored and delivered.
    Retained(Box<RetainedOutcome>),
    /// The highest rate within an objective.
    Search(Box<SearchOutcome>),
    /// Increasing rates, one after the other.
    Sweep(Box<SweepOutcome>),
    /// The run failed before it had an outcome.
    Failed(RunFailure),
}

/// Why a run has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct RunFailure {
    /// The sentence that the run ended with.
    pub error: String,
}

/// The fields that say how the rest of a file is to be read.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    schema: u32,
    #[serde(default)]
    kind: OutcomeKind,
    error: Option<String>,
}

impl Record {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Record, String> {
        let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(error) = head.error {
            return Ok(Record::Failed(RunFailure { error }));
        }
        if head.schema > SCHEMA {
            return Err(format!(
                "it has format {} and this loadgen reads formats up to {SCHEMA}: use the \
                 loadgen that wrote it, or a newer one",
                head.schema
            ));
        }
        let record = match head.kind {
            OutcomeKind::Run => serde_json::from_str(text).map(Record::Run),
            OutcomeKind::Connections => serde_json::from_str(text).map(Record::Connections),
            OutcomeKind::Retained => serde_json::from_str(text).map(Record::Retained),
            OutcomeKind::Search => serde_json::from_str(text).map(Record::Search),
            OutcomeKind::Sweep => serde_json::from_str(text).map(Record::Sweep),
            kind @ (OutcomeKind::Selftest
            | OutcomeKind::Comparison
            | OutcomeKind::Kill
            | OutcomeKind::Prove) => {
                return Err(format!("it is of the kind {kind:?}, which is not a round"));
            }
        };
        record.map_err(|error| error.to_string())
    }

    /// The outcome of a load of messages, if it is one.
    pub fn as_run(&self) -> Option<&Outcome> {
        match self {
            Record::Run(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The outcome of a sweep, if it is one.
    pub fn as_sweep(&self) -> Option<&SweepOutcome> {
        match self {
            Record::Sweep(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The verdict of an outcome; a search has none, and neither has a run that failed.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Record::Run(outcome) => Some(&outcome.verdict),
            Record::Connections(outcome) => Some(&outcome.verdict),
            Record::Retained(outcome) => Some(&outcome.verdict),
            Record::Sweep(outcome) => Some(&outcome.verdict),
            Record::Search(_) | Record::Failed(_) => None,
        }
    }

    /// What each thread of the generator used in the measured part, if it was measured.
    pub fn generator_threads(&self) -> &[ThreadUse] {
        match self {
            Record::Run(outcome) => &outcome.generator.threads,
            Record::Connections(outcome) => &outcome.generator,
            Record::Retained(_) | Record::Search(_) | Record::Sweep(_) | Record::Failed(_) => &[],
        }
    }

    /// CPU and wall time of the broker in the measured part, if it was measured.
    pub fn broker_use(&self) -> Option<ThreadUse> {
        match self {
            Record::Run(outcome) => outcome.broker.usage.map(|usage| ThreadUse {
                cpu_ns: usage.cpu_ns,
                wall_ns: usage.wall_ns,
                ..ThreadUse::default()
            }),
            Record::Connections(outcome) => outcome.broker.usage.map(|usage| ThreadUse {
                cpu_ns: usage.cpu_ns,
                wall_ns: usage.wall_ns,
                ..ThreadUse::default()
            }),
            Record::Retained(_) | Record::Search(_) | Record::Sweep(_) | Record::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_form_is_refused_and_a_failure_kept() {
        let newer = format!("{{\"schema\": {}, \"kind\": \"sweep\"}}", SCHEMA + 1);
        assert!(Record::parse(&newer).unwrap_err().contains("newer"));
        let failed = Record::parse("{\"error\": \"it does not start\"}").unwrap();
        assert_eq!(
            serde_json::to_string(&failed).unwrap(),
            "{\"error\":\"it does not start\"}"
        );
        assert!(failed.verdict().is_none() && failed.generator_threads().is_empty());
        for broken in [
            "",
            "[]",
            "{}",
            "{\"kind\": \"selftest\"}",
            "{\"kind\": \"other\"}",
        ] {
            assert!(Record::parse(broken).is_err(), "{broken}");
        }
    }
}
