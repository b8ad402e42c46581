//! The beginning of every file with an outcome: the schema, the kind of outcome, and the program that wrote it.
//!
//! Invariants: [`SCHEMA`] changes whenever a field of any outcome changes its meaning or is removed. A field that is
//! added has a default, so older files can be read. `tests/results.rs` reads every file under `results/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the outcomes' format in files. Since 2, deliveries that never arrived count in the latency of a run;
/// since 3, a load at a rate is `scheduled`, the requested connections are `load`, and a selftest's schedule is
/// `schedule`.
pub const SCHEMA: u32 = 3;

/// The first fields of every outcome.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`] of the generator that wrote it.
    pub schema: u32,
    /// The kind of measurement; absent in runs of the first versions.
    #[serde(default)]
    pub kind: OutcomeKind,
    /// Version of the generator that wrote it.
    pub loadgen_version: String,
}

/// The kinds of measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeKind {
    /// A load of messages.
    #[default]
    Run,
    /// Connections made and closed again.
    Connections,
    /// Retained messages stored and delivered.
    Retained,
    /// The highest rate within an objective.
    Search,
    /// Runs at one rate after the other.
    Sweep,
    /// The generator against its own sink.
    Selftest,
    /// The rounds of a comparison, summarized.
    Comparison,
    /// What killed brokers have kept.
    Kill,
    /// The verdicts on faults that were injected.
    Prove,
}

impl Header {
    /// The header of an outcome that this program writes.
    pub fn new(kind: OutcomeKind) -> Header {
        Header {
            schema: SCHEMA,
            kind,
            loadgen_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
