//! What a store knows of a session.
//!
//! Invariants: a place in the order of what a session gets is given out once. A session that ends with its connection
//! is in the store only while part of its queue is there alone.

use super::Session;

impl Session {
    /// Whether the store knows it. One that ends with its connection may be there too, as long as its queue is.
    #[inline]
    pub(in crate::logic) fn is_stored(&self) -> bool {
        self.number > 0
    }

    /// Its number with the store; 0 if that does not know it.
    #[inline]
    pub(in crate::logic) fn number(&self) -> u64 {
        self.number
    }

    /// The store knows it by that number.
    pub(in crate::logic) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// The store is to forget it; the number that it had there.
    pub(in crate::logic) fn take_number(&mut self) -> u64 {
        std::mem::take(&mut self.number)
    }

    /// Whether the messages that it gets are kept until they are acknowledged, in memory or in a store.
    #[inline]
    pub(in crate::logic) fn keeps_messages(&self) -> bool {
        self.outlives_connection() || self.is_stored()
    }

    /// The place of the next message in the order of what the session gets; 0 where no store knows the session.
    #[inline]
    pub(in crate::logic) fn next_order(&mut self) -> u64 {
        self.orders += u64::from(self.number > 0);
        self.orders
    }

    /// A message of that order was there before the process began.
    pub(in crate::logic) fn set_order(&mut self, order: u64) {
        self.orders = self.orders.max(order);
    }
}
