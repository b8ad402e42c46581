//! The outcome of the connections that were made beside a load.
//!
//! Invariants: none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::latency::Summary;

/// What the connections beside a load did.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct BackgroundReport {
    /// Connections that the broker accepted.
    pub made: u64,
    /// Connections that the broker refused or that broke on the way.
    pub failed: u64,
    /// Intended start to CONNACK, in the measured part.
    pub whole: Option<Summary>,
    /// Why some failed; the first few.
    pub causes: Vec<String>,
}
