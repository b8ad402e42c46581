//! The bytes of a connection that are on their way to the socket, as one state.
//!
//! Invariants: a connection has at most one send in flight, or remaining bytes of one; these precede all newer ones.
//! Only [`Sending::advance`] changes the state after a send.

use std::ops::Range;

use crate::limits;

/// Wire bytes, from an offset on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    wire: Vec<u8>,
    from: usize,
}

impl Unsent {
    pub(super) fn new(wire: Vec<u8>) -> Self {
        Self { wire, from: 0 }
    }

    /// The part that is sent at once.
    pub(super) fn piece(&self) -> &[u8] {
        self.wire.get(self.piece_range()).unwrap_or_default()
    }

    fn piece_range(&self) -> Range<usize> {
        self.from..self.from + self.len().min(limits::SENT_AT_ONCE_BYTES)
    }

    fn len(&self) -> usize {
        self.wire.len() - self.from
    }
}

/// The progress of a connection's sending.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing is on its way: new output may be passed to the socket.
    #[default]
    Idle,
    /// A later flush sends the rest.
    Rest(Box<Unsent>),
    /// The ring sends the bytes of its buffer up to this offset.
    ByRing { until: usize },
}

/// The result of a send.
#[derive(Debug)]
pub(super) enum Sent {
    /// The socket was offered [`Unsent::piece`], and accepted this many bytes of it.
    BySocket { unsent: Unsent, bytes: usize },
    /// The ring has sent the bytes of this buffer.
    ByRing { wire: Vec<u8> },
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextSend {
    /// An output was sent at once, and nothing was written since.
    AllIsOut { buffer: Vec<u8> },
    /// The rest of an output is sent: what was written since follows.
    RestIsOut { buffer: Vec<u8> },
    /// This many bytes are left, and others have their turn before them.
    Delay { unsent_bytes: usize },
    /// The socket is full: the ring sends this part of the buffer when there is room.
    GiveToRing {
        wire: Vec<u8>,
        part: Range<usize>,
        unsent_bytes: usize,
    },
}

impl Sending {
    pub(super) fn is_idle(&self) -> bool {
        *self == Self::Idle
    }

    pub(super) fn is_by_ring(&self) -> bool {
        matches!(self, Self::ByRing { .. })
    }

    pub(super) fn has_rest(&self) -> bool {
        matches!(self, Self::Rest(_))
    }

    /// Takes the rest out, to be offered to the socket.
    #[inline]
    pub(super) fn take_rest(&mut self) -> Option<Unsent> {
        if !self.has_rest() {
            return None;
        }
        match std::mem::take(self) {
            Self::Rest(unsent) => Some(*unsent),
            Self::Idle | Self::ByRing { .. } => None,
        }
    }

    /// The state after a send, and what to do next.
    #[inline]
    pub(super) fn advance(&mut self, sent: Sent) -> NextSend {
        let left = match (std::mem::take(self), sent) {
            (_, Sent::BySocket { unsent, bytes }) if bytes == unsent.len() => {
                let buffer = unsent.wire;
                return match unsent.from {
                    0 => NextSend::AllIsOut { buffer },
                    _ => NextSend::RestIsOut { buffer },
                };
            }
            (_, Sent::BySocket { mut unsent, bytes }) => {
                let is_full = bytes < unsent.piece().len();
                unsent.from += bytes;
                if is_full {
                    return self.give_to_ring(unsent);
                }
                unsent
            }
            (Self::ByRing { until }, Sent::ByRing { wire }) if until < wire.len() => {
                Unsent { wire, from: until }
            }
            (_, Sent::ByRing { wire }) => return NextSend::RestIsOut { buffer: wire },
        };
        let unsent_bytes = left.len();
        *self = Self::Rest(Box::new(left));
        NextSend::Delay { unsent_bytes }
    }

    fn give_to_ring(&mut self, unsent: Unsent) -> NextSend {
        let (part, unsent_bytes) = (unsent.piece_range(), unsent.len());
        *self = Self::ByRing { until: part.end };
        let wire = unsent.wire;
        NextSend::GiveToRing {
            wire,
            part,
            unsent_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = limits::SENT_AT_ONCE_BYTES;

    fn offer(sending: &mut Sending, unsent: Unsent, bytes: usize) -> NextSend {
        sending.advance(Sent::BySocket { unsent, bytes })
    }

    #[test]
    fn an_output_that_the_socket_takes_leaves_nothing() {
        let mut sending = Sending::default();
        let next = offer(&mut sending, Unsent::new(vec![7; 10]), 10);
        assert_eq!(next, NextSend::AllIsOut { buffer: vec![7; 10] });
        assert!(sending.is_idle());
    }

    #[test]
    fn a_long_output_goes_out_in_pieces_and_then_what_is_newer() {
        let mut sending = Sending::default();
        let mut next = offer(&mut sending, Unsent::new(vec![7; 2 * PIECE + 5]), PIECE);
        for left in [PIECE + 5, 5] {
            assert_eq!(next, NextSend::Delay { unsent_bytes: left });
            let unsent = sending.take_rest().unwrap();
            assert!(sending.is_idle() && unsent.piece().len() == left.min(PIECE));
            let bytes = unsent.piece().len();
            next = offer(&mut sending, unsent, bytes);
        }
        assert!(matches!(next, NextSend::RestIsOut { buffer } if buffer.len() == 2 * PIECE + 5));
        assert!(sending.is_idle());
    }

    #[test]
    fn the_ring_sends_what_a_full_socket_did_not_take_piece_by_piece() {
        let mut sending = Sending::default();
        let next = offer(&mut sending, Unsent::new(vec![7; 2 * PIECE]), 100);
        let NextSend::GiveToRing {
            wire,
            part,
            unsent_bytes,
        } = next
        else {
            panic!("{next:?}");
        };
        assert_eq!((part, unsent_bytes), (100..100 + PIECE, 2 * PIECE - 100));
        assert!(sending.is_by_ring() && sending.take_rest().is_none());
        let unsent_bytes = PIECE - 100;
        assert_eq!(
            sending.advance(Sent::ByRing { wire }),
            NextSend::Delay { unsent_bytes }
        );
        let unsent = sending.take_rest().unwrap();
        // A full socket accepts no bytes at all.
        let NextSend::GiveToRing { wire, part, .. } = offer(&mut sending, unsent, 0) else {
            panic!("{sending:?}");
        };
        assert_eq!(part, PIECE + 100..2 * PIECE);
        let buffer = wire.clone();
        assert_eq!(
            sending.advance(Sent::ByRing { wire }),
            NextSend::RestIsOut { buffer }
        );
        assert!(sending.is_idle());
    }
}
