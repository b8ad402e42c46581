//! The verdict of a run on the broker and on itself.
//!
//! `finding.rs` is one finding, `deliveries.rs` has those of the ledgers, `generator.rs` whether the generator kept
//! up, `objectives.rs` the objectives.
//!
//! Invariants: a result that the generator limited is never shown as the broker's, whatever the load is; messages that
//! were lost, duplicated or out of order are reported whatever the latency is. The generator's own lag and waiting for
//! the broker differ in whether the socket or the in-flight window was full; if every message waited, only the
//! threads' own figures show whether it was for the broker.

mod deliveries;
mod finding;
mod generator;
mod objectives;

use std::time::Duration;

use mqtt::packet::QoS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::differences::Differences;
use crate::measure::ledger::Totals;
use crate::measure::numbers::duration;
use crate::measure::thread_use::ThreadUse;
use crate::outcome::steadiness::Steadiness;
use crate::scenario::Objectives;
use crate::system::error::{EXIT_GENERATOR, EXIT_MISSED, EXIT_OK, EXIT_SATURATED};
pub(crate) use finding::Findings;
pub use finding::{Finding, Gravity};
pub use generator::{OwnEvidence, OwnShare, Throttling, own_shares};
pub use objectives::Reached;

/// p99 of the generator's own lag above which a run is invalid if there is no latency to compare it with.
pub const OWN_LAG_NS_LIMIT: u64 = 10_000_000;
/// CPU of a generator thread above which its latencies are suspect, in percent.
pub const THREAD_CPU_PERCENT_MAX: f64 = 80.0;
/// CPU time that the hypervisor took above which all figures are suspect, in percent.
pub const STEAL_PERCENT_MAX: f64 = 2.0;
/// Growth of the backlog, in percent of the deliveries, from which the offered rate counts as not sustained.
pub const BACKLOG_PERCENT_SATURATED: f64 = 5.0;
/// Shortest time of the last outstanding delivery if the offered rate was not sustained, ns.
pub const DRAIN_NS_SATURATED: u64 = 500_000_000;
/// Share of messages that waited for the broker from which the run counts as saturated, in percent.
pub const WAITED_PERCENT_SATURATED: f64 = 1.0;

/// The data for the verdict.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Messages have intended send times (open loop).
    pub has_schedule: bool,
    /// The load has no messages.
    pub idle: bool,
    /// More is sent than can be received: losses at QoS 0 are a figure.
    pub flood: bool,
    /// The waiting time for deliveries, if it was over before it was clear that nothing more would arrive.
    pub drain_cut_off: Option<Duration>,
    /// Whether deliveries were still arriving then.
    pub still_coming: bool,
    /// From the end of the load to the last delivery, ns.
    pub drain_ns: u64,
    /// A loss is a failure, whatever the QoS and the load.
    pub no_loss: bool,
    /// A loss at QoS 0 is no failure.
    pub allow_loss: bool,
    /// Number of subscribers of the load.
    pub subscribers: u32,
    /// Whether broken connections are re-established.
    pub reconnects: bool,
    /// Publishers that could not use the requested Topic Alias.
    pub without_alias: u64,
    /// Whether subscribers receive from publishers that are on other hosts.
    pub crosses_hosts: bool,
    /// Connections that were re-established.
    pub reconnected: u64,
    /// Connections beside the load that failed.
    pub churn_failed: u64,
    /// QoS of the load.
    pub qos: Option<QoS>,
    /// Numbers of deliveries to all subscribers.
    pub ledger: Totals,
    /// Missing deliveries that were overtaken by later ones of the same publisher.
    pub overtaken: u64,
    /// Messages sent in the measured part.
    pub sent: u64,
    /// Of these, the ones that waited for the broker.
    pub waited_for_broker: u64,
    /// Of these, the ones that waited until their connection was re-established.
    pub waited_for_connection: u64,
    /// Messages that differ from what was sent.
    pub differences: Differences,
    /// Messages of the schedule that were never sent.
    pub unsent: u64,
    /// The generator's figures about itself.
    pub own: OwnEvidence,
    /// Only the ledger matters: a generator that did not keep up is no failure.
    pub ledger_only: bool,
    /// CPU time that the hypervisor took.
    pub steal_percent: f64,
    /// Connections that broke during the load, and why.
    pub broken: u64,
    /// Why connections broke; the first few causes.
    pub causes: Vec<String>,
    /// Publishes that the broker refused.
    pub refused: u64,
    /// The objective for its p99.
    pub slo_p99: Option<Duration>,
    /// The objectives besides the p99.
    pub objectives: Objectives,
    /// The results for objectives that are not latencies.
    pub reached: Reached,
    /// Whether the measured part was steady.
    pub steadiness: Option<Steadiness>,
    /// A signal ended the run early.
    pub interrupted: bool,
}

/// What the run was limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// Neither the broker nor the generator.
    Nothing,
    /// The broker did not accept messages as fast as they were due.
    Broker,
    /// The network, or another party that broke connections: messages waited until they were re-established.
    Network,
    /// The generator: the result is invalid.
    Generator,
    /// The generator or the broker, and nothing shows which: the result is invalid.
    Unknown,
}

/// The conclusion about a run.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Verdict {
    /// Exit code of the program.
    pub exit_code: u8,
    /// Whether the figures describe the broker.
    pub valid: bool,
    /// What the run was limited by.
    pub limited_by: LimitedBy,
    /// The reasons, the most severe first.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// The verdict in one of [`VERDICT_WORDS`].
    pub fn word(&self) -> &'static str {
        let warns = |finding: &Finding| finding.gravity >= Gravity::Warning;
        match self.exit_code {
            EXIT_OK if self.findings.iter().any(warns) => "warning",
            EXIT_OK => "valid",
            EXIT_SATURATED => "saturated",
            EXIT_GENERATOR => "invalid",
            _ => "failed",
        }
    }
}

/// The words of verdicts, the best first.
pub const VERDICT_WORDS: [&str; 5] = ["valid", "warning", "saturated", "failed", "invalid"];

/// The verdict on a run.
pub fn assess(evidence: &Evidence) -> Verdict {
    let limited_by = evidence.limited_by();
    let mut findings = Findings::default();
    let dishonest = evidence.check_ledger(&mut findings);
    evidence.check_rate(limited_by, &mut findings);
    let missed = evidence.check_objective(limited_by, &mut findings);
    let missed = evidence.check_substance(&mut findings) || missed;
    evidence.check_surroundings(&mut findings);
    let invalid = matches!(limited_by, LimitedBy::Generator | LimitedBy::Unknown);
    let exit_code = match () {
        () if dishonest => EXIT_MISSED,
        () if invalid && !evidence.ledger_only => EXIT_GENERATOR,
        () if missed => EXIT_MISSED,
        () if evidence.is_saturated() => EXIT_SATURATED,
        () => EXIT_OK,
    };
    Verdict {
        exit_code,
        valid: !invalid,
        limited_by,
        findings: findings.sorted(),
    }
}

impl Evidence {
    fn limited_by(&self) -> LimitedBy {
        match () {
            () if self.idle => LimitedBy::Nothing,
            () if !self.own_reasons().is_empty() => LimitedBy::Generator,
            () if self.is_undecided() => LimitedBy::Unknown,
            () if percent(self.waited_for_connection, self.sent) >= WAITED_PERCENT_SATURATED => {
                LimitedBy::Network
            }
            () if self.found_sockets_full() || self.is_saturated() => LimitedBy::Broker,
            () => LimitedBy::Nothing,
        }
    }

    /// Why the figures describe the generator; empty if they do not.
    fn own_reasons(&self) -> Vec<String> {
        let mut reasons = self.own.reasons();
        let lag_p99_ns = self.own.lag.map_or(0, |lag| lag.p99_ns);
        if self.has_schedule && self.own.latency.is_none() && lag_p99_ns > OWN_LAG_NS_LIMIT {
            reasons.push(format!("p99 of its own lag {}", duration(lag_p99_ns as f64)));
        }
        let is_unhindered = !self.found_sockets_full() && self.broken == 0 && !self.interrupted;
        if self.has_schedule && self.unsent > 0 && is_unhindered {
            reasons.push(format!("{} messages never left", self.unsent));
        }
        reasons
    }

    /// Whether every message waited for an acknowledgement or a socket, so that no lag shows whether the generator
    /// kept up, and its threads do not show it either.
    fn is_undecided(&self) -> bool {
        let all_waited = self.own.lag.is_none() && self.waited_for_broker > 0;
        self.has_schedule && all_waited && !self.own.is_known_to_keep_up()
    }

    fn waited_percent(&self) -> f64 {
        percent(self.waited_for_broker, self.sent)
    }

    /// Whether messages of a schedule waited because the socket or the in-flight window was full.
    fn found_sockets_full(&self) -> bool {
        self.has_schedule && self.waited_percent() >= WAITED_PERCENT_SATURATED
    }

    /// Whether the broker, or the path to it, did not sustain the offered rate: the backlog grew until the load ended,
    /// and arrived long after that or not at all. Overtaken deliveries are not included: they are lost.
    fn is_saturated(&self) -> bool {
        let grown = self
            .steadiness
            .is_some_and(|steadiness| steadiness.backlog_percent > BACKLOG_PERCENT_SATURATED);
        let outstanding = self.still_coming || self.drain_ns >= DRAIN_NS_SATURATED;
        self.has_schedule && grown && outstanding
    }

    /// Whether anything happened that a verdict can be about: an empty run is no success.
    fn check_substance(&self, findings: &mut Findings) -> bool {
        let before = findings.faults();
        let acknowledged = self.qos.is_some_and(|qos| qos != QoS::AtMostOnce);
        match () {
            () if self.idle => {}
            // Before the measured part there was nothing to send in it.
            () if self.sent == 0 && self.interrupted => {}
            () if self.sent == 0 => {
                let text =
                    "nothing was sent in the measured part (--idle holds connections without messages)";
                findings.add(true, text.to_owned());
            }
            () if self.ledger.expected > 0 => {}
            () if self.subscribers > 0 => {
                findings.add(
                    true,
                    "no subscriber receives from any publisher: nothing was expected".to_owned(),
                );
            }
            () if acknowledged => findings
                .note("without subscribers only acknowledgements show that anything arrived".to_owned()),
            () => findings.add(
                true,
                "without subscribers and with QoS 0 nothing shows that anything arrived: give --subs or -q 1"
                    .to_owned(),
            ),
        }
        if self.churn_failed > 0 {
            findings.add(
                true,
                format!("{} connections beside the load failed", self.churn_failed),
            );
        }
        findings.faults() > before
    }

    fn check_rate(&self, limited_by: LimitedBy, findings: &mut Findings) {
        let reasons = self.own_reasons().join("; ");
        match limited_by {
            LimitedBy::Generator => findings.add(
                !self.ledger_only,
                format!(
                    "the generator was the bottleneck ({reasons}): the result is invalid; lower --rate, raise \
                     --threads or free CPU"
                ),
            ),
            LimitedBy::Unknown => findings.add(
                !self.ledger_only,
                "nothing shows whether the generator or the broker was the bottleneck: every message waited for the \
                 broker, and the generator's threads were full or their run delay is not known: the result is \
                 invalid; raise --threads or free CPU"
                    .to_owned(),
            ),
            LimitedBy::Broker if self.is_saturated() => {
                let grown = self.steadiness.map_or(0.0, |steadiness| steadiness.backlog_percent);
                findings.add(
                    true,
                    format!(
                        "the broker, or the path to it, did not carry the offered rate: the backlog grew by \
                         {grown:.1} % of what was delivered; {:.1} % of the messages waited for it",
                        self.waited_percent()
                    ),
                );
            }
            LimitedBy::Broker => findings.warn(format!(
                "the broker was the bottleneck: {:.1} % of the messages waited for it, {} never left",
                self.waited_percent(),
                self.unsent
            )),
            LimitedBy::Network => findings.warn(format!(
                "connections that broke were the bottleneck: {:.1} % of the messages waited until theirs was made \
                 again; that is the fault of the network, or of the broker if it closed them",
                percent(self.waited_for_connection, self.sent)
            )),
            LimitedBy::Nothing => {}
        }
        self.own.note(findings);
    }

    fn check_surroundings(&self, findings: &mut Findings) {
        for (thread, cpu) in self.own.threads.iter().map(ThreadUse::cpu_percent).enumerate() {
            if cpu > THREAD_CPU_PERCENT_MAX && self.has_schedule {
                findings.warn(format!(
                    "generator thread {thread} used {cpu:.0} % of a core: its queueing is in the latency"
                ));
            } else if cpu > THREAD_CPU_PERCENT_MAX {
                findings.note(format!(
                    "generator thread {thread} used {cpu:.0} % of a core: the rate may be its limit; the broker's CPU \
                     per delivery stands"
                ));
            }
        }
        if self.steal_percent > STEAL_PERCENT_MAX {
            findings.warn(format!(
                "the hypervisor took {:.1} % of the CPU time",
                self.steal_percent
            ));
        }
        // The windows contain the messages sent in them, and a flood is no steady state.
        let steadiness = self.steadiness.filter(|_| !self.flood && !self.is_saturated());
        if let Some(unsteady) = steadiness.and_then(|steadiness| steadiness.complaint()) {
            findings.warn(unsteady);
        }
        if self.without_alias > 0 {
            findings.warn(format!(
                "{} publishers sent their topic each time: the broker's Topic Alias Maximum is below the alias",
                self.without_alias
            ));
        }
        if self.interrupted {
            findings.warn("a signal ended the run early".to_owned());
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests;
