//! Parcels between shards: taken before completions, pushed before the flush.

use std::io;

use transport::ring::Token;

use super::ShardLoop;
use super::links::Parcel;
use crate::turn::Outcome;

impl ShardLoop {
    /// Takes what another shard has sent. What comes while this goes on waits, or a busy sender would keep this shard for
    /// ever; and it stops when much was written, as one batch may go to thousands of subscribers.
    pub(super) fn take_from(&mut self, from: u16, messages_max: usize) -> Outcome {
        let waiting = self.links.waiting(self.index, from).min(messages_max);
        for left in (0..waiting).rev() {
            match self.links.pop(self.index, from) {
                Some(Parcel::Batch(batch)) => {
                    self.logic.receive_batch(self.now, from, &batch);
                    self.links.give_back(self.index, from, batch);
                }
                Some(Parcel::Handoff(handoff)) => self.turn.arrived(handoff),
                None => return Outcome::Done,
            }
            if self.logic.turn_is_full() {
                return Outcome::Full { left };
            }
        }
        Outcome::Done
    }

    pub(super) fn adopt_arrived(&mut self) {
        for handoff in self.turn.take_adoptable() {
            self.adopt(*handoff);
        }
    }

    /// Pushes what is for other shards and wakes who sleeps. What does not fit stays with the logic, which stops reading
    /// from those who fill it.
    pub(super) fn push_parcels(&mut self) -> io::Result<Outcome> {
        let mut woken = false;
        let mut all = true;
        for to in self.others() {
            let (pushed, left) = self.push_to(to);
            all &= !left;
            if pushed && let Some(ring) = self.links.wake_needed(to) {
                self.ring.wake(ring, Token(u64::from(to)));
                woken = true;
            }
        }
        if woken {
            self.ring.submit()?;
        }
        Ok(if all { Outcome::Done } else { Outcome::Blocked })
    }

    /// Whether something waits for room in another shard's queue.
    pub(super) fn is_blocked(&self) -> bool {
        self.others()
            .any(|to| self.logic.has_batch(to) || self.handoffs.iter().any(|(home, _)| *home == to))
    }

    /// Pushes what is for one shard; says whether anything was, and whether anything is left.
    fn push_to(&mut self, to: u16) -> (bool, bool) {
        while let Some(batch) = self.links.take_back(self.index, to) {
            self.logic.recycle_batch(batch);
        }
        let mut pushed = false;
        while self.links.has_room(self.index, to) {
            let Some(parcel) = self.next_parcel(to) else {
                return (pushed, false);
            };
            // There is room, and nobody else pushes into this queue.
            let _ = self.links.push(self.index, to, parcel);
            pushed = true;
        }
        (pushed, true)
    }

    fn next_parcel(&mut self, to: u16) -> Option<Parcel> {
        if let Some(batch) = self.logic.take_batch(to) {
            return Some(Parcel::Batch(batch));
        }
        let at = self.handoffs.iter().position(|(home, _)| *home == to)?;
        Some(Parcel::Handoff(self.handoffs.swap_remove(at).1))
    }

    pub(super) fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let me = self.index;
        (0..self.shards).filter(move |shard| *shard != me)
    }
}
