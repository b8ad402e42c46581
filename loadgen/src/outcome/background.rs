//! The outcome of the connections that were made beside a load.
//!
//! Invariants: none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::latency::Summary;

/// The connections made beside the load.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct BackgroundReport {
    /// Connections that the broker accepted.
    pub made: u64,
    /// Connections that the broker refused or that broke before CONNACK.
    pub failed: u64,
    /// Time from the intended start to CONNACK, in the measured part.
    pub whole: Option<Summary>,
    /// Why some failed; the first few.
    pub causes: Vec<String>,
}
