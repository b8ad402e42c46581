//! Whether the objectives were reached: the schedule, latencies, rate, loss, the broker's CPU time and memory.
//!
//! Invariant: an objective without a measurement is missed.

use super::finding::Findings;
use super::{Evidence, LimitedBy, percent};
use crate::measure::timeline::nanoseconds;

/// The results for objectives that are not latencies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Deliveries that arrived per second.
    pub delivered_per_s: f64,
    /// CPU time of the broker for each delivery, ns.
    pub broker_cpu_ns: Option<f64>,
    /// The highest resident memory of the broker, bytes.
    pub broker_rss_bytes: Option<u64>,
}

impl Evidence {
    /// Whether an objective was missed.
    pub(super) fn check_objective(&self, limited_by: LimitedBy, findings: &mut Findings) -> bool {
        let before = findings.faults();
        if self.unsent > 0 && limited_by != LimitedBy::Generator && !self.interrupted {
            let text = format!(
                "{} messages of the schedule never left: the offered rate was not reached",
                self.unsent
            );
            findings.add(true, text);
        }
        self.check_latencies(findings);
        let objectives = &self.objectives;
        let ceilings = [
            (
                "the share of lost deliveries",
                "%",
                objectives.loss_percent_max,
                Some(percent(self.ledger.lost, self.ledger.expected)),
            ),
            (
                "the broker's CPU time for each delivery",
                "µs",
                objectives.broker_cpu_us_max,
                self.reached.broker_cpu_ns.map(|ns| ns / 1e3),
            ),
            (
                "the broker's highest memory",
                "MiB",
                objectives.broker_rss_mib_max,
                self.reached
                    .broker_rss_bytes
                    .map(|bytes| bytes as f64 / BYTES_PER_MIB),
            ),
        ];
        for (what, unit, limit, reached) in ceilings {
            findings.0.extend(exceeds(what, unit, limit, reached));
        }
        let rate = self.reached.delivered_per_s;
        if let Some(least) = objectives.rate_per_s_min.filter(|least| rate < *least) {
            let text = format!("{rate:.0} deliveries per second, below the objective of {least:.0}");
            findings.add(true, text);
        }
        findings.faults() > before
    }

    fn check_latencies(&self, findings: &mut Findings) {
        let latency = self.own.latency;
        let objectives = [
            ("p50", self.objectives.p50, latency.map(|latency| latency.p50_ns)),
            ("p99", self.slo_p99, latency.map(|latency| latency.p99_ns)),
            (
                "p99.9",
                self.objectives.p99_9,
                latency.map(|latency| latency.p99_9_ns),
            ),
        ];
        for (name, objective, reached_ns) in objectives {
            match (objective, reached_ns) {
                (Some(slo), Some(reached_ns)) if reached_ns > nanoseconds(slo) => findings.add(
                    true,
                    format!(
                        "{name} of the latency is {:.3} ms, above the objective of {:.3} ms",
                        reached_ns as f64 / 1e6,
                        slo.as_secs_f64() * 1e3
                    ),
                ),
                (Some(_), None) => findings.add(
                    true,
                    "nothing was measured, so the objective was not reached".to_owned(),
                ),
                _ => {}
            }
        }
    }
}

fn exceeds(what: &str, unit: &str, limit: Option<f64>, reached: Option<f64>) -> Option<super::Finding> {
    let limit = limit?;
    let text = match reached {
        Some(reached) if reached <= limit => return None,
        Some(reached) => format!("{what} is {reached:.3} {unit}, above the objective of {limit} {unit}"),
        None => format!("{what} was not measured, so the objective was not reached (give --broker-pid)"),
    };
    Some(super::Finding {
        gravity: super::Gravity::Fault,
        text,
    })
}

const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;
