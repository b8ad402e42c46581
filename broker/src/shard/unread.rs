//! The bytes that a connection has received but not handled yet, and whether the stream ends after them.
//!
//! They stay in pieces as they were read: a single buffer would be moved again and again as it grows, and the kernel
//! would clear the memory into which it grows, which is work that no budget counts.
//!
//! Invariants: the bytes of a connection stay in order; the end of the stream is handled after the last byte. No piece
//! is empty, and `handled` is less than the length of the first one.

use std::collections::VecDeque;

use crate::logic::DisconnectCause;

/// Why a connection ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LostCause {
    /// The client closed its side of the stream.
    EndOfStream,
    /// The socket or TLS reported an error.
    Error,
    /// The client does not read what TLS has to send.
    Timeout,
}

impl LostCause {
    /// The cause for the counters.
    pub(super) fn counted(self) -> DisconnectCause {
        match self {
            Self::EndOfStream => DisconnectCause::Closed,
            Self::Error => DisconnectCause::ConnectionError,
            Self::Timeout => DisconnectCause::TookTooLong,
        }
    }

    /// The cause for the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::EndOfStream => "closed its connection",
            Self::Error => "disconnected by an error of its connection",
            Self::Timeout => "disconnected: it took too long",
        }
    }
}

/// The unhandled bytes of a connection.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pieces: VecDeque<Vec<u8>>,
    /// The number of handled bytes of the first piece.
    handled: usize,
    /// The unhandled bytes of all pieces.
    len: usize,
    /// The stream has ended after them.
    pub(super) ended: Option<LostCause>,
    /// It is in the queue of connections that wait for their turn.
    pub(super) is_queued: bool,
    /// Its receive was cancelled, but has not ended.
    pub(super) is_cancelled: bool,
    /// How far it is read for a newer connection of its session.
    pub(super) drain: Drain,
    /// The number of bytes that were read for this.
    pub(super) drained_bytes: usize,
    /// The units of work that it has used, and the turn in which it used them.
    spent: u64,
    turn: u64,
    /// Units that it had used before, minus the allowance of a quiet client for each turn: while this is above zero,
    /// it is not quiet.
    debt: u64,
}

/// How far a connection is read to its end because a newer one waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// No newer connection waits for the rest of this one.
    #[default]
    NotRequested,
    /// When its receive has ended and the read bytes are handled, what the kernel has is read.
    Requested,
    /// Everything that the kernel had was read, or as much as it can have at once.
    Done,
}

impl Unread {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether bytes that are received now have to wait behind others.
    pub(super) fn waits(&self) -> bool {
        self.len() > 0 || self.is_queued
    }

    /// Whether everything that the kernel had was read and handled.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.drain == Drain::Done && !self.waits()
    }

    /// Its stream ends after the bytes here.
    pub(super) fn end(&mut self, cause: LostCause) {
        self.ended = Some(cause);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE_BYTES_MAX => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(bytes.to_vec()),
        }
    }

    /// Takes the first piece out: its bytes, and how many of them are handled.
    pub(super) fn take_first(&mut self) -> (Vec<u8>, usize) {
        let Some(first) = self.pieces.pop_front() else {
            return (Vec::new(), 0);
        };
        let handled = std::mem::take(&mut self.handled);
        self.len -= first.len() - handled;
        (first, handled)
    }

    /// Puts back what [`Self::take_first`] returned, of which more has been handled.
    pub(super) fn put_back(&mut self, first: Vec<u8>, handled: usize) {
        if handled < first.len() {
            self.len += first.len() - handled;
            self.handled = handled;
            self.pieces.push_front(first);
        }
    }

    /// The units of work that it has used in that turn; `quiet` is the allowance of a client for each turn.
    pub(super) fn spent_in(&mut self, turn: u64, quiet: u64) -> &mut u64 {
        if self.turn != turn {
            let allowed = quiet.saturating_mul(turn.saturating_sub(self.turn));
            self.debt = self.debt.saturating_add(self.spent).saturating_sub(allowed);
            (self.turn, self.spent) = (turn, 0);
        }
        &mut self.spent
    }

    /// Whether it has used more than a quiet client in the turns before that one.
    pub(super) fn is_in_debt(&mut self, turn: u64, quiet: u64) -> bool {
        self.spent_in(turn, quiet);
        self.debt > 0
    }
}

/// The most bytes of a piece that consists of several reads: as many as one read returns.
const PIECE_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_used_much_is_not_quiet_for_some_turns() {
        let mut unread = Unread::default();
        *unread.spent_in(1, 100) += 350;
        assert!(
            !unread.is_in_debt(1, 100),
            "what it uses in this turn is no debt yet"
        );
        assert!(unread.is_in_debt(2, 100));
        *unread.spent_in(2, 100) += 50;
        assert!(unread.is_in_debt(4, 100));
        assert_eq!((*unread.spent_in(5, 100), unread.is_in_debt(5, 100)), (0, false));
        *unread.spent_in(5, 100) += 100;
        assert!(!unread.is_in_debt(6, 100), "that much is everybody's");
    }

    #[test]
    fn pieces_are_taken_in_their_order_and_put_back() {
        let mut unread = Unread::default();
        let reads = [
            vec![1; 10_000],
            vec![2; 6000],
            vec![3; 10_000],
            vec![4; 20_000],
            Vec::new(),
        ];
        reads.iter().for_each(|bytes| unread.push(bytes));
        assert_eq!((unread.len(), unread.pieces.len()), (46_000, 3));
        let mut all = Vec::new();
        while unread.waits() {
            let (piece, handled) = unread.take_first();
            let until = piece.len().min(handled + 7000);
            all.extend_from_slice(&piece[handled..until]);
            let left = piece.len() - until;
            let before = unread.len();
            unread.put_back(piece, until);
            assert_eq!(unread.len(), before + left);
        }
        assert!(all == reads.concat());
        assert_eq!((unread.len(), unread.pieces.len(), unread.handled), (0, 0, 0));
    }
}
