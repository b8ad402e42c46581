//! The tokens with which a ring names the connections of a thread.
//!
//! Invariant: a completion counts only for the connection for which it was begun, because the token has the slot's
//! generation: the number of connections that the slot had before.

use transport::ring::Token;

/// A connection of a thread: its slot, and the generation of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotToken {
    /// Index into the thread's connections.
    pub(crate) slot: usize,
    generation: u64,
}

impl SlotToken {
    /// The connection that a slot has in this generation.
    pub(crate) fn new(slot: usize, generation: u64) -> Self {
        Self {
            slot,
            generation: generation & GENERATION_MASK,
        }
    }

    /// Whether the connection is that of its slot in this generation.
    pub(crate) fn is_of(self, generation: u64) -> bool {
        self.generation == generation & GENERATION_MASK
    }
}

impl From<SlotToken> for Token {
    fn from(token: SlotToken) -> Token {
        Token(token.generation << SLOT_BITS | token.slot as u64)
    }
}

impl From<Token> for SlotToken {
    fn from(token: Token) -> SlotToken {
        SlotToken {
            slot: (token.0 & SLOT_MASK) as usize,
            generation: token.0 >> SLOT_BITS,
        }
    }
}

const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u64 = (1 << 28) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_generation_of_its_slot() {
        for generation in [0, 1, GENERATION_MASK, GENERATION_MASK + 1] {
            let token = SlotToken::new(70_000, generation);
            let back = SlotToken::from(Token::from(token));
            assert_eq!(back, token);
            assert_eq!(back.slot, 70_000);
            assert!(back.is_of(generation));
            assert!(!back.is_of(generation + 1));
        }
    }
}
