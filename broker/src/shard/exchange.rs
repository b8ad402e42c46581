//! Parcels between shards: taken before completions, pushed before the flush.

use std::io;

use super::ShardLoop;
use super::links::Parcel;

impl ShardLoop {
    pub(super) fn take_parcels(&mut self) {
        for from in self.others() {
            while let Some(parcel) = self.links.pop(self.index, from) {
                match parcel {
                    Parcel::Batch(batch) => {
                        self.logic.receive_batch(self.now, from, &batch);
                        self.links.give_back(self.index, from, batch);
                    }
                    Parcel::Handoff(handoff) => self.adopt(*handoff),
                }
            }
        }
    }

    /// Puts what the logic has for other shards behind what still waits to be pushed.
    pub(super) fn collect_parcels(&mut self) {
        for to in self.others() {
            while let Some(batch) = self.links.take_back(self.index, to) {
                self.logic.recycle_batch(batch);
            }
            let Some(parcels) = self.outgoing.get_mut(usize::from(to)) else {
                continue;
            };
            while let Some(batch) = self.logic.take_batch(to) {
                parcels.push_back(Parcel::Batch(batch));
            }
        }
    }

    fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let me = self.index;
        (0..self.outgoing.len() as u16).filter(move |shard| *shard != me)
    }

    /// Pushes all parcels in order and wakes who sleeps; false if a queue is full.
    pub(super) fn push_parcels(&mut self) -> io::Result<bool> {
        let mut woken = false;
        let mut all = true;
        for (to, parcels) in (0u16..).zip(&mut self.outgoing) {
            if parcels.is_empty() {
                continue;
            }
            while let Some(parcel) = parcels.pop_front() {
                if let Err(parcel) = self.links.push(self.index, to, parcel) {
                    parcels.push_front(parcel);
                    all = false;
                    break;
                }
            }
            if let Some(ring) = self.links.wake_needed(to) {
                self.ring.wake(ring);
                woken = true;
            }
        }
        if woken {
            self.ring.submit()?;
        }
        self.logic.set_outgoing_blocked(!all);
        Ok(all)
    }
}
