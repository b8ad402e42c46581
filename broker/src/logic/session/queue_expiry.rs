//! What expires in a queue while its client is away.
//!
//! Invariants: nothing of the queue expires before the time that [`Queue::expires_first`] has; that time may be too
//! early, because the message that it belongs to may have left the queue. A queue is looked through in pieces: what is
//! in memory from the front to the end, then what is in the store alone. What comes in meanwhile counts for the next
//! time.

use store::{ReadBack, ReadRequest, Wanted};

use crate::limits::LoadedQueue;
use crate::logic::session::queue::{Queue, Queued};
use crate::logic::store::WallClock;
use crate::time::Timestamp;

/// When something of a queue expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueExpiry {
    /// The time before which nothing expires.
    first: Timestamp,
    /// The same of what was kept since the queue is being looked through, and of what came in since then.
    kept: Timestamp,
}

impl Default for QueueExpiry {
    fn default() -> Self {
        Self {
            first: Timestamp::NEVER,
            kept: Timestamp::NEVER,
        }
    }
}

impl QueueExpiry {
    /// Something of the queue expires at that time.
    pub(super) fn add(&mut self, at: Timestamp) {
        self.first = self.first.min(at);
        self.kept = self.kept.min(at);
    }
}

impl Queue {
    /// Nothing of it expires before; [`Timestamp::NEVER`] if nothing does.
    pub(in crate::logic) fn expires_first(&self) -> Timestamp {
        self.expiry.first
    }

    /// Takes out what has expired at `now` among the next `entries_max` messages in memory, or some more. Returns how
    /// many were looked at, and whether those were the last ones.
    pub(in crate::logic) fn take_expired(
        &mut self,
        now: Timestamp,
        entries_max: usize,
        expired: &mut Vec<Queued>,
    ) -> (usize, bool) {
        let kept = &mut self.expiry.kept;
        let before = expired.len();
        let looked_at = self.entries.take_where(entries_max, expired, |queued| {
            let expires_at = queued.message.expires_at();
            let is_over = expires_at <= now;
            if !is_over {
                *kept = expires_at.min(*kept);
            }
            is_over
        });
        for queued in expired.iter().skip(before) {
            self.uncount(queued);
        }
        looked_at
    }

    /// The request for what has expired of the messages that are in the store alone, from the place `from` of the
    /// session's order on. None if there are no such messages, or another answer is awaited.
    pub(in crate::logic) fn ask_expired(
        &mut self,
        (session, tag): (u64, u32),
        from: u64,
        wall_ns: u64,
        limits: LoadedQueue,
    ) -> Option<ReadRequest> {
        let (first, last) = self.stored.span()?;
        let from = from.max(first);
        if self.stored.is_asked() || from > last {
            return None;
        }
        self.stored.set_asked(true);
        Some(ReadRequest {
            session,
            tag,
            wanted: Wanted::ExpiredAt(wall_ns),
            from,
            to: last,
            messages_max: limits.read_messages,
            bytes_max: limits.read_bytes,
        })
    }

    /// The answer to such a request has come: what expired leaves the queue. Returns the bytes that it had, about, and
    /// the places of the messages.
    pub(in crate::logic) fn remove_expired(&mut self, answer: &ReadBack, wall: WallClock) -> (u64, Vec<u64>) {
        self.stored.set_asked(false);
        self.expiry.kept = self.expiry.kept.min(wall.timestamp(answer.expires_first_ns));
        let mut bytes = 0;
        let orders = answer.messages.iter().map(|message| message.order);
        // What is in memory meanwhile is not in the store alone.
        let removed = orders.filter(|order| {
            let removed = self.stored.remove(*order);
            bytes += removed.unwrap_or_default();
            removed.is_some()
        });
        let removed: Vec<u64> = removed.collect();
        self.messages = self.messages.saturating_sub(removed.len() as u64);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.drop_empty_stored();
        (bytes, removed)
    }

    /// All of the queue was looked through.
    pub(in crate::logic) fn end_expiry(&mut self) {
        self.expiry.first = self.expiry.kept;
        self.expiry.kept = Timestamp::NEVER;
    }
}
