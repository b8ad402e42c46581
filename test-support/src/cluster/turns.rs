//! The turns of a cluster's shards: what each step does without sockets.
//!
//! Invariant: a step is done when the shard's [`Turn`] requests it. While batches are delayed, a push pushes nothing
//! and counts as done, unlike in a real shard, so that clients are answered.

use broker::logic::{ConnectionId, Shard, Timestamp};
use broker::turn::{Outcome, Turn, TurnStep};

use super::{Cluster, Connected};

impl Cluster {
    /// Runs a turn of a shard; returns whether anything moved.
    pub(super) fn turn(&mut self, index: usize) -> bool {
        let mut moved = false;
        while let Some(step) = self.turns.get(index).map(Turn::step) {
            let outcome = self.take_step(index, step, &mut moved);
            if let Some(turn) = self.turns.get_mut(index)
                && turn.advance(outcome) == TurnStep::Wait
            {
                break;
            }
        }
        moved
    }

    fn take_step(&mut self, index: usize, step: TurnStep, moved: &mut bool) -> Outcome {
        let now = self.now;
        let Some(shard) = self.shards.get_mut(index) else {
            return Outcome::Done;
        };
        match step {
            TurnStep::Take { from, messages_max } => return self.take_from(index, from, messages_max, moved),
            TurnStep::Handle => {
                self.take_sent(index, moved);
                self.take_unread(index, moved);
            }
            TurnStep::RunTimers => {
                *moved |= shard.has_walks();
                shard.tick(now);
            }
            TurnStep::Push => {
                shard.submit_records();
                self.push(index, moved);
            }
            TurnStep::Flush => {
                self.flush(index, moved);
                self.take_unread(index, moved);
            }
            TurnStep::ChangeReceiving => drop(shard.flow_mut().take_receive_changes()),
            // Connections are opened in the shard of their session, and closed when they are flushed.
            TurnStep::Wait => self.begin_turn(index),
            // Its pushes are never blocked.
            TurnStep::Adopt | TurnStep::FlushIndependent | TurnStep::Close => {}
        }
        Outcome::Done
    }

    fn take_from(&mut self, index: usize, from: u16, messages_max: u32, moved: &mut bool) -> Outcome {
        let now = self.now;
        let queue = self
            .on_the_way
            .get_mut(index)
            .and_then(|queues| queues.get_mut(usize::from(from)));
        let (Some(queue), Some(shard)) = (queue, self.shards.get_mut(index)) else {
            return Outcome::Done;
        };
        let waiting = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        for left in (0..waiting.min(messages_max)).rev() {
            let Some(batch) = queue.pop_front() else { break };
            *moved = true;
            shard.receive_batch(now, from, &batch);
            shard.outboxes_mut().recycle(batch);
            if shard.flow().turn_is_full() {
                return Outcome::Full { left };
            }
        }
        Outcome::Done
    }

    fn push(&mut self, index: usize, moved: &mut bool) {
        let Some(shard) = self.shards.get_mut(index).filter(|_| !self.delays_batches) else {
            return;
        };
        for (to, queues) in (0_u16..).zip(&mut self.on_the_way) {
            if let Some(queue) = queues.get_mut(index) {
                let waiting = queue.len();
                queue.extend(shard.take_batches(to));
                *moved |= queue.len() > waiting;
            }
        }
    }

    fn flush(&mut self, index: usize, moved: &mut bool) {
        let Some(shard) = self.shards.get_mut(index) else {
            return;
        };
        for id in shard.take_dirty() {
            *moved = true;
            let mut clients = self.clients.iter_mut();
            let connected = clients.find(|client| client.shard == index && client.id == Some(id));
            flush_one(shard, self.now, id, connected);
        }
    }

    /// Clients read what waits for them.
    fn take_unread(&mut self, index: usize, moved: &mut bool) {
        let is_read =
            |client: &&mut Connected| client.shard == index && client.reads && !client.unread.is_empty();
        for connected in self.clients.iter_mut().filter(is_read) {
            *moved = true;
            connected.received.append(&mut connected.unread);
            let shard = self.shards.get_mut(index).filter(|_| !connected.closed);
            if let (Some(shard), Some(id)) = (shard, connected.id) {
                shard.flushed(self.now, id, 0);
            }
        }
    }
}

fn flush_one(shard: &mut Shard, now: Timestamp, id: ConnectionId, connected: Option<&mut Connected>) {
    let Some(connected) = connected else { return };
    connected.unread.append(shard.delivery().out(id));
    if shard.clients().closing(id) {
        connected.closed = true;
        connected.received.append(&mut connected.unread);
        shard.lost(now, id);
    } else if !connected.reads {
        shard.flushed(now, id, connected.unread.len());
    }
}
