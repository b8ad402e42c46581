//! What killed brokers have kept, as a table and as a file.
//!
//! Invariants: none.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::Serialize;

use crate::outcome::header::{Header, OutcomeKind};

/// The outcome of `compare --kill`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct KillOutcome {
    #[serde(flatten)]
    header: Header,
    /// By broker and QoS.
    rows: Vec<KillRow>,
}

#[derive(Clone, Debug, JsonSchema, Serialize)]
struct KillRow {
    /// The name of the broker in this comparison.
    broker: String,
    /// QoS of the messages: 1 or 2.
    qos: u8,
    kept: Kept,
}

/// What a killed broker has kept, over all its rounds with one QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(super) struct Kept {
    pub(super) rounds: u64,
    /// Messages that it had acknowledged.
    pub(super) acknowledged: u64,
    /// Of these, the ones that are lost.
    pub(super) gone: u64,
    /// Messages that arrived more than once after the restart.
    pub(super) repeated: u64,
    /// Messages that arrived after a later one.
    pub(super) disordered: u64,
    /// Rounds after which the broker did not restart, or did not answer.
    pub(super) failed: u64,
}

impl AddAssign for Kept {
    fn add_assign(&mut self, other: Kept) {
        self.rounds += other.rounds;
        self.acknowledged += other.acknowledged;
        self.gone += other.gone;
        self.repeated += other.repeated;
        self.disordered += other.disordered;
        self.failed += other.failed;
    }
}

impl KillOutcome {
    /// The outcome of the rounds, by broker and QoS.
    pub(super) fn new(kept: &BTreeMap<(String, u8), Kept>) -> KillOutcome {
        let rows = kept.iter().map(|((broker, qos), &kept)| KillRow {
            broker: broker.clone(),
            qos: *qos,
            kept,
        });
        KillOutcome {
            header: Header::new(OutcomeKind::Kill),
            rows: rows.collect(),
        }
    }
}

/// The table for the terminal.
pub(super) fn table(kept: &BTreeMap<(String, u8), Kept>) -> String {
    let mut text = format!(
        "{:<14}{:>4}{:>8}{:>14}{:>8}{:>10}{:>14}{:>8}\n",
        "killed -9", "QoS", "rounds", "acknowledged", "gone", "repeated", "out of order", "failed"
    );
    for ((broker, qos), kept) in kept {
        text.push_str(&format!(
            "{broker:<14}{qos:>4}{:>8}{:>14}{:>8}{:>10}{:>14}{:>8}\n",
            kept.rounds, kept.acknowledged, kept.gone, kept.repeated, kept.disordered, kept.failed
        ));
    }
    text
}
