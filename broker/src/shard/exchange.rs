//! Parcels between shards: taken before completions, pushed before the flush.

use std::io;

use transport::ring::Token;

use super::ShardLoop;
use super::links::Parcel;

impl ShardLoop {
    /// Takes the batches that there are, then the connections that came before them: these bring bytes of their clients,
    /// who may know what was pushed before, into queues that had been looked at already. So the queues are looked at once
    /// more in between, and connections that come with that wait for the next turn.
    ///
    /// What they bring for clients is flushed in between when it is much: one batch may go to thousands of subscribers.
    pub(super) fn take_parcels(&mut self) -> io::Result<()> {
        self.take_queues()?;
        let arrived = std::mem::take(&mut self.arrived);
        if arrived.is_empty() {
            return Ok(());
        }
        self.take_queues()?;
        for handoff in arrived {
            self.adopt(handoff);
        }
        Ok(())
    }

    fn take_queues(&mut self) -> io::Result<()> {
        for from in self.others() {
            // What comes while this goes on waits for the next turn, or a busy sender would keep this one for ever.
            for _ in 0..self.links.waiting(self.index, from) {
                let Some(parcel) = self.links.pop(self.index, from) else {
                    break;
                };
                match parcel {
                    Parcel::Batch(batch) => {
                        self.logic.receive_batch(self.now, from, &batch);
                        self.links.give_back(self.index, from, batch);
                    }
                    Parcel::Handoff(handoff) => self.arrived.push(*handoff),
                }
                // As at the end of a turn: own parcels first.
                if self.logic.turn_is_full() && self.push_parcels()? {
                    self.flush();
                }
            }
        }
        Ok(())
    }

    /// Pushes what is for other shards and wakes who sleeps; false if a queue is full. What does not fit stays with the
    /// logic, which stops reading from those who fill it.
    pub(super) fn push_parcels(&mut self) -> io::Result<bool> {
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
        Ok(all)
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
