//! Whether the generator kept up: its threads had their CPU time, and its own part of each percentile is small.
//!
//! Invariants: a missing measure is not a good one. The limits follow from what they protect, not from a result: a
//! thread that waits for a CPU during 10 % of the time delays one message in ten, so that even the p90 is caused by
//! it, and from 2 % on the p99 is; a percentile of which more than half is caused by the generator says more about the
//! generator than about the broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::Findings;
use crate::measure::latency::Summary;
use crate::measure::numbers::duration;
use crate::measure::thread_use::ThreadUse;
use crate::system::cgroup::CpuGroups;

/// Share of the time that a thread was ready without a CPU from which it is reported, in percent.
const RUN_DELAY_PERCENT_NOTABLE: f64 = 2.0;
/// The share from which a run is invalid, in percent.
const RUN_DELAY_PERCENT_MAX: f64 = 10.0;
/// The generator's own share of a percentile from which it is reported.
const OWN_PERCENT_NOTABLE: f64 = 10.0;
/// The generator's own share of a percentile from which the percentile does not describe the broker.
const OWN_PERCENT_MAX: f64 = 50.0;

/// How control groups limit the CPU time of the generator.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Throttling {
    /// The tightest limit: quota and period, µs.
    pub limit_us: Option<(u64, u64)>,
    /// How long threads of its groups were throttled in the measured part, ns; `None` if no group counts it.
    pub throttled_ns: Option<u64>,
    /// Length of the measured part, ns.
    pub wall_ns: u64,
    /// The group whose limit cannot be seen from here.
    pub hidden: Option<String>,
}

impl Throttling {
    /// The throttling of these groups, in a measured part of this many ns.
    pub(crate) fn new(groups: &CpuGroups, throttled_ns: Option<u64>, wall_ns: u64) -> Throttling {
        Throttling {
            limit_us: groups.limit(),
            throttled_ns,
            wall_ns,
            hidden: groups.hidden().map(str::to_owned),
        }
    }
}

/// The share of a percentile that is caused by the generator.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct OwnShare {
    /// The percentile: 50, 90, 99, 99.9.
    pub percentile: f64,
    /// The latency there, ns.
    pub latency_ns: u64,
    /// The generator's own part there, ns.
    pub own_ns: u64,
    /// The latter in percent of the former.
    pub percent: f64,
}

impl OwnShare {
    /// Whether the percentile describes the generator more than the broker.
    pub fn is_too_much(&self) -> bool {
        self.percent > OWN_PERCENT_MAX
    }

    /// Whether it makes the whole run invalid: above the p99 a single stall of the machine can determine the
    /// percentile, and then only the percentile is marked.
    fn voids_the_run(&self) -> bool {
        self.is_too_much() && self.percentile <= 99.0
    }
}

/// The generator's own part at each percentile that a report shows, as far as there are values for it.
pub fn own_shares(latency: &Summary, own: &Summary) -> Vec<OwnShare> {
    let shares = [
        (50.0, 2, latency.p50_ns, own.p50_ns),
        (90.0, 10, latency.p90_ns, own.p90_ns),
        (99.0, 100, latency.p99_ns, own.p99_ns),
        (99.9, 1_000, latency.p99_9_ns, own.p99_9_ns),
    ];
    shares
        .into_iter()
        .filter(|(_, least, ..)| latency.count >= *least)
        .map(|(percentile, _, latency_ns, own_ns)| OwnShare {
            percentile,
            latency_ns,
            own_ns,
            percent: 100.0 * own_ns as f64 / latency_ns.max(1) as f64,
        })
        .collect()
}

/// The generator's figures about itself.
#[derive(Clone, Debug, Default)]
pub struct OwnEvidence {
    /// CPU time and run delay of each thread.
    pub threads: Vec<ThreadUse>,
    /// The limits of its control groups.
    pub throttling: Throttling,
    /// The latency that is reported: from the intended send to the receipt, or the whole time of a connection.
    pub latency: Option<Summary>,
    /// Time from the intended to the actual send, if nothing but the generator delayed it.
    pub lag: Option<Summary>,
    /// Time from the arrival in the kernel to the read, for some connections.
    pub read_delay: Option<Summary>,
}

impl OwnEvidence {
    /// Why the figures describe the generator and not the broker; empty if they do not.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let starved = self.starved_thread();
        let throttled = self
            .throttled_percent()
            .filter(|&percent| percent > RUN_DELAY_PERCENT_MAX);
        let lag = self.worst(self.lag.as_ref());
        let read = self.worst(self.read_delay.as_ref());
        [
            starved.map(|(thread, used)| starved_text(thread, used)),
            throttled.map(|percent| self.throttled_text(percent)),
            lag.map(|share| share_text(&share, "its own lag")),
            read.map(|share| share_text(&share, "messages that had arrived and were not read")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether its threads had too little CPU time: then a missing message cannot be called lost.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved_thread().is_some()
            || self
                .throttled_percent()
                .is_some_and(|percent| percent > RUN_DELAY_PERCENT_MAX)
    }

    /// Whether each thread is known to have had its CPU time, with some to spare.
    pub(crate) fn is_known_to_keep_up(&self) -> bool {
        let spare = |used: &ThreadUse| {
            used.run_delay_percent().is_some() && used.cpu_percent() <= super::THREAD_CPU_PERCENT_MAX
        };
        !self.threads.is_empty() && self.threads.iter().all(spare)
    }

    /// Findings that make nothing invalid.
    pub(crate) fn note(&self, findings: &mut Findings) {
        let notable = self.worst_thread().filter(|(_, used)| {
            used.run_delay_percent()
                .is_some_and(|percent| percent > RUN_DELAY_PERCENT_NOTABLE)
        });
        if let Some((thread, used)) = notable.filter(|_| self.starved_thread().is_none()) {
            findings.warn(starved_text(thread, used));
        }
        let throttled = self.throttled_percent().unwrap_or(0.0);
        if throttled > RUN_DELAY_PERCENT_NOTABLE && throttled <= RUN_DELAY_PERCENT_MAX {
            findings.warn(self.throttled_text(throttled));
        }
        for (own, what) in [
            (&self.lag, "the generator's own lag"),
            (&self.read_delay, "messages that had arrived and were not read"),
        ] {
            let shares = self.shares(own.as_ref()).into_iter();
            let notable = |share: &OwnShare| share.percent > OWN_PERCENT_NOTABLE && !share.voids_the_run();
            let texts: Vec<String> = shares.filter(notable).map(|share| part_text(&share)).collect();
            if !texts.is_empty() {
                findings.warn(format!("{what} is {}", texts.join(", ")));
            }
        }
        if let Some(group) = &self.throttling.hidden {
            let text = format!(
                "the control group {group} cannot be seen from here, nor its CPU limit: mount it, for docker with \
                 --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:ro"
            );
            let run_delay_known = self.threads.iter().all(|used| used.run_delay_ns.is_some());
            if run_delay_known {
                findings.note(text);
            } else {
                findings.warn(text);
            }
        }
    }

    fn worst_thread(&self) -> Option<(usize, &ThreadUse)> {
        let share = |used: &ThreadUse| used.run_delay_percent().unwrap_or(-1.0);
        self.threads
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| share(one).total_cmp(&share(other)))
    }

    /// The thread with the least CPU time, if that was too little: for too long in total, or each time about as long
    /// as the p99 and often enough to determine it.
    fn starved_thread(&self) -> Option<(usize, &ThreadUse)> {
        let p99_ns = self
            .latency
            .as_ref()
            .map_or(f64::INFINITY, |latency| latency.p99_ns as f64);
        let on_scale = |used: &ThreadUse, percent: f64| {
            let each_ns = used.run_delay_ns_each().unwrap_or(0.0);
            percent > 1.0 && each_ns > p99_ns * OWN_PERCENT_MAX / 100.0
        };
        self.worst_thread().filter(|(_, used)| {
            let percent = used.run_delay_percent().unwrap_or(0.0);
            percent > RUN_DELAY_PERCENT_MAX || on_scale(used, percent)
        })
    }

    fn throttled_percent(&self) -> Option<f64> {
        let Throttling {
            throttled_ns,
            wall_ns,
            ..
        } = self.throttling;
        Some(100.0 * throttled_ns.filter(|_| wall_ns > 0)? as f64 / wall_ns as f64)
    }

    fn throttled_text(&self, percent: f64) -> String {
        let cores = self.throttling.limit_us.map_or(String::new(), |(quota, period)| {
            format!(" of {:.2} cores", quota as f64 / period.max(1) as f64)
        });
        format!(
            "the CPU quota{cores} of its control group throttled it for {percent:.1} % of the time: raise cpu.max, or \
             cpu.cfs_quota_us in version 1"
        )
    }

    fn shares(&self, own: Option<&Summary>) -> Vec<OwnShare> {
        let both = self.latency.as_ref().zip(own);
        both.map_or(Vec::new(), |(latency, own)| own_shares(latency, own))
    }

    /// The percentile with the largest share of the generator, if that makes the run invalid.
    fn worst(&self, own: Option<&Summary>) -> Option<OwnShare> {
        let voiding = self.shares(own).into_iter().filter(OwnShare::voids_the_run);
        voiding.max_by(|one, other| one.percent.total_cmp(&other.percent))
    }
}

fn starved_text(thread: usize, used: &ThreadUse) -> String {
    format!(
        "generator thread {thread} was ready and had no CPU for {:.1} % of the time, {} each time",
        used.run_delay_percent().unwrap_or(0.0),
        duration(used.run_delay_ns_each().unwrap_or(0.0))
    )
}

fn part_text(share: &OwnShare) -> String {
    let OwnShare {
        percentile,
        latency_ns,
        own_ns,
        ..
    } = *share;
    let (own, latency) = (duration(own_ns as f64), duration(latency_ns as f64));
    format!("{own} of {latency} at p{percentile}")
}

fn share_text(share: &OwnShare, what: &str) -> String {
    format!("{what}: {}", part_text(share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::testing;

    fn thread(run_delay_percent: f64, turns: u64) -> ThreadUse {
        ThreadUse {
            cpu_ns: 300_000_000,
            wall_ns: 1_000_000_000,
            run_delay_ns: Some((run_delay_percent * 1e7) as u64),
            turns,
        }
    }

    fn own(threads: &[ThreadUse]) -> OwnEvidence {
        OwnEvidence {
            threads: threads.to_vec(),
            latency: Some(testing::latency(1_000_000, 8_000_000)),
            ..OwnEvidence::default()
        }
    }

    fn words(own: &OwnEvidence) -> String {
        let mut findings = Findings::default();
        own.note(&mut findings);
        let texts = findings.0.iter().map(|finding| finding.text.clone());
        texts.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn one_thread_that_waits_for_its_cpu_is_enough() {
        let fine = own(&[thread(1.9, 10_000); 2]);
        assert!(fine.reasons().is_empty() && words(&fine).is_empty() && fine.is_known_to_keep_up());
        let notable = own(&[thread(0.0, 10_000), thread(2.1, 10_000)]);
        assert!(notable.reasons().is_empty());
        assert!(words(&notable).contains("thread 1 was ready and had no CPU for 2.1 %"));
        let starved = own(&[thread(10.1, 10_000), thread(0.0, 10_000)]);
        assert!(starved.is_starved());
        assert!(starved.reasons().concat().contains("thread 0"));
        // 1.5 % in pieces of 5 ms make a p99 of 8 ms.
        assert!(own(&[thread(1.5, 3)]).is_starved());
        assert!(!own(&[thread(1.5, 300)]).is_starved());
    }

    #[test]
    fn a_kernel_that_does_not_count_proves_nothing() {
        let unknown = own(&[ThreadUse {
            run_delay_ns: None,
            ..thread(0.0, 0)
        }]);
        assert!(!unknown.is_starved() && !unknown.is_known_to_keep_up());
        assert!(!own(&[]).is_known_to_keep_up());
    }

    #[test]
    fn a_quota_is_named_with_what_to_do() {
        let throttled = |ns: u64| OwnEvidence {
            throttling: Throttling {
                limit_us: Some((10_000, 100_000)),
                throttled_ns: Some(ns),
                wall_ns: 1_000_000_000,
                hidden: Some("/docker/7f".to_owned()),
            },
            ..own(&[thread(0.0, 1)])
        };
        let text = throttled(900_000_000).reasons().concat();
        assert!(
            text.contains("0.10 cores") && text.contains("90.0 %") && text.contains("cpu.max"),
            "{text}"
        );
        let warned = words(&throttled(50_000_000));
        assert!(
            warned.contains("5.0 %") && warned.contains("/docker/7f"),
            "{warned}"
        );
        assert!(throttled(50_000_000).reasons().is_empty());
    }

    #[test]
    fn own_parts_are_relative_to_the_percentile_that_they_are_part_of() {
        let with_lag = |p50_ns, p99_ns| OwnEvidence {
            lag: Some(testing::latency(p50_ns, p99_ns)),
            ..own(&[thread(0.0, 1)])
        };
        assert!(with_lag(90_000, 700_000).reasons().is_empty());
        assert!(words(&with_lag(90_000, 700_000)).is_empty());
        assert!(words(&with_lag(110_000, 700_000)).contains("110 µs of 1 ms at p50"));
        assert!(
            with_lag(510_000, 700_000)
                .reasons()
                .concat()
                .contains("510 µs of 1 ms")
        );
        assert!(
            with_lag(9_000, 4_100_000)
                .reasons()
                .concat()
                .contains("4.10 ms of 8 ms at p99")
        );
        let unread = OwnEvidence {
            read_delay: Some(testing::latency(9_000, 7_000_000)),
            ..own(&[thread(0.0, 1)])
        };
        assert!(unread.reasons().concat().contains("not read: 7 ms of 8 ms"));
    }

    #[test]
    fn beyond_the_p99_the_percentile_alone_is_marked() {
        let mut latency = testing::latency(1_000_000, 8_000_000);
        latency.count = 100_000;
        let mut lag = testing::latency(10_000, 10_000);
        lag.p99_9_ns = 7_600_000;
        let shares = own_shares(&latency, &lag);
        assert_eq!(shares.len(), 4);
        assert!(shares.last().is_some_and(OwnShare::is_too_much));
        let evidence = OwnEvidence {
            latency: Some(latency),
            lag: Some(lag),
            ..own(&[thread(0.0, 1)])
        };
        assert!(evidence.reasons().is_empty());
        assert!(words(&evidence).contains("7.60 ms of 8 ms at p99.9"));
    }
}
