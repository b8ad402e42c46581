//! The window of the closed loop: the messages of a publisher that some of its subscribers have not received yet.
//!
//! Invariants: a publisher never has more than `size` messages in flight, so each message has its own counter. The
//! counter is set before the message is sent, and counts its subscribers down. What breaks them: counting a duplicate
//! down (the ledger distinguishes duplicates), or a lost message, after which the window is blocked until
//! [`Outstanding::give_up`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The part that the threads of the publisher and its subscribers share.
#[derive(Debug)]
pub struct DeliveryWindow {
    /// A power of two of counters, so that they remain distinct when sequence numbers wrap.
    remaining: Box<[AtomicU32]>,
    size: u32,
    subscribers: u32,
    /// Whether the publisher has been notified of room and has not checked it yet.
    notified: AtomicBool,
}

impl DeliveryWindow {
    /// A window of `size` messages for a publisher whose messages `subscribers` receive.
    pub fn new(size: u32, subscribers: u32) -> DeliveryWindow {
        let remaining = (0..size.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        DeliveryWindow {
            remaining,
            size,
            subscribers,
            notified: AtomicBool::new(false),
        }
    }

    /// This many subscribers received the message `sequence` for the first time. True if this makes room and the
    /// publisher has to be notified.
    #[inline]
    pub fn received(&self, sequence: u32, subscribers: u32) -> bool {
        let Some(remaining) = self.counter(sequence) else {
            return false;
        };
        remaining.fetch_sub(subscribers, Ordering::AcqRel) == subscribers
            && !self.notified.swap(true, Ordering::AcqRel)
    }

    /// Whether the publisher has more than one subscriber: then a [`Tally`] is worthwhile.
    #[inline]
    pub fn has_many_subscribers(&self) -> bool {
        self.subscribers > 1
    }

    fn counter(&self, sequence: u32) -> Option<&AtomicU32> {
        self.remaining.get(sequence as usize & (self.remaining.len() - 1))
    }

    fn is_received(&self, sequence: u32) -> bool {
        self.counter(sequence)
            .is_none_or(|remaining| remaining.load(Ordering::Acquire) == 0)
    }
}

/// What the subscribers of one thread have received in a turn of its loop, so that threads access a shared counter
/// once per turn and message, and not once per delivery.
#[derive(Debug, Default)]
pub struct Tally {
    /// By publisher and sequence, as in the window; 0 between turns.
    counts: Vec<Box<[u32]>>,
    /// Publishers and sequences whose count is not 0.
    touched: Vec<(u32, u32)>,
}

impl Tally {
    /// A subscriber of this thread received the message `sequence` of `publisher` for the first time.
    #[inline]
    pub fn count(&mut self, window: &DeliveryWindow, publisher: u32, sequence: u32) {
        let place = publisher as usize;
        if self.counts.len() <= place {
            self.counts.resize_with(place + 1, Box::default);
        }
        let Some(counts) = self.counts.get_mut(place) else {
            return;
        };
        if counts.is_empty() {
            *counts = vec![0; window.remaining.len()].into();
        }
        let mask = counts.len() - 1;
        if let Some(count) = counts.get_mut(sequence as usize & mask) {
            if *count == 0 {
                self.touched.push((publisher, sequence));
            }
            *count += 1;
        }
    }

    /// Adds the counts to the windows; calls `notify` for each publisher that has to be notified of room.
    pub fn flush(&mut self, windows: &[DeliveryWindow], mut notify: impl FnMut(u32)) {
        for (publisher, sequence) in self.touched.drain(..) {
            let counts = self.counts.get_mut(publisher as usize);
            let mask = counts.as_ref().map_or(0, |counts| counts.len() - 1);
            let count = counts.and_then(|counts| counts.get_mut(sequence as usize & mask));
            if let (Some(count), Some(window)) = (count, windows.get(publisher as usize))
                && window.received(sequence, std::mem::take(count))
            {
                notify(publisher);
            }
        }
    }
}

/// The publisher's side: the messages `oldest..next` are in flight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outstanding {
    oldest: u32,
    next: u32,
}

impl Outstanding {
    /// How many messages may be sent now. Clears the notification first, so that room made later is notified again.
    pub fn room(&mut self, window: &DeliveryWindow) -> u32 {
        window.notified.store(false, Ordering::Release);
        while self.oldest != self.next && window.is_received(self.oldest) {
            self.oldest = self.oldest.wrapping_add(1);
        }
        window.size.saturating_sub(self.next.wrapping_sub(self.oldest))
    }

    /// A message is about to be sent.
    #[inline]
    pub fn publish_sent(&mut self, window: &DeliveryWindow) {
        if let Some(remaining) = window.counter(self.next) {
            remaining.store(window.subscribers, Ordering::Release);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Considers all messages in flight as lost; returns their number.
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
        outstanding.publish_sent(&window);
        outstanding.publish_sent(&window);
        assert_eq!(outstanding.room(&window), 0);
        assert!(!window.received(1, 1), "one of two subscribers");
        assert!(window.received(1, 1), "the second: notified");
        assert_eq!(outstanding.room(&window), 0, "the oldest is still under way");
        assert!(!window.received(0, 1));
        assert!(
            window.received(0, 1),
            "notified again, because the publisher has looked since"
        );
        assert_eq!(outstanding.room(&window), 2);
    }

    #[test]
    fn a_publisher_is_notified_once_until_it_looks() {
        let window = DeliveryWindow::new(3, 1);
        let mut outstanding = Outstanding::default();
        (0..3).for_each(|_| outstanding.publish_sent(&window));
        assert_eq!([window.received(0, 1), window.received(1, 1)], [true, false]);
        assert_eq!(outstanding.room(&window), 2);
        assert!(window.received(2, 1));
    }

    #[test]
    fn giving_up_empties_the_window() {
        let window = DeliveryWindow::new(3, 1);
        let mut outstanding = Outstanding::default();
        (0..3).for_each(|_| outstanding.publish_sent(&window));
        assert!(window.received(0, 1));
        assert_eq!(outstanding.room(&window), 1);
        assert_eq!(outstanding.give_up(), 2);
        assert_eq!(outstanding.room(&window), 3);
    }

    #[test]
    fn a_thread_reports_once_a_turn_what_its_subscribers_received() {
        let windows = [DeliveryWindow::new(2, 1), DeliveryWindow::new(3, 5)];
        let window = &windows[1];
        let mut outstanding = Outstanding::default();
        (0..3).for_each(|_| outstanding.publish_sent(window));
        let mut notified = Vec::new();
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for _ in 0..3 {
            one.count(window, 1, 0);
        }
        one.count(window, 1, 1);
        one.flush(&windows, |publisher| notified.push(publisher));
        other.count(window, 1, 0);
        other.count(window, 1, 0);
        assert_eq!(
            (outstanding.room(window), notified.len()),
            (0, 0),
            "not flushed yet"
        );
        other.flush(&windows, |publisher| notified.push(publisher));
        assert_eq!((outstanding.room(window), notified), (1, vec![1]));
        let again = |publisher| panic!("{publisher} is notified of what was notified already");
        one.flush(&windows, again);
        assert_eq!(outstanding.room(window), 1);
    }
}
