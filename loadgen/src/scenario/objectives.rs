//! What a run must reach in addition to the p99 of its latency.
//!
//! Invariants: none.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::json;

/// What a run must reach in addition to the p99 of its latency; empty if there is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Objectives {
    /// Limit of the p50 of the latency.
    #[serde(rename = "p50_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub p50: Option<Duration>,
    /// Limit of the p99.9 of the latency.
    #[serde(rename = "p99_9_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub p99_9: Option<Duration>,
    /// Smallest number of deliveries per second.
    pub rate_per_s_min: Option<f64>,
    /// Largest percentage of deliveries that may be lost.
    pub loss_percent_max: Option<f64>,
    /// Largest CPU time of the broker for each delivery, µs.
    pub broker_cpu_us_max: Option<f64>,
    /// Largest memory of the broker, MiB.
    pub broker_rss_mib_max: Option<f64>,
}
