//! The bytes that a connection has received and not handled yet, and whether the stream ends behind them.
//!
//! They stay in pieces as they were read: one buffer for all would be moved again and again as it grows, and the memory
//! that it grows into would be cleared by the kernel, which is work that no budget counts.
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
    /// The client does not take what TLS has to send it.
    Timeout,
}

impl LostCause {
    /// The cause as it is counted.
    pub(super) fn counted(self) -> DisconnectCause {
        match self {
            Self::EndOfStream => DisconnectCause::Closed,
            Self::Error => DisconnectCause::ConnectionError,
            Self::Timeout => DisconnectCause::TookTooLong,
        }
    }

    /// How the client left, for the log.
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
    /// So many bytes of the first piece are handled.
    handled: usize,
    /// The bytes of all pieces that are not handled.
    len: usize,
    /// Its stream has ended behind them.
    pub(super) ended: Option<LostCause>,
    /// It stands in the queue of those that wait for their turn.
    pub(super) is_queued: bool,
    /// Its receive was cancelled, and has not ended.
    pub(super) is_cancelled: bool,
    /// How far it is read for the sake of a newer connection of its session.
    pub(super) drain: Drain,
    /// So many bytes were read for that.
    pub(super) drained_bytes: usize,
    /// The units of work that it has used, and the turn in which it did.
    spent: u64,
    turn: u64,
    /// Units that it had used before, less what a quiet client gets in each turn: while there are some it is not quiet.
    debt: u64,
}

/// How far a connection is read to its end, as a newer one waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// No newer connection waits for the rest of this one.
    #[default]
    NotRequested,
    /// As soon as its receive has ended and what was read is handled, what the kernel has is read.
    Requested,
    /// All was read that the kernel had, or as much as it can have at once.
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

    /// Whether all that the kernel had was read and handled.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.drain == Drain::Done && !self.waits()
    }

    /// Its stream ends behind what is here.
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

    /// Puts back what [`Self::take_first`] gave, of which more is handled now.
    pub(super) fn put_back(&mut self, first: Vec<u8>, handled: usize) {
        if handled < first.len() {
            self.len += first.len() - handled;
            self.handled = handled;
            self.pieces.push_front(first);
        }
    }

    /// The units of work that it has used in that turn; `quiet` is what a client may use in each.
    pub(super) fn spent_in(&mut self, turn: u64, quiet: u64) -> &mut u64 {
        if self.turn != turn {
            let allowed = quiet.saturating_mul(turn.saturating_sub(self.turn));
            self.debt = self.debt.saturating_add(self.spent).saturating_sub(allowed);
            (self.turn, self.spent) = (turn, 0);
        }
        &mut self.spent
    }

    /// Whether it has used more in the turns before that one than a quiet client does.
    pub(super) fn is_in_debt(&mut self, turn: u64, quiet: u64) -> bool {
        self.spent_in(turn, quiet);
        self.debt > 0
    }
}

/// Bytes of a piece at most, if it is made of several reads: as many as one read brings.
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
