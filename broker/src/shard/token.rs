//! Tokens of requests on the ring: the kind of object, its slot, and a generation.
//!
//! Invariant: the generation distinguishes the objects that use a slot one after the other. A completion whose
//! generation is not the current one of the slot belongs to an object that is gone.

use transport::ring::Token;

use crate::logic::{ConnectionId, ConnectionSlot};

/// The object that a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A listening socket, by its index.
    Listener(usize),
    /// A connection that has no CONNACK yet.
    Pending(PendingId),
    /// A connection in the logic.
    Connection(ConnectionId),
}

/// Identifies a pending connection: its slot, and the generation of the connection in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PendingId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Subject {
    pub(super) fn token(self) -> Token {
        let (kind, slot, generation) = match self {
            Subject::Listener(index) => (0, index as u32, 0),
            Subject::Pending(id) => (1, id.slot, id.generation),
            Subject::Connection(id) => (2, id.slot.to_u32(), id.generation),
        };
        Token(kind << 54 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(slot))
    }

    pub(super) fn of(token: Token) -> Subject {
        let slot = token.0 as u32;
        let generation = (token.0 >> 32) as u32 & GENERATION_MASK;
        match token.0 >> 54 {
            0 => Subject::Listener(slot as usize),
            1 => Subject::Pending(PendingId { slot, generation }),
            _ => Subject::Connection(ConnectionId {
                slot: ConnectionSlot::from_u32(slot),
                generation,
            }),
        }
    }
}

/// Whether two generations are equal in the bits that a token keeps.
pub(super) fn same_generation(one: u32, other: u32) -> bool {
    one & GENERATION_MASK == other & GENERATION_MASK
}

const GENERATION_MASK: u32 = ConnectionId::GENERATIONS - 1;
const _: () = assert!(ConnectionId::GENERATIONS == 1 << 22, "what a token has room for");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_survive_the_ring() {
        let pending = PendingId {
            slot: u32::MAX,
            generation: GENERATION_MASK,
        };
        let id = ConnectionId {
            slot: ConnectionSlot::from_u32(7),
            generation: 3,
        };
        for subject in [
            Subject::Listener(2),
            Subject::Pending(pending),
            Subject::Connection(id),
        ] {
            assert_eq!(Subject::of(subject.token()), subject);
            assert!(subject.token().0 < 1 << 56);
        }
    }
}
