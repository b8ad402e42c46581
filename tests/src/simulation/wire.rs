//! Bytes between sockets and logic, as the broker's shell moves them.
//!
//! Invariants: none.

use broker::limits;
use broker::logic::ConnectionId;
use broker::turn::Outcome;

use super::connection::Place;
use super::profile::Fault;
use super::turn::SimulatedShard;
use super::world::World;
use crate::model::{Checked, Moment, Packet};

impl World {
    /// Hands bytes to the logic, and the packets that end in them to the model. A call ends with a CONNECT and with an
    /// acknowledgement, so that the model sees what the logic wrote in between.
    pub(super) fn feed(&mut self, number: usize, bytes: usize) -> Checked {
        let Place::Owned(id) = self.connections[number].place else {
            return Ok(());
        };
        let (shard, mut left) = (self.connections[number].owner, bytes);
        let now = self.shards[shard].now;
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
            self.receive(shard, id, &chunk)?;
            let logic = &self.shards[shard].logic;
            // By DISCONNECT, or as the broker refuses what the client sent.
            self.ended_session |= logic.clients().closing(id);
            self.charge_time(shard);
            self.observe(shard)?;
        }
        self.shards[shard].logic.work().end_share();
        Ok(())
    }

    /// Hands bytes to the logic. The model has handled them: what costs more than its share goes on in one of its own.
    fn receive(&mut self, shard: usize, id: ConnectionId, bytes: &[u8]) -> Checked {
        let (now, share) = (self.shards[shard].now, self.profile.work.share);
        let mut taken = self.shards[shard].logic.receive(now, id, bytes);
        loop {
            let logic = &mut self.shards[shard].logic;
            if taken == bytes.len() && !logic.clients().is_unfinished(id) {
                return Ok(());
            }
            if !logic.work().is_meager() && !logic.work().is_spent() {
                return Err(format!("{taken} of {} bytes are taken", bytes.len()));
            }
            logic.work().extend_turn(share);
            logic.work().begin_share(share, 0);
            self.note_waiting(shard);
            self.observe_pauses(shard)?;
            let logic = &mut self.shards[shard].logic;
            taken += logic.receive(now, id, &bytes[taken..]);
        }
    }

    /// The model learns how many bytes wait for each connection, before it looks at them.
    fn note_waiting(&mut self, shard: usize) {
        let SimulatedShard {
            logic, connections, ..
        } = &mut self.shards[shard];
        for &number in &*connections {
            let connection = &self.connections[number];
            if let Place::Owned(id) = connection.place {
                let waiting = connection.unsent + logic.delivery().out(id).len();
                self.model.set_waiting(connection.model, waiting);
            }
        }
    }

    /// The socket takes what the ring held back.
    pub(super) fn complete_send(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let Place::Owned(id) = connection.place else {
            return Ok(());
        };
        if !connection.is_sending {
            return Ok(());
        }
        let sent = connection.room().min(connection.wire.len());
        connection.down.extend(connection.wire.drain(..sent));
        self.moved |= sent > 0;
        if connection.wire.is_empty() {
            let now = self.shards[shard].now;
            connection.is_sending = false;
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

    /// Gives output to the sockets. It may have no time for some connections; those for whom an earlier one had none
    /// have their turn at any time.
    pub(super) fn flush(&mut self, shard: usize) -> Checked<Outcome> {
        let (mut first, mut last) = self.take_delayed(shard);
        let unflushed = std::mem::take(&mut self.shards[shard].unflushed);
        first.extend(unflushed.iter().filter(|number| !last.contains(number)));
        self.flush_all(shard, first)?;
        self.model.begin_flush(shard);
        let mut dirty = Vec::new();
        self.shards[shard].logic.swap_dirty(&mut dirty);
        for id in dirty {
            let is_it = |&number: &usize| self.connections[number].place == Place::Owned(id);
            let number = self.shards[shard].connections.iter().copied().find(is_it);
            last.extend(number.filter(|number| !last.contains(number)));
        }
        self.flush_all(shard, last)?;
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
        for number in std::mem::take(&mut self.shards[shard].delayed) {
            if self.depends_on_batches(shard, number) || self.flush_is_over() {
                self.flush_later(shard, number);
            } else {
                self.flush_connection(shard, number)?;
            }
        }
        self.observe(shard)?;
        Ok(Outcome::Done)
    }

    /// Whether a delayed connection was written to since, so that it waits for the other shards too.
    fn depends_on_batches(&self, shard: usize, number: usize) -> bool {
        let connection = &self.connections[number];
        let Place::Owned(id) = connection.place else {
            return false;
        };
        connection.wire.is_empty()
            && self.shards[shard].logic.clients().output_depends_on_batches(id)
            && self.fault != Some(Fault::FlushesDelayedWhileBlocked)
    }

    /// The connections that were delayed: those that come before all others, and those that come later.
    fn take_delayed(&mut self, shard: usize) -> (Vec<usize>, Vec<usize>) {
        let delayed = std::mem::take(&mut self.shards[shard].delayed);
        delayed.into_iter().partition(|_| self.clock.bool())
    }

    fn flush_all(&mut self, shard: usize, numbers: Vec<usize>) -> Checked {
        for number in numbers {
            if self.flush_is_over() {
                self.flush_later(shard, number);
            } else {
                self.flush_connection(shard, number)?;
            }
        }
        Ok(())
    }

    fn flush_connection(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let Place::Owned(id) = connection.place else {
            return Ok(());
        };
        if connection.is_sending {
            return Ok(());
        }
        let turning = &mut self.shards[shard];
        let is_rest = !connection.wire.is_empty();
        if !is_rest {
            connection.wire = std::mem::take(turning.logic.delivery().out(id));
            connection.observed = 0;
        }
        let wire = &mut connection.wire;
        self.moved |= !wire.is_empty();
        let piece = wire.len().min(self.profile.clock.sent_at_once_bytes);
        let taken = piece.min(connection.down_max.saturating_sub(connection.down.len()));
        connection.down.extend(wire.drain(..taken));
        let (is_out, closing) = (wire.is_empty(), turning.logic.clients().closing(id));
        if is_out && closing && !is_rest {
            return self.close(shard, number);
        }
        if closing {
            let until = turning.now.0 + limits::LINGER_NS_MAX;
            connection.linger_until.get_or_insert(until);
        }
        connection.is_sending = taken < piece;
        connection.unsent = connection.wire.len();
        self.model.flushed(connection.model, connection.waiting());
        turning.logic.flushed(turning.now, id, connection.unsent);
        if taken == piece && (is_rest || !is_out) {
            // Others have their turn first; behind the rest comes what was written since.
            self.flush_later(shard, number);
        }
        self.observe(shard)
    }

    /// A connection has its turn in a later flush.
    fn flush_later(&mut self, shard: usize, number: usize) {
        self.moved = true;
        let delayed = &mut self.shards[shard].delayed;
        if !delayed.contains(&number) {
            delayed.push(number);
        }
    }

    pub(super) fn close(&mut self, shard: usize, number: usize) -> Checked {
        let Place::Owned(id) = self.connections[number].place else {
            return Ok(());
        };
        self.remove(shard, number);
        self.model.gone(self.connections[number].model);
        self.note(|| format!("shard {shard} closes connection {number}"));
        let turning = &mut self.shards[shard];
        turning.logic.lost(turning.now, id);
        self.observe(shard)
    }

    /// Whoever has an idle socket, and is not to be flushed later, has got all that is owed.
    fn check_idle(&mut self, shard: usize) -> Checked {
        let delayed = &self.shards[shard].delayed;
        let connections = self.shards[shard].connections.iter();
        for &number in connections.filter(|number| !delayed.contains(number)) {
            let connection = &self.connections[number];
            let Place::Owned(id) = connection.place else {
                continue;
            };
            let logic = &self.shards[shard].logic;
            let idle = connection.waiting() == 0
                && logic.clients().connected(id)
                && !logic.clients().waits_for_store(id);
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
