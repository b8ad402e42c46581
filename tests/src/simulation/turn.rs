//! The turn of a shard, as the broker's shell takes it, in phases between which other shards run.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use broker::auth::Verdict;
use broker::logic::{Batch, Peer, Shard, Timestamp};
use broker::settings::ListenerId;

use super::connection::Place;
use super::profile::{Fault, chance};
use super::world::World;
use crate::model::{Checked, Moment};

/// What comes next in a shard's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The completions are fixed.
    Wait,
    /// What the shard of that number sent is taken in. When all were looked at and connections have come, it is done once
    /// more before they are adopted.
    Drain {
        /// From which shard.
        from: usize,
        /// For the second time.
        again: bool,
    },
    /// Completions are handled.
    Handle,
    /// Timers run, batches are pushed.
    Push,
    /// Connections are flushed.
    Flush,
    /// Batches are pushed after the flush, by a shell with that fault.
    PushLate,
}

/// A shard with its shell.
#[derive(Debug)]
pub(super) struct SimulatedShard {
    pub(super) logic: Shard,
    pub(super) phase: Phase,
    /// The time of this turn, and the step at which its completions were fixed.
    pub(super) now: Timestamp,
    pub(super) waited_at: u64,
    /// Connections accepted here whose CONNECT has not come whole.
    pub(super) greetings: Vec<usize>,
    /// Connections at home here.
    pub(super) connections: Vec<usize>,
    handoffs: Vec<usize>,
    /// Connections that came home; those that are adopted in this turn.
    pub(super) arrived: Vec<usize>,
    adopts: Vec<usize>,
    pub(super) unflushed: Vec<usize>,
}

impl SimulatedShard {
    pub(super) fn new(logic: Shard) -> Self {
        Self {
            logic,
            phase: Phase::Wait,
            now: Timestamp(0),
            waited_at: 0,
            greetings: Vec::new(),
            connections: Vec::new(),
            handoffs: Vec::new(),
            arrived: Vec::new(),
            adopts: Vec::new(),
            unflushed: Vec::new(),
        }
    }

    /// Whether something waits for room in another shard's queue.
    pub(super) fn is_blocked(&self, shards: usize) -> bool {
        !self.handoffs.is_empty() || (0..shards).any(|to| self.logic.has_batch(index_of(to)))
    }
}

/// What goes from one shard to another.
#[derive(Debug)]
pub(super) enum Parcel {
    /// A batch, and how many messages its shard had published when it was made.
    Batch(Batch, u64),
    /// A connection whose home is there.
    Handoff(usize),
}

/// The queues between all pairs of shards: from, to.
pub(super) type Queues = Vec<Vec<VecDeque<Parcel>>>;

impl World {
    /// Runs the next phase of a shard.
    pub(super) fn run_phase(&mut self, shard: usize) -> Checked {
        let phase = self.shards[shard].phase;
        self.shards[shard].phase = match phase {
            Phase::Wait => {
                self.wait(shard);
                Phase::Drain {
                    from: 0,
                    again: false,
                }
            }
            Phase::Drain { from, again } => {
                self.drain(shard, from)?;
                if from + 1 < self.shards.len() {
                    Phase::Drain {
                        from: from + 1,
                        again,
                    }
                } else {
                    self.adopt_arrived(shard, again)?
                }
            }
            Phase::Handle => {
                self.handle_completions(shard)?;
                Phase::Push
            }
            Phase::Push => {
                self.run_timers(shard)?;
                if self.fault == Some(Fault::FlushesBeforePush) {
                    self.flush(shard)?;
                    Phase::PushLate
                } else if self.push(shard) || self.fault == Some(Fault::FlushesWhileBlocked) {
                    Phase::Flush
                } else {
                    Phase::Wait
                }
            }
            Phase::PushLate => {
                self.push(shard);
                Phase::Wait
            }
            Phase::Flush => {
                self.flush(shard)?;
                Phase::Wait
            }
        };
        Ok(())
    }

    /// Runs what is left of a shard's turn.
    pub(super) fn run_turn(&mut self, shard: usize) -> Checked {
        loop {
            self.run_phase(shard)?;
            if self.shards[shard].phase == Phase::Wait {
                return Ok(());
            }
        }
    }

    fn wait(&mut self, shard: usize) {
        let turning = &mut self.shards[shard];
        turning.now = self.now;
        turning.waited_at = self.step;
        for &number in turning.greetings.iter().chain(&turning.connections) {
            let connection = &mut self.connections[number];
            let paused = matches!(connection.place, Place::Home(id) if turning.logic.receive_paused(id));
            let there = if paused { 0 } else { connection.up.len() };
            let all = self.settling || there < 2 || chance(&mut self.rng, 60);
            connection.ready = if all { there } else { self.rng.usize(1..=there) };
            connection.end_is_ready =
                connection.ended.is_some() && connection.ready == connection.up.len() && !paused;
        }
    }

    fn drain(&mut self, shard: usize, from: usize) -> Checked {
        while let Some(parcel) = self.queues[from][shard].pop_front() {
            self.moved = true;
            match parcel {
                Parcel::Batch(batch, published) => {
                    let hit = self.fault.is_some() && chance(&mut self.rng, 20);
                    let turning = &mut self.shards[shard];
                    let now = turning.now;
                    self.model.arrive(from, shard, published, now.0);
                    if !(hit && self.fault == Some(Fault::LosesBatches)) {
                        turning.logic.receive_batch(now, index_of(from), &batch);
                    }
                    if hit && self.fault == Some(Fault::RepeatsBatches) {
                        turning.logic.receive_batch(now, index_of(from), &batch);
                    }
                    self.shards[from].logic.recycle_batch(batch);
                    self.note(|| format!("shard {shard} takes a batch of {from} (up to {published})"));
                    self.observe(shard)?;
                }
                Parcel::Handoff(number) if self.fault == Some(Fault::AdoptsAtOnce) => self.adopt(number)?,
                Parcel::Handoff(number) => self.shards[shard].arrived.push(number),
            }
        }
        Ok(())
    }

    /// All queues were looked at: adopts those who were there the time before, or looks at the queues once more.
    fn adopt_arrived(&mut self, shard: usize, again: bool) -> Checked<Phase> {
        let turning = &mut self.shards[shard];
        if !again {
            turning.adopts = std::mem::take(&mut turning.arrived);
            if !turning.adopts.is_empty() {
                return Ok(Phase::Drain { from: 0, again: true });
            }
        }
        for number in std::mem::take(&mut turning.adopts) {
            self.adopt(number)?;
        }
        Ok(Phase::Handle)
    }

    /// A connection comes home, with the bytes that were read until now.
    fn adopt(&mut self, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let home = connection.home;
        let turning = &mut self.shards[home];
        let peer = Peer {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
            listener: ListenerId(0),
            tls: false,
            assigned_client_identifier: None,
            certificate_identity: None,
            verdict: Verdict::Unproved,
            authenticated: None,
        };
        connection.place = Place::Home(turning.logic.open(turning.now, peer));
        connection.model = self.model.open(home, turning.now.0);
        turning.connections.push(number);
        self.note(|| format!("shard {home} adopts connection {number}"));
        let unread = self.connections[number].ready;
        self.feed(number, unread)
    }

    fn handle_completions(&mut self, shard: usize) -> Checked {
        for number in self.shards[shard].greetings.clone() {
            self.greet(shard, number)?;
        }
        let mut connections = self.shards[shard].connections.clone();
        self.rng.shuffle(&mut connections);
        for number in connections {
            self.complete_send(shard, number)?;
            let ready = self.connections[number].ready;
            self.feed(number, ready)?;
            let connection = &self.connections[number];
            if connection.end_is_ready
                && connection.up.is_empty()
                && let Place::Home(id) = connection.place
            {
                self.lose(shard, number, id)?;
            }
        }
        Ok(())
    }

    /// The CONNECT, once it is whole, says where the connection's home is.
    fn greet(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let whole = connection
            .packets
            .front()
            .is_some_and(|packet| packet.end <= connection.read + connection.ready as u64);
        if whole {
            self.shards[shard].greetings.retain(|&other| other != number);
            if connection.home == shard {
                return self.adopt(number);
            }
            connection.place = Place::Handoff;
            self.shards[shard].handoffs.push(number);
        } else if connection.end_is_ready {
            connection.place = Place::Gone;
            self.shards[shard].greetings.retain(|&other| other != number);
        }
        Ok(())
    }
    pub(super) fn remove(&mut self, shard: usize, number: usize) {
        self.moved = true;
        self.connections[number].place = Place::Gone;
        self.shards[shard].connections.retain(|&other| other != number);
    }

    fn run_timers(&mut self, shard: usize) -> Checked {
        let now = self.shards[shard].now;
        for number in self.shards[shard].connections.clone() {
            if self.connections[number]
                .linger_until
                .is_some_and(|until| until <= now.0)
            {
                self.close(shard, number)?;
            }
        }
        let at = Moment {
            now: now.0,
            cause: self.shards[shard].waited_at,
        };
        self.excuse(shard, now);
        self.model.tick(shard, at);
        if self.fault != Some(Fault::NeverTicks) {
            self.shards[shard].logic.tick(now);
        }
        self.observe(shard)
    }

    /// Those that the broker did not read from are not to blame for their silence.
    fn excuse(&mut self, shard: usize, now: Timestamp) {
        for &number in &self.shards[shard].connections {
            let connection = &self.connections[number];
            if matches!(connection.place, Place::Home(id) if self.shards[shard].logic.is_excused(id)) {
                self.model.received(connection.model, now.0);
            }
        }
    }

    /// Pushes what fits; false if something does not.
    fn push(&mut self, shard: usize) -> bool {
        let published = self.model.published(shard);
        let turning = &mut self.shards[shard];
        turning.logic.take_receive_changes();
        for to in (0..self.queues.len()).filter(|&to| to != shard) {
            let queue = &mut self.queues[shard][to];
            while queue.len() < self.profile.parcels_max {
                if let Some(batch) = turning.logic.take_batch(index_of(to)) {
                    queue.push_back(Parcel::Batch(batch, published));
                } else {
                    let is_for = |&&number: &&usize| self.connections[number].home == to;
                    let Some(&number) = turning.handoffs.iter().find(is_for) else {
                        break;
                    };
                    turning.handoffs.retain(|&other| other != number);
                    queue.push_back(Parcel::Handoff(number));
                }
                self.moved = true;
            }
        }
        !turning.is_blocked(self.queues.len())
    }
}

/// A shard's number as the logic has it.
pub(super) fn index_of(shard: usize) -> u16 {
    u16::try_from(shard).unwrap_or(u16::MAX)
}
