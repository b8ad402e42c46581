//! The identity of a session in the store.
//!
//! Invariants: a position in the order of a session's messages is assigned once. A session that ends with its
//! connection is in the store only while a part of its queue is only there.

use super::Session;

impl Session {
    /// Whether it is in the store. One that ends with its connection may be there too, as long as its queue is.
    #[inline]
    pub(in crate::logic) fn is_stored(&self) -> bool {
        self.number > 0
    }

    /// Its number in the store; 0 if it is not stored.
    #[inline]
    pub(in crate::logic) fn number(&self) -> u64 {
        self.number
    }

    /// Sets its number in the store.
    pub(in crate::logic) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// It is removed from the store; returns the number that it had there.
    pub(in crate::logic) fn take_number(&mut self) -> u64 {
        std::mem::take(&mut self.number)
    }

    /// Whether its messages are kept until they are acknowledged, in memory or in a store.
    #[inline]
    pub(in crate::logic) fn keeps_messages(&self) -> bool {
        self.outlives_connection() || self.is_stored()
    }

    /// The position of the next message in the order of the session's messages; 0 if the session is not stored.
    #[inline]
    pub(in crate::logic) fn next_order(&mut self) -> u64 {
        self.orders += u64::from(self.number > 0);
        self.orders
    }

    /// A message with that position existed before the process began.
    pub(in crate::logic) fn set_order(&mut self, order: u64) {
        self.orders = self.orders.max(order);
    }
}
