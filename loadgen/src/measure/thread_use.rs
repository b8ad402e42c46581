//! CPU time of a thread in the measured part, and how long it waited for a CPU.
//!
//! Invariant: CPU time, wall time and run delay are read together.

use transport::clock::thread_cpu_ns;

use super::timeline::Times;
use crate::system::run_queue::RunQueue;

/// CPU and wall time of a thread during the measured part.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, schemars::JsonSchema, serde::Serialize, serde::Deserialize,
)]
pub struct ThreadUse {
    /// CPU time of the thread, ns.
    pub cpu_ns: u64,
    /// Wall time of the same part, ns.
    pub wall_ns: u64,
    /// Time that it was ready but did not run, ns; `None` if the kernel does not count it.
    #[serde(default)]
    pub run_delay_ns: Option<u64>,
    /// How often it was given a CPU.
    #[serde(default)]
    pub turns: u64,
}

impl ThreadUse {
    /// Share of a core, in percent.
    pub fn cpu_percent(&self) -> f64 {
        if self.wall_ns == 0 {
            0.0
        } else {
            100.0 * self.cpu_ns as f64 / self.wall_ns as f64
        }
    }

    /// Share of the time that it was ready but did not run, in percent; `None` if it is not known.
    pub fn run_delay_percent(&self) -> Option<f64> {
        let delay_ns = self.run_delay_ns.filter(|_| self.wall_ns > 0)?;
        Some(100.0 * delay_ns as f64 / self.wall_ns as f64)
    }

    /// Its mean waiting time for a CPU, ns.
    pub fn run_delay_ns_each(&self) -> Option<f64> {
        Some(self.run_delay_ns? as f64 / self.turns.max(1) as f64)
    }
}

/// A thread's clocks at both ends of the measured part.
#[derive(Debug, Default)]
pub(crate) struct ThreadMeter {
    from: Option<ThreadClocks>,
    to: Option<ThreadClocks>,
}

#[derive(Clone, Copy, Debug)]
struct ThreadClocks {
    at_ns: u64,
    cpu_ns: u64,
    run_queue: Option<RunQueue>,
}

impl ThreadClocks {
    fn now(at_ns: u64) -> ThreadClocks {
        ThreadClocks {
            at_ns,
            cpu_ns: thread_cpu_ns(),
            run_queue: RunQueue::of_this_thread(),
        }
    }
}

impl ThreadMeter {
    /// Reads the thread's clocks when the measured part begins and when it ends.
    pub(crate) fn sample(&mut self, times: &Times, now_ns: u64) {
        if now_ns >= times.measure_from_ns && self.from.is_none() {
            self.from = Some(ThreadClocks::now(now_ns));
        }
        if now_ns >= times.stop_ns && self.to.is_none() {
            self.to = Some(ThreadClocks::now(now_ns));
        }
    }

    pub(crate) fn whole(&self) -> ThreadUse {
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return ThreadUse::default();
        };
        let run_queues = from.run_queue.zip(to.run_queue);
        // A run that is interrupted in its warm-up has no measured part.
        ThreadUse {
            cpu_ns: to.cpu_ns.saturating_sub(from.cpu_ns),
            wall_ns: to.at_ns.saturating_sub(from.at_ns),
            run_delay_ns: run_queues.map(|(from, to)| to.delay_ns.saturating_sub(from.delay_ns)),
            turns: run_queues.map_or(0, |(from, to)| to.turns.saturating_sub(from.turns)),
        }
    }
}
