//! Options for what a run must reach; if it does not, the exit code is 1.
//!
//! Invariants: none.

use super::words::seconds_of;
use crate::scenario::Objectives;

/// What a run must reach besides the p99.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Objectives")]
pub(crate) struct ObjectiveArguments {
    /// Exit 1 if the p50 of the latency is above this
    #[arg(long, value_name = "MS")]
    slo_p50_ms: Option<f64>,
    /// Exit 1 if the p99.9 of the latency is above this
    #[arg(long, value_name = "MS")]
    slo_p999_ms: Option<f64>,
    /// Exit 1 if fewer deliveries arrive per second
    #[arg(long, value_name = "N")]
    min_rate: Option<f64>,
    /// Exit 1 if more is lost; at QoS 0 less is a figure and not a failure
    #[arg(long, value_name = "PERCENT", conflicts_with = "no_loss")]
    max_loss: Option<f64>,
    /// Exit 1 if a delivery takes more CPU time of the broker
    #[arg(long, value_name = "US")]
    max_cpu_us: Option<f64>,
    /// Exit 1 if the broker uses more memory
    #[arg(long, value_name = "MIB")]
    max_rss_mib: Option<f64>,
}

impl ObjectiveArguments {
    /// The objectives, or what is wrong with them.
    pub(super) fn objectives(&self) -> Result<Objectives, String> {
        let milliseconds = |limit_ms: Option<f64>| limit_ms.map(|ms| seconds_of(ms / 1e3)).transpose();
        let numbers = [
            ("--min-rate", self.min_rate),
            ("--max-loss", self.max_loss),
            ("--max-cpu-us", self.max_cpu_us),
            ("--max-rss-mib", self.max_rss_mib),
        ];
        let is_wrong =
            |(_, number): &&(&str, Option<f64>)| number.is_some_and(|number| number < 0.0 || number.is_nan());
        if let Some((option, _)) = numbers.iter().find(is_wrong) {
            return Err(format!("{option} must be 0 or more"));
        }
        Ok(Objectives {
            p50: milliseconds(self.slo_p50_ms)?,
            p99_9: milliseconds(self.slo_p999_ms)?,
            rate_per_s_min: self.min_rate,
            loss_percent_max: self.max_loss,
            broker_cpu_us_max: self.max_cpu_us,
            broker_rss_mib_max: self.max_rss_mib,
        })
    }

    /// Whether a loss at QoS 0 is not a failure in itself.
    pub(super) fn allow_loss(&self) -> bool {
        self.max_loss.is_some()
    }
}
