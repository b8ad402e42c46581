//! A shard's end of the queues between shards: takes batches and connections, pushes its own, and keeps connections
//! that wait for room.
//!
//! Invariant: what finds no room stays in order where it is, batches in the logic and connections here. A shard that
//! has something left is blocked: [`crate::turn`] then does not let it flush.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use transport::ring::{Ring, Token};

use super::ShardLoop;
use super::queues::{ShardMessage, ShardQueues};
use super::transfer::ConnectionTransfer;
use crate::logic::Shard;
use crate::time::Timestamp;
use crate::turn::Outcome;

/// A shard's end of the queues.
pub(super) struct QueueEnds {
    shard: u16,
    shards: u16,
    queues: Arc<ShardQueues>,
    /// Connections that wait for room in the queue to their owner, by its number.
    transfers: Vec<VecDeque<Box<ConnectionTransfer>>>,
    /// Since when batches wait for another shard, by its number; `None` while none wait.
    since: Vec<Option<Timestamp>>,
    /// The last message that was pushed was a batch, so that a connection is next if there is one.
    batch_was_last: bool,
}

impl QueueEnds {
    /// The end of one shard out of `shards`, whose ring others can wake from now on.
    pub(super) fn new(shard: u16, shards: u16, queues: Arc<ShardQueues>, ring: &Ring) -> Self {
        queues.register(shard, ring.handle(), ring.waker());
        // Changes before the registration could not wake this shard: the first turn checks them.
        queues.wake(shard);
        Self {
            shard,
            shards,
            queues,
            transfers: (0..shards).map(|_| VecDeque::new()).collect(),
            since: vec![None; usize::from(shards)],
            batch_was_last: true,
        }
    }

    pub(super) fn shard(&self) -> u16 {
        self.shard
    }

    pub(super) fn shards(&self) -> u16 {
        self.shards
    }

    /// Whether the shard may sleep: if it may, others wake it until [`Self::woke`].
    pub(super) fn may_sleep(&self) -> bool {
        self.queues.may_sleep(self.shard)
    }

    pub(super) fn woke(&self) {
        self.queues.awake(self.shard);
    }

    /// A wake through the ring has failed: wakes through the descriptor.
    pub(super) fn wake(&self, shard: u16) {
        self.queues.wake(shard);
    }

    /// A connection for the shard that owns its session; pushed at the end of the turn.
    pub(super) fn send_connection(&mut self, owner: u16, transfer: ConnectionTransfer) {
        if let Some(transfers) = self.transfers.get_mut(usize::from(owner)) {
            transfers.push_back(Box::new(transfer));
        }
    }

    /// Pushes what is for other shards and wakes those that sleep. What does not fit stays in the logic, which stops
    /// reading from the connections that fill it.
    pub(super) fn push(&mut self, now: Timestamp, logic: &mut Shard, ring: &mut Ring) -> io::Result<Outcome> {
        // Before any other shard can append what this causes.
        logic.submit_records();
        let mut woken = false;
        let mut outcome = Outcome::Done;
        for to in self.others() {
            let (pushed, left) = self.push_to(now, to, logic);
            if left {
                outcome = Outcome::Blocked;
            }
            if pushed && let Some(handle) = self.queues.wake_needed(to) {
                ring.wake(handle, Token(u64::from(to)));
                woken = true;
            }
        }
        if woken {
            ring.submit()?;
        }
        Ok(outcome)
    }

    /// Whether something waits for room in another shard's queue.
    pub(super) fn is_blocked(&self, logic: &Shard) -> bool {
        self.others().any(|to| self.waits_for(to, logic))
    }

    /// The shard sends nothing more.
    pub(super) fn leave(&self) {
        self.queues.leave(self.shard);
    }

    /// Whether no other shard sends any more, and everything that was sent has been taken.
    pub(super) fn is_quiet(&self) -> bool {
        let is_empty = |from| self.queues.waiting(self.shard, from) == 0;
        self.queues.all_left() && self.others().all(is_empty)
    }

    /// Frees the batches that other shards have emptied.
    pub(super) fn drop_spare(&self) {
        for other in self.others() {
            while self.queues.take_spare_batch(self.shard, other).is_some() {}
        }
    }

    fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let me = self.shard;
        (0..self.shards).filter(move |shard| *shard != me)
    }

    /// Pushes what is for one shard; returns whether there was anything, and whether anything is left.
    fn push_to(&mut self, now: Timestamp, to: u16, logic: &mut Shard) -> (bool, bool) {
        while let Some(batch) = self.queues.take_spare_batch(self.shard, to) {
            logic.outboxes_mut().recycle(batch);
        }
        logic
            .outboxes_mut()
            .set_cost(to, self.queues.cost(self.shard, to));
        let mut pushed = false;
        let since = self.since_of(now, to);
        while self.waits_for(to, logic) {
            if !self.queues.has_room(self.shard, to) {
                return (pushed, true);
            }
            let Some(message) = self.next_message(to, since, logic) else {
                return (pushed, false);
            };
            // There is room, and nobody else pushes into this queue.
            let _ = self.queues.push(self.shard, to, message);
            pushed = true;
        }
        if let Some(since) = self.since.get_mut(usize::from(to)) {
            *since = None;
        }
        (pushed, false)
    }

    /// When the first of the messages that now wait for a shard was received.
    fn since_of(&mut self, now: Timestamp, to: u16) -> Timestamp {
        let since = self.since.get_mut(usize::from(to));
        since.map_or(now, |since| *since.get_or_insert(now))
    }

    /// Whether something is to be pushed to a shard.
    fn waits_for(&self, to: u16, logic: &Shard) -> bool {
        let transfers = self.transfers.get(usize::from(to));
        logic.outboxes().has_batch(to) || transfers.is_some_and(|transfers| !transfers.is_empty())
    }

    /// Batches and connections take turns: neither many batches nor many connections delay the others. A connection
    /// may overtake batches, because its client cannot know of what caused them: nothing that depends on them was
    /// flushed. It does not overtake another connection, which may be an older one of its client.
    fn next_message(&mut self, to: u16, since: Timestamp, logic: &mut Shard) -> Option<ShardMessage> {
        if (self.batch_was_last || !logic.outboxes().has_batch(to))
            && let Some(transfers) = self.transfers.get_mut(usize::from(to))
            && let Some(transfer) = transfers.pop_front()
        {
            self.batch_was_last = false;
            return Some(ShardMessage::Connection(transfer));
        }
        self.batch_was_last = true;
        let mut batch = logic.take_batch(to)?;
        batch.since = since;
        Some(ShardMessage::Batch(batch))
    }
}

impl ShardLoop {
    /// Takes the messages that another shard has sent. Messages that arrive in the meantime wait for the next turn,
    /// because a busy sender would otherwise keep this shard here for ever. It stops early when much output was
    /// written, because one batch may go to thousands of subscribers.
    pub(super) fn take_from(&mut self, from: u16, messages_max: u32) -> Outcome {
        let Self {
            exchange: QueueEnds { shard, queues, .. },
            logic,
            connections,
            times,
            turn,
            now,
            ..
        } = self;
        let (shard, clock) = (*shard, &mut connections.work_clock);
        let waiting = queues.waiting(shard, from).min(messages_max as usize) as u32;
        clock.begin(logic.work());
        for left in (0..waiting).rev() {
            match queues.pop(shard, from) {
                Some(ShardMessage::Batch(batch)) => {
                    let before = logic.counters().sent_at_once();
                    let spent_before = logic.work().spent_in_turn();
                    logic.receive_batch(*now, from, &batch);
                    clock.charge(logic.work());
                    let spent = logic.work().spent_in_turn() - spent_before;
                    queues.note_cost(shard, from, batch.work(), spent);
                    times.took(&batch, &before, logic.counters());
                    queues.give_back(shard, from, batch);
                }
                Some(ShardMessage::Connection(transfer)) => turn.arrived(transfer),
                None => return Outcome::Done,
            }
            if logic.flow().turn_is_full() {
                return Outcome::Full { left };
            }
        }
        Outcome::Done
    }

    pub(super) fn adopt_arrived(&mut self) {
        self.begin_clock();
        for transfer in self.turn.take_adoptable() {
            self.admit(transfer);
            self.charge_time();
        }
    }
}
