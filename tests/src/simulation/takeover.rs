//! A newer connection of a client waits until the older one was read to its end; and the work of a turn.
//!
//! Invariants: what the broker's shell does by its sockets is done here by [`broker::turn::TakeOvers`] too, so that the
//! simulator tests it.

use broker::limits;
use broker::turn::TakeOver;

use super::connection::Place;
use super::profile::Fault;
use super::world::World;
use crate::model::Checked;

impl World {
    /// A connection comes to the shard that owns its session.
    pub(super) fn admit(&mut self, number: usize) -> Checked {
        let connection = &self.connections[number];
        let (owner, client) = (connection.owner, connection.client);
        if self.fault == Some(Fault::TakesOverAtOnce) {
            return self.adopt(number);
        }
        self.connections[number].place = Place::Transferred;
        let older = self.connected_of(owner, client);
        let name = self.clients[client].name.clone();
        match self.shards[owner].take_overs.request_for(&name, older, number) {
            TakeOver::Adopt(number) => self.adopt(number)?,
            TakeOver::AwaitOlder => self.ask_for_rest(older),
            TakeOver::Queued => {}
        }
        Ok(())
    }

    /// Adopts the connections whose older ones were read to their end.
    pub(super) fn admit_waiting(&mut self, shard: usize) -> Checked {
        while !self.shards[shard].take_overs.is_empty() && !self.turn_is_over() {
            let (connections, logic) = (&self.connections, &self.shards[shard].logic);
            let ready: Vec<bool> = connections
                .iter()
                .map(|older| {
                    let is_open = matches!(older.place, Place::Owned(id) if logic.clients().connected(id));
                    !is_open || older.rest_is_read && older.ready == 0
                })
                .collect();
            let take_overs = &mut self.shards[shard].take_overs;
            let Some((number, older, name)) = take_overs.next_ready(|older| ready[older]) else {
                return Ok(());
            };
            self.adopt(number)?;
            if let Some(older) = older {
                self.connections[older].awaited = false;
            }
            let client = self.connections[number].client;
            let connected = self.connected_of(shard, client);
            let awaited = self.shards[shard].take_overs.connected(&name, connected);
            self.ask_for_rest(awaited);
        }
        Ok(())
    }

    fn ask_for_rest(&mut self, older: Option<usize>) {
        self.moved |= older.is_some();
        if let Some(older) = older {
            self.connections[older].awaited = true;
            self.connections[older].rest_is_read = false;
        }
    }

    /// The connection that the session of a client has.
    fn connected_of(&self, shard: usize, client: usize) -> Option<usize> {
        let is_it = |&number: &usize| {
            let connection = &self.connections[number];
            let clients = self.shards[shard].logic.clients();
            let is_open = matches!(connection.place, Place::Owned(id) if clients.connected(id));
            connection.client == client && is_open
        };
        self.shards[shard].connections.iter().copied().find(is_it)
    }

    /// A connection is adopted: the kernel has nothing of an older one of its client. One that comes late, behind a
    /// newer one, takes that over too.
    pub(super) fn check_nothing_is_left(&self, number: usize) -> Checked {
        let connection = &self.connections[number];
        let older = self.connected_of(connection.owner, connection.client);
        let older = older.filter(|&older| older < number);
        match older.map(|older| (older, self.connections[older].up.len())) {
            Some((older, bytes)) if bytes > 0 => Err(format!(
                "connection {number} takes the session over while the kernel has {bytes} bytes of connection {older}"
            )),
            _ => Ok(()),
        }
    }

    /// At most one connection of a client is connected [MQTT-3.1.4-3].
    pub(super) fn check_one_connection(&self) -> Checked {
        for client in 0..self.clients.len() {
            let connected = self.connections.iter().filter(|connection| {
                let Place::Owned(id) = connection.place else {
                    return false;
                };
                connection.client == client && self.shards[connection.owner].logic.clients().connected(id)
            });
            if connected.count() > 1 {
                return Err(format!("client {client} is connected twice"));
            }
        }
        Ok(())
    }

    /// Bytes of clients cost no more in a turn than its budget, and a piece that was begun within it. The end of a
    /// session has a bound of its own.
    pub(super) fn check_work(&mut self, shard: usize, before: u64) -> Checked {
        if std::mem::take(&mut self.ended_session) {
            return Ok(());
        }
        let work = self.profile.work;
        let spent = self.shards[shard].logic.work().spent_in_turn() - before;
        let connections = self.shards[shard].connections.len() as u64;
        let max = self.shards[shard].charged
            + work.turn
            + PIECE_MAX
            + connections * (work.quiet + limits::CONNECTION_WORK);
        if spent > max {
            return Err(format!("a turn of shard {shard} holds {spent} units of work"));
        }
        Ok(())
    }
}

/// Units of work of the packet that costs most here.
const PIECE_MAX: u64 = 120;
