//! The bytes that a connection has received and not handled yet, and whether the stream ends behind them.
//!
//! Invariants: the bytes of a connection stay in order; the end of the stream is handled after the last byte.

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
    pub(super) bytes: Vec<u8>,
    /// So many of them are handled.
    pub(super) handled: usize,
    /// Its stream has ended behind them.
    pub(super) ended: Option<LostCause>,
    /// It stands in the queue of those that wait for their turn.
    pub(super) is_queued: bool,
    /// Its receive was cancelled, and has not ended.
    pub(super) is_cancelled: bool,
    /// How far it is read for the sake of a newer connection of its session.
    pub(super) drain: Drain,
    /// The units of work that it has used, and the turn in which it did.
    spent: u64,
    turn: u64,
}

/// How far a connection is read to its end, as a newer one waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// No newer connection waits for the rest of this one.
    #[default]
    NotRequested,
    /// As soon as its receive has ended what the kernel has is read.
    Requested,
    /// All was read that the kernel had.
    Done,
}

impl Unread {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.handled
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
        if self.handled > self.bytes.len() / 2 {
            self.bytes.drain(..self.handled);
            self.handled = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Removes bytes that were handled.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.handled += bytes;
        if self.handled >= self.bytes.len() {
            self.bytes = Vec::new();
            self.handled = 0;
        }
    }

    /// The units of work that it has used in that turn.
    pub(super) fn spent_in(&mut self, turn: u64) -> &mut u64 {
        if self.turn != turn {
            (self.turn, self.spent) = (turn, 0);
        }
        &mut self.spent
    }
}
