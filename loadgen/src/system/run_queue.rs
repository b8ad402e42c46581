//! How long a thread was ready to run and had no CPU, as the kernel counts it in `schedstat`.
//!
//! Invariant: if the kernel does not count the delay, it is `None`, never 0.

use procfs::FromRead as _;
use procfs::process::Schedstat;

/// What the kernel has counted for a thread since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunQueue {
    /// Time during which it was ready and did not run, ns: another thread had the CPU, or a quota was used up.
    pub(crate) delay_ns: u64,
    /// How often it was given a CPU.
    pub(crate) turns: u64,
}

impl RunQueue {
    /// The counts of the calling thread.
    pub(crate) fn of_this_thread() -> Option<RunQueue> {
        RunQueue::counted(&Schedstat::from_file("/proc/thread-self/schedstat").ok()?)
    }

    fn counted(schedstat: &Schedstat) -> Option<RunQueue> {
        let run_queue = RunQueue {
            delay_ns: schedstat.run_delay,
            turns: schedstat.pcount,
        };
        // A kernel built without the counts has zeros: a thread that reads this has had a turn.
        (run_queue.turns > 0).then_some(run_queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_delay_and_zeros_are_no_count() {
        let read = |text: &str| RunQueue::counted(&Schedstat::from_read(text.as_bytes()).ok()?);
        assert_eq!(
            read("110329 2053354 2\n"),
            Some(RunQueue {
                delay_ns: 2_053_354,
                turns: 2
            })
        );
        assert_eq!(read("0 0 0\n"), None);
        assert_eq!(read("5 x 1"), None);
        assert_eq!(read(""), None);
    }
}
