//! What a run must reach besides the p99 of its latency.
//!
//! Invariants: none.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::json;

/// What a run must reach besides the p99 of its latency; nothing where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Objectives {
    /// p50 of the latency.
    #[serde(rename = "p50_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub p50: Option<Duration>,
    /// p99.9 of the latency.
    #[serde(rename = "p99_9_s", default, with = "json::optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub p99_9: Option<Duration>,
    /// Deliveries per second, at least.
    pub rate_per_s_min: Option<f64>,
    /// Percent of the deliveries that may be lost.
    pub loss_percent_max: Option<f64>,
    /// CPU time of the broker for each delivery, µs, at most.
    pub broker_cpu_us_max: Option<f64>,
    /// The highest memory of the broker, MiB.
    pub broker_rss_mib_max: Option<f64>,
}
