//! CPU time of a thread in the measured part.
//!
//! Invariant: CPU time and wall time are read together.

use transport::clock::thread_cpu_ns;

use super::timeline::Times;

/// CPU and wall time of a thread during the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ThreadUse {
    /// CPU time of the thread, ns.
    pub cpu_ns: u64,
    /// Wall time of the same part, ns.
    pub wall_ns: u64,
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
}

/// A thread's CPU clock at both ends of the measured part.
#[derive(Debug, Default)]
pub(crate) struct ThreadMeter {
    from: Option<(u64, u64)>,
    to: Option<(u64, u64)>,
}

impl ThreadMeter {
    /// Reads the thread's CPU clock when the measured part begins and when it ends.
    pub(crate) fn look(&mut self, times: &Times, now_ns: u64) {
        if now_ns >= times.measure_from_ns && self.from.is_none() {
            self.from = Some((thread_cpu_ns(), now_ns));
        }
        if now_ns >= times.stop_ns && self.to.is_none() {
            self.to = Some((thread_cpu_ns(), now_ns));
        }
    }

    pub(crate) fn whole(&self) -> ThreadUse {
        let (Some((cpu_from_ns, from_ns)), Some((cpu_to_ns, to_ns))) = (self.from, self.to) else {
            return ThreadUse::default();
        };
        // A run that is interrupted in its warm-up has no measured part: it ends before it begins.
        ThreadUse {
            cpu_ns: cpu_to_ns.saturating_sub(cpu_from_ns),
            wall_ns: to_ns.saturating_sub(from_ns),
        }
    }
}
