//! The closed loop's window: messages of a publisher that not all of its subscribers have received.
//!
//! Invariants: a publisher never has more than `size` messages under way, so each has a counter of its own; a counter
//! is set before the message leaves and counts its subscribers down. What breaks them: counting a duplicate down (the
//! ledger tells it apart), or a lost message, after which the window stands still until [`Outstanding::give_up`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The part that the publisher's and its subscribers' threads share.
#[derive(Debug)]
pub struct DeliveryWindow {
    /// A power of two of counters, so that they stay apart when sequences wrap.
    remaining: Box<[AtomicU32]>,
    size: u32,
    listeners: u32,
    /// Whether the publisher has been told of room and has not looked yet.
    announced: AtomicBool,
}

impl DeliveryWindow {
    /// A window of `size` messages for a publisher that `listeners` subscribers hear.
    pub fn new(size: u32, listeners: u32) -> DeliveryWindow {
        let remaining = (0..size.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        DeliveryWindow {
            remaining,
            size,
            listeners,
            announced: AtomicBool::new(false),
        }
    }

    /// A subscriber received the message `sequence` for the first time. True if that makes room and the publisher
    /// has to be told.
    #[inline]
    pub fn received(&self, sequence: u32) -> bool {
        let Some(remaining) = self.counter(sequence) else {
            return false;
        };
        remaining.fetch_sub(1, Ordering::AcqRel) == 1 && !self.announced.swap(true, Ordering::AcqRel)
    }

    fn counter(&self, sequence: u32) -> Option<&AtomicU32> {
        self.remaining.get(sequence as usize & (self.remaining.len() - 1))
    }

    fn is_received(&self, sequence: u32) -> bool {
        self.counter(sequence)
            .is_none_or(|remaining| remaining.load(Ordering::Acquire) == 0)
    }
}

/// The publisher's own view: the messages `oldest..next` are under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outstanding {
    oldest: u32,
    next: u32,
}

impl Outstanding {
    /// How many messages may leave now. Clears the announcement first, so that room made later is announced anew.
    pub fn room(&mut self, window: &DeliveryWindow) -> u32 {
        window.announced.store(false, Ordering::Release);
        while self.oldest != self.next && window.is_received(self.oldest) {
            self.oldest = self.oldest.wrapping_add(1);
        }
        window.size.saturating_sub(self.next.wrapping_sub(self.oldest))
    }

    /// A message is about to leave.
    #[inline]
    pub fn leave(&mut self, window: &DeliveryWindow) {
        if let Some(remaining) = window.counter(self.next) {
            remaining.store(window.listeners, Ordering::Release);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Takes everything under way for lost, and says how many messages that is.
    pub fn give_up(&mut self) -> u32 {
        let lost = self.next.wrapping_sub(self.oldest);
        self.oldest = self.next;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_when_every_listener_has_the_oldest_message() {
        let window = DeliveryWindow::new(2, 2);
        let mut outstanding = Outstanding::default();
        assert_eq!(outstanding.room(&window), 2);
        outstanding.leave(&window);
        outstanding.leave(&window);
        assert_eq!(outstanding.room(&window), 0);
        assert!(!window.received(1), "one of two listeners");
        assert!(window.received(1), "the second: told");
        assert_eq!(outstanding.room(&window), 0, "the oldest is still under way");
        assert!(!window.received(0));
        assert!(
            window.received(0),
            "told again, because the publisher has looked since"
        );
        assert_eq!(outstanding.room(&window), 2);
    }

    #[test]
    fn a_publisher_is_told_once_until_it_looks() {
        let window = DeliveryWindow::new(3, 1);
        let mut outstanding = Outstanding::default();
        (0..3).for_each(|_| outstanding.leave(&window));
        assert_eq!([window.received(0), window.received(1)], [true, false]);
        assert_eq!(outstanding.room(&window), 2);
        assert!(window.received(2));
    }

    #[test]
    fn giving_up_empties_the_window() {
        let window = DeliveryWindow::new(3, 1);
        let mut outstanding = Outstanding::default();
        (0..3).for_each(|_| outstanding.leave(&window));
        assert!(window.received(0));
        assert_eq!(outstanding.room(&window), 1);
        assert_eq!(outstanding.give_up(), 2);
        assert_eq!(outstanding.room(&window), 3);
    }
}
