//! Bytes between sockets and logic, as the broker's shell moves them.
//!
//! Invariants: none.

use broker::limits;
use broker::logic::ConnectionId;
use broker::turn::Outcome;

use super::connection::Place;
use super::profile::Fault;
use super::world::World;
use crate::model::{Checked, Moment, Packet};

impl World {
    /// Hands bytes to the logic, and the packets that end in them to the model. A call ends with a CONNECT and with an
    /// acknowledgement, so that the model sees what the logic wrote in between.
    pub(super) fn feed(&mut self, number: usize, bytes: usize) -> Checked {
        let Place::Owned(id) = self.connections[number].place else {
            return Ok(());
        };
        let shard = self.connections[number].owner;
        let now = self.shards[shard].now;
        let mut left = bytes;
        self.connections[number].ready = 0;
        let stops = self.fault != Some(Fault::NeverStops);
        let work = self.profile.work;
        self.shards[shard]
            .logic
            .work()
            .begin_share(work.share, work.quiet);
        while left > 0 && (!self.connections[number].paused || self.connections[number].awaited) {
            if stops && self.shards[shard].logic.work().is_spent() {
                // What is left has its turn later.
                self.connections[number].ready = left;
                self.moved = true;
                break;
            }
            self.moved = true;
            let connection = &mut self.connections[number];
            let until = connection.read + left as u64;
            let mut take = left;
            let one_by_one = work != limits::WORK;
            while let Some(next) = connection.packets.front().filter(|packet| packet.end <= until) {
                let at = Moment {
                    now: now.0,
                    cause: next.step,
                };
                let (ends, end) = (one_by_one || ends_call(&next.packet), next.end);
                if let Some(trace) = &mut self.trace {
                    trace.push(format!(
                        "{} shard {shard} reads of connection {number}: {:?}",
                        self.step, next.packet
                    ));
                }
                // A part of a packet is no sign of life, as all of them are small.
                self.model.received(connection.model, now.0);
                self.model.handle(connection.model, &next.packet, at);
                connection.packets.pop_front();
                if ends {
                    take = usize::try_from(end - connection.read).unwrap_or(left);
                    break;
                }
            }
            let chunk: Vec<u8> = connection.up.drain(..take).collect();
            connection.read += take as u64;
            left -= take;
            let logic = &mut self.shards[shard].logic;
            if !stops {
                logic.work().begin_share(u64::MAX, u64::MAX);
            }
            let taken = logic.receive(now, id, &chunk);
            if taken < chunk.len() {
                return Err(format!("{taken} of {} bytes are taken", chunk.len()));
            }
            // By DISCONNECT, or as the broker refuses what the client sent.
            self.ended_session |= logic.closing(id);
            self.observe(shard)?;
        }
        self.shards[shard].logic.work().end_share();
        Ok(())
    }

    /// The socket takes what the ring held back.
    pub(super) fn complete_send(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let Place::Owned(id) = connection.place else {
            return Ok(());
        };
        if connection.wire.is_empty() {
            return Ok(());
        }
        let sent = connection.room().min(connection.wire.len());
        connection.down.extend(connection.wire.drain(..sent));
        self.moved |= sent > 0;
        if connection.wire.is_empty() {
            let now = self.shards[shard].now;
            connection.unsent = 0;
            self.model.flushed(connection.model, connection.waiting());
            self.shards[shard].unflushed.push(number);
            self.shards[shard].logic.flushed(now, id, 0);
            self.observe(shard)?;
        }
        Ok(())
    }

    pub(super) fn lose(&mut self, shard: usize, number: usize, id: ConnectionId) -> Checked {
        let connection = &mut self.connections[number];
        let at = Moment {
            now: self.shards[shard].now.0,
            cause: connection.ended.unwrap_or(self.step),
        };
        self.model.lost(connection.model, at);
        self.remove(shard, number);
        self.note(|| format!("shard {shard} loses connection {number}"));
        let turning = &mut self.shards[shard];
        turning.logic.lost(turning.now, id);
        self.observe(shard)
    }

    pub(super) fn flush(&mut self, shard: usize) -> Checked<Outcome> {
        for number in std::mem::take(&mut self.shards[shard].unflushed) {
            self.flush_connection(shard, number)?;
        }
        self.model.begin_flush(shard);
        let mut dirty = Vec::new();
        self.shards[shard].logic.swap_dirty(&mut dirty);
        for id in dirty {
            let is_it = |&number: &usize| self.connections[number].place == Place::Owned(id);
            if let Some(number) = self.shards[shard].connections.iter().copied().find(is_it) {
                self.flush_connection(shard, number)?;
            }
        }
        self.check_idle(shard)?;
        self.observe(shard)?;
        self.model.check_pauses(shard, self.shards[shard].now.0)?;
        Ok(Outcome::Done)
    }

    /// Sends what depends on no other shard.
    pub(super) fn flush_independent(&mut self, shard: usize) -> Checked<Outcome> {
        let mut independent = Vec::new();
        self.shards[shard].logic.swap_independent(&mut independent);
        for id in independent {
            let is_it = |&number: &usize| self.connections[number].place == Place::Owned(id);
            if let Some(number) = self.shards[shard].connections.iter().copied().find(is_it) {
                self.flush_connection(shard, number)?;
            }
        }
        self.observe(shard)?;
        Ok(Outcome::Done)
    }

    fn flush_connection(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let Place::Owned(id) = connection.place else {
            return Ok(());
        };
        if !connection.wire.is_empty() {
            return Ok(());
        }
        let turning = &mut self.shards[shard];
        let mut out = std::mem::take(turning.logic.out(id));
        connection.observed = 0;
        self.moved |= !out.is_empty();
        let taken = connection.room().min(out.len());
        connection.down.extend(out.drain(..taken));
        let closing = turning.logic.closing(id);
        if out.is_empty() && closing {
            return self.close(shard, number);
        }
        if closing {
            let until = turning.now.0 + limits::LINGER_NS_MAX;
            connection.linger_until.get_or_insert(until);
        }
        connection.unsent = out.len();
        self.model.flushed(connection.model, connection.waiting());
        connection.wire = out;
        turning.logic.flushed(turning.now, id, connection.unsent);
        self.observe(shard)
    }

    pub(super) fn close(&mut self, shard: usize, number: usize) -> Checked {
        let Place::Owned(id) = self.connections[number].place else {
            return Ok(());
        };
        self.remove(shard, number);
        self.model.gone(self.connections[number].model);
        self.note(|| format!("shard {shard} closes connection {number}"));
        let turning = &mut self.shards[shard];
        turning.logic.closed(turning.now, id);
        self.observe(shard)
    }

    /// Whoever has an idle socket has got all that is owed.
    fn check_idle(&mut self, shard: usize) -> Checked {
        for &number in &self.shards[shard].connections {
            let connection = &self.connections[number];
            let Place::Owned(id) = connection.place else {
                continue;
            };
            let logic = &self.shards[shard].logic;
            let idle = connection.waiting() == 0 && logic.connected(id) && !logic.waits_for_store(id);
            if idle {
                self.model
                    .check_idle(connection.model, self.shards[shard].now.0)?;
            }
        }
        Ok(())
    }
}

/// Whether the logic is to be looked at before anything behind this packet is handed to it.
fn ends_call(packet: &Packet) -> bool {
    matches!(
        packet,
        Packet::Connect(_) | Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_)
    )
}
