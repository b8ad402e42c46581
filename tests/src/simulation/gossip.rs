//! What one client has read makes another one act at once: the order that shards must keep shows only then.
//!
//! Invariants: none.

use broker::turn::TurnStep;
use mqtt::ProtocolVersion;

use super::draw::{FILTERS, TOPICS, draw_options};
use super::profile::{chance, pick};
use super::turn::SimulatedShard;
use super::world::World;
use crate::model::{Checked, Packet};

impl World {
    /// Another client learns of a subscription and publishes what it matches.
    pub(super) fn react_to_subscription(&mut self, client: usize, filter: &str) -> Checked {
        let Some(other) = self.another_client(client)? else {
            return Ok(());
        };
        let mut message = self.draw_message(other, self.version_of(other), false);
        let filter = match mqtt::topic::shared(filter) {
            Ok(Some(shared)) => shared.filter,
            _ => filter,
        };
        if let Some(topic) = TOPICS.iter().find(|topic| mqtt::topic::matches(filter, topic)) {
            message.topic = (*topic).to_owned();
        }
        self.publish_message(other, message)?;
        self.hurry(other)
    }

    /// Another client learns of a retained message and subscribes to it.
    pub(super) fn react_to_retained(&mut self, client: usize, topic: &str) -> Checked {
        let Some(other) = self.another_client(client)? else {
            return Ok(());
        };
        let filters: Vec<&'static str> = FILTERS
            .iter()
            .copied()
            .filter(|filter| mqtt::topic::matches(filter, topic))
            .collect();
        if filters.is_empty() {
            return Ok(());
        }
        let filter = pick(&mut self.rng, &filters);
        let v5 = self.version_of(other) == ProtocolVersion::V5;
        let options = draw_options(&mut self.rng, v5);
        let packet = Packet::Subscribe {
            packet_identifier: self.clients[other].identifier(),
            identifier: None,
            filters: vec![(filter, options)],
        };
        self.send(other, packet, false)?;
        self.hurry(other)
    }

    /// A client that may act on what another one just read: connected, or newly connecting.
    fn another_client(&mut self, client: usize) -> Checked<Option<usize>> {
        if self.quiescing || self.profile.calm || !chance(&mut self.rng, self.profile.gossip) {
            return Ok(None);
        }
        self.step += 1;
        let drawn = self.rng.usize(0..self.clients.len());
        // Rather one whose shard has looked at some of its queues and not yet at the others.
        let in_between = (drawn..self.clients.len())
            .chain(0..drawn)
            .find(|&other| other != client && self.next_queue(self.owner_of(other)).is_some());
        let other = in_between.filter(|_| self.rng.bool()).unwrap_or(drawn);
        if other == client {
            return Ok(None);
        }
        let reconnects = chance(&mut self.rng, self.profile.reconnects);
        if reconnects || self.clients[other].connection.is_none() {
            let mut request = self.draw_connect(other);
            request.clean_start = true;
            self.connect(other, request)?;
            return Ok(Some(other));
        }
        Ok(Some(other).filter(|&other| self.clients[other].connected))
    }

    /// The shard whose queue a shard looks at next, if its turn is there.
    pub(super) fn next_queue(&self, shard: usize) -> Option<usize> {
        match self.shards[shard].turn.step() {
            TurnStep::Take { from, .. } => Some(usize::from(from)),
            _ => None,
        }
    }

    /// The shards that have a client's connection turn now, or not.
    fn hurry(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection.filter(|_| self.rng.bool()) else {
            return Ok(());
        };
        let is_pending = |shard: &SimulatedShard| shard.pending.contains(&number);
        if let Some(accepted) = self.shards.iter().position(is_pending) {
            // What it reads in a turn is fixed when that begins.
            self.run_turn(accepted)?;
            self.run_turn(accepted)?;
        }
        let owner = self.connections[number].owner;
        self.run_turn(owner)?;
        self.run_turn(owner)
    }
}
