//! Messages that are unowed because a connection broke: those that a publisher had in flight on it, and those that
//! were published while a subscriber was disconnected.
//!
//! Invariants: a message is owed to a subscriber that was subscribed when it was published and stayed connected until
//! it arrived. With a clean start the session ends with its connection, so messages on their way to the subscriber are
//! unowed too. Of a publisher's connection only unacknowledged messages are unowed; at QoS 0, without
//! acknowledgements, these are the messages missing up to the break without a gap. A publisher's thread records its
//! break before it publishes again, so a thread that receives a later message finds the record.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The breaks of all connections of a run.
#[derive(Debug, Default)]
pub struct Interruptions {
    any: AtomicBool,
    cuts: Mutex<Vec<Cut>>,
    /// Number of messages that each publisher has sent; empty if there are no reconnects.
    sent: Vec<AtomicU32>,
}

/// The messages of one publisher that were in flight on a connection when it broke.
#[derive(Clone, Copy, Debug)]
struct Cut {
    publisher: u32,
    from: u32,
    to: u32,
}

impl Interruptions {
    /// No breaks yet, in a run with this many publishers that `reconnect` or not.
    pub fn new(publishers: u32, reconnect: bool) -> Interruptions {
        let counted = if reconnect { publishers } else { 0 };
        Interruptions {
            sent: (0..counted).map(|_| AtomicU32::new(0)).collect(),
            ..Interruptions::default()
        }
    }

    /// Records how many messages a publisher has sent.
    #[inline]
    pub fn note_sent(&self, publisher: u32, sent: u64) {
        if let Some(count) = self.sent.get(publisher as usize) {
            count.store(sent as u32, Ordering::Relaxed);
        }
    }

    /// Number of messages that a publisher has sent, modulo 2^32; 0 without reconnects.
    pub fn sent(&self, publisher: u32) -> u32 {
        let count = self.sent.get(publisher as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The connection of a publisher broke after this many messages, of which the last `unacknowledged` were not
    /// acknowledged; `None` at QoS 0.
    pub fn cut(&self, publisher: u32, sent: u64, unacknowledged: Option<u64>) {
        let to = sent as u32;
        let from = unacknowledged.map_or(0, |count| to.wrapping_sub(count as u32));
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.push(Cut { publisher, from, to });
        self.any.store(true, Ordering::Release);
    }

    /// Number of unowed messages among those that are missing without a gap.
    pub fn unowed(&self, publisher: u32, missing: Range<u32>) -> u32 {
        if !self.any.load(Ordering::Acquire) {
            return 0;
        }
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_publisher = cuts.iter().filter(|cut| cut.publisher == publisher);
        // Breaks follow one another: a message that one covers is not counted by another.
        let mut from = missing.start;
        let mut unowed = 0;
        for cut in of_publisher {
            let begin = from.max(cut.from);
            if cut.to > missing.start && cut.to <= missing.end && cut.to > begin {
                unowed += cut.to - begin;
                from = cut.to;
            }
        }
        unowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_a_connection_when_it_broke_is_not_owed() {
        let breaks = Interruptions::new(2, true);
        assert_eq!(breaks.unowed(1, 0..100), 0);
        breaks.cut(1, 50, None);
        assert_eq!(breaks.unowed(1, 40..60), 10, "up to the break");
        assert_eq!(breaks.unowed(1, 50..60), 0, "what was sent after it is owed");
        assert_eq!(
            breaks.unowed(1, 30..40),
            0,
            "and what a later one had overtaken before it"
        );
        assert_eq!(breaks.unowed(0, 40..60), 0, "another publisher");
        breaks.cut(0, 50, Some(3));
        assert_eq!(breaks.unowed(0, 40..60), 3, "what was acknowledged is owed");
        breaks.cut(0, 55, Some(20));
        assert_eq!(breaks.unowed(0, 40..60), 8, "and nothing is counted twice");
    }

    #[test]
    fn messages_are_counted_only_where_connections_are_made_again() {
        for (reconnect, sent) in [(true, 7), (false, 0)] {
            let breaks = Interruptions::new(2, reconnect);
            breaks.note_sent(1, 7);
            assert_eq!(breaks.sent(1), sent);
        }
    }
}
