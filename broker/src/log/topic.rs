//! Lines to be published below `$SYS/broker/log`: a bounded queue between the code that logs and shard 0.
//!
//! Invariants: the code that logs never waits; a line that finds no room is lost and counted. A published line causes
//! no other line: debug lines are not published.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::sink::count_lost;
use super::types::LogTypes;
use crate::limits;

/// A line with the end of its topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicLine {
    /// The topic after `$SYS/broker/log/`.
    pub(crate) topic: &'static str,
    /// The line without its newline.
    pub(crate) text: Box<[u8]>,
}

/// The lines of this process that are to be published.
#[derive(Default)]
pub(crate) struct TopicLines {
    lines: Mutex<VecDeque<TopicLine>>,
    /// Whether the queue has lines; checked without its lock.
    waiting: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The queue of this process: the log starts before the shards, and ends after them.
pub(crate) fn topic_lines() -> &'static TopicLines {
    static LINES: OnceLock<TopicLines> = OnceLock::new();
    LINES.get_or_init(TopicLines::default)
}

impl TopicLines {
    /// Sets the function that wakes shard 0 for lines.
    pub(crate) fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        // The first one stays: there is one broker per process.
        let _first = self.wake.set(Box::new(wake));
    }

    /// Takes a line of that type, if such lines are published.
    pub(super) fn take(&self, types: LogTypes, line: &[u8]) {
        let Some(topic) = types.topic() else {
            return;
        };
        let mut lines = self.lines();
        if lines.len() >= limits::LOG_TOPIC_LINES_MAX {
            return count_lost();
        }
        lines.push_back(TopicLine {
            topic,
            text: line.strip_suffix(b"\n").unwrap_or(line).into(),
        });
        drop(lines);
        if !self.waiting.swap(true, Ordering::AcqRel)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// All waiting lines, for the shard that publishes them. Without lines the cost is the check of a flag.
    #[inline]
    pub(crate) fn take_waiting(&self) -> VecDeque<TopicLine> {
        if !self.waiting.load(Ordering::Relaxed) {
            return VecDeque::new();
        }
        self.waiting.store(false, Ordering::Release);
        std::mem::take(&mut *self.lines())
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<TopicLine>> {
        // The state is consistent even after a panic.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_lost() {
        let lines = TopicLines::default();
        for number in 0..limits::LOG_TOPIC_LINES_MAX + 5 {
            lines.take(LogTypes::NOTICE, format!("{number}\n").as_bytes());
            lines.take(LogTypes::DEBUG, b"not published\n");
        }
        let taken = lines.take_waiting();
        assert_eq!(taken.len(), limits::LOG_TOPIC_LINES_MAX);
        assert_eq!(taken[0].topic, "N");
        assert_eq!(*taken[1].text, *b"1");
        assert!(lines.take_waiting().is_empty());
    }
}
