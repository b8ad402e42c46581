//! Turns that do a limited amount of work, as those of the broker.
//!
//! Invariant: with [`Cluster::bound_work`] what a client has sent is handled in its shard's `Handle`, a share for each
//! waiting client; without it everything is handled at once.

use broker::limits;
use broker::logic::{ConnectionId, Shard, Timestamp};

use super::{Client, Cluster, Connected};

impl Cluster {
    /// From now on turns do a limited amount of work.
    pub fn bound_work(&mut self) {
        self.bounds_work = true;
    }

    /// The largest amount of work in a turn since work is limited.
    #[must_use]
    pub fn most_work(&self) -> u64 {
        self.most_work
    }

    /// The client sends bytes that are handled when turns are run.
    pub fn queue(&mut self, client: Client, bytes: &[u8]) {
        if let Some(connected) = self.clients.get_mut(client.0) {
            connected.sent.extend_from_slice(bytes);
        }
    }

    /// Whether something that a client has sent is not completely handled.
    #[must_use]
    pub fn is_waiting(&self, client: Client) -> bool {
        let connected = self.clients.get(client.0);
        let is_unfinished = |connected: &Connected| {
            let shard = self.shards.get(connected.shard);
            let unfinished = shard
                .zip(connected.id)
                .is_some_and(|(shard, id)| shard.clients().is_unfinished(id));
            !connected.sent.is_empty() || unfinished
        };
        connected.is_some_and(is_unfinished)
    }

    /// Each shard runs one turn.
    pub fn take_turns(&mut self) {
        for index in 0..self.shards.len() {
            self.turn(index);
        }
    }

    /// The shard of a client, the client's connection there, and the time; `None` if the client has not connected.
    pub fn shard_with(&mut self, client: Client) -> Option<(&mut Shard, ConnectionId, Timestamp)> {
        let connected = self.clients.get(client.0)?;
        Some((self.shards.get_mut(connected.shard)?, connected.id?, self.now))
    }

    pub(super) fn begin_turn(&mut self, index: usize) {
        if let Some(shard) = self.shards.get_mut(index).filter(|_| self.bounds_work) {
            self.most_work = self.most_work.max(shard.work().spent_in_turn());
            shard.begin_turn();
        }
    }

    /// A share of work for what each client has sent.
    pub(super) fn take_sent(&mut self, index: usize, moved: &mut bool) {
        let now = self.now;
        let Some(shard) = self.shards.get_mut(index).filter(|_| self.bounds_work) else {
            return;
        };
        shard.work().extend_turn(limits::WORK.turn);
        for connected in self.clients.iter_mut().filter(|client| client.shard == index) {
            let Some(id) = connected.id.filter(|_| !connected.closed) else {
                continue;
            };
            if connected.sent.is_empty() && !shard.clients().is_unfinished(id) {
                continue;
            }
            *moved = true;
            shard.work().begin_share(limits::WORK.share, limits::WORK.quiet);
            let end = connected.sent.len().min(READ_BYTES);
            let taken = shard.receive(now, id, connected.sent.get(..end).unwrap_or_default());
            connected.sent.drain(..taken);
            shard.work().end_share();
        }
    }
}

/// Largest number of bytes of one read.
const READ_BYTES: usize = 16 * 1024;
