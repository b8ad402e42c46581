//! How long a thread was ready to run and had no CPU, as the kernel counts it in `schedstat`.
//!
//! Invariant: where the kernel does not count the delay it is `None`, never 0.

use std::fs;

/// What the kernel has counted of a thread since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunQueue {
    /// Time that it was ready and did not run, ns: another thread had the CPU, or a quota was used up.
    pub(crate) delay_ns: u64,
    /// How often it was given a CPU.
    pub(crate) turns: u64,
}

impl RunQueue {
    /// That of the calling thread.
    pub(crate) fn of_this_thread() -> Option<RunQueue> {
        RunQueue::parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    /// Time on the CPU, time ready without one, and turns.
    fn parse(schedstat: &str) -> Option<RunQueue> {
        let mut numbers = schedstat.split_whitespace().map(|word| word.parse().ok());
        let _on_cpu_ns: u64 = numbers.next()??;
        let (delay_ns, turns) = (numbers.next()??, numbers.next()??);
        // A kernel built without the counts has zeros: a thread that reads this has had a turn.
        (turns > 0).then_some(RunQueue { delay_ns, turns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_delay_and_zeros_are_no_count() {
        let read = RunQueue::parse("110329 2053354 2\n");
        assert_eq!(
            read,
            Some(RunQueue {
                delay_ns: 2_053_354,
                turns: 2
            })
        );
        assert_eq!(RunQueue::parse("0 0 0\n"), None);
        assert_eq!(RunQueue::parse("5 x 1"), None);
        assert_eq!(RunQueue::parse(""), None);
    }
}
