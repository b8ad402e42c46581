//! The turn of a shard: the broker's own [`Turn`] says what comes next, and other shards run between its steps.
//!
//! Invariant: a step is done when [`Turn`] names it, unless a [`Fault`] is to be found.

use std::collections::VecDeque;
use std::sync::Arc;

use broker::logic::{Batch, FirstPacket, Shard, ShardCounters, Timestamp};
use broker::settings::Settings;
use broker::turn::{Outcome, TakeOvers, Turn, TurnStep};

use super::connection::Place;
use super::profile::{Fault, chance};
use super::world::World;
use crate::model::{Checked, Moment};

/// A shard with its shell.
#[derive(Debug)]
pub(super) struct SimulatedShard {
    pub(super) logic: Shard,
    /// What comes next; the connections that it knows of are numbers.
    pub(super) turn: Turn<usize>,
    /// By a shell that flushes before it pushes: it has flushed, and the push is due.
    flushed_early: bool,
    /// The time of this turn, and the step at which its completions were fixed.
    pub(super) now: Timestamp,
    pub(super) waited_at: u64,
    /// Connections accepted here whose CONNECT has not come whole.
    pub(super) pending: Vec<usize>,
    /// Connections of sessions that this shard owns.
    pub(super) connections: Vec<usize>,
    transfers: Vec<usize>,
    /// Connections whose clients have older ones that are to be read to their end.
    pub(super) take_overs: TakeOvers<usize, usize>,
    /// Connections whose last bytes are out: more may have been written since.
    pub(super) unflushed: Vec<usize>,
    /// Connections that a later flush goes on with.
    pub(super) delayed: Vec<usize>,
    /// Connections whose stream ended, to be lost after the flush.
    ended: Vec<usize>,
    /// Units that pieces of work took by the clock in this turn, beyond what was counted for them.
    pub(super) charged: u64,
}

impl SimulatedShard {
    pub(super) fn new(logic: Shard, shard: usize, shards: usize) -> Self {
        Self {
            logic,
            turn: Turn::new(index_of(shard), index_of(shards)),
            flushed_early: false,
            now: Timestamp(0),
            waited_at: 0,
            pending: Vec::new(),
            connections: Vec::new(),
            transfers: Vec::new(),
            take_overs: TakeOvers::default(),
            unflushed: Vec::new(),
            delayed: Vec::new(),
            ended: Vec::new(),
            charged: 0,
        }
    }

    /// Whether an earlier turn had no time for something.
    pub(super) fn has_unfinished(&self) -> bool {
        !self.unflushed.is_empty() || !self.delayed.is_empty() || !self.ended.is_empty()
    }

    /// Whether something waits for room in another shard's queue.
    pub(super) fn is_blocked(&self, shards: usize) -> bool {
        !self.transfers.is_empty() || (0..shards).any(|to| self.logic.outboxes().has_batch(index_of(to)))
    }
}

/// What goes from one shard to another.
#[derive(Debug)]
pub(super) enum ShardMessage {
    /// A batch, and how many messages its shard had published when it was made.
    Batch(Batch, u64),
    /// A connection whose session that shard owns.
    Connection(usize),
}

/// The queues between all pairs of shards: from, to.
pub(super) type Queues = Vec<Vec<VecDeque<ShardMessage>>>;

impl World {
    /// Does the next step of a shard's turn.
    pub(super) fn run_step(&mut self, shard: usize) -> Checked {
        let outcome = match self.shards[shard].turn.step() {
            TurnStep::Wait => self.wait(shard),
            TurnStep::Take { from, messages_max } => {
                self.take_from(shard, usize::from(from), messages_max)?
            }
            TurnStep::Adopt => self.adopt_arrived(shard)?,
            TurnStep::Handle => self.handle_completions(shard)?,
            TurnStep::RunTimers => self.run_timers(shard)?,
            TurnStep::Push if self.fault == Some(Fault::FlushesBeforePush) => {
                if !std::mem::replace(&mut self.shards[shard].flushed_early, true) {
                    // The push is another step, between which and the flush other shards run.
                    return self.flush(shard).map(drop);
                }
                self.shards[shard].flushed_early = false;
                self.push(shard)?;
                Outcome::Blocked
            }
            TurnStep::Push => match self.push(shard)? {
                Outcome::Blocked if self.fault == Some(Fault::FlushesWhileBlocked) => Outcome::Done,
                outcome => outcome,
            },
            TurnStep::Flush => self.flush(shard)?,
            TurnStep::FlushIndependent => self.flush_independent(shard)?,
            TurnStep::Close => self.end_closed(shard)?,
            // Whom the logic pauses is not read from at once.
            TurnStep::ChangeReceiving => Outcome::Done,
        };
        self.shards[shard].turn.advance(outcome);
        Ok(())
    }

    /// Does the next step of a shard's turn, and those behind it of which nobody outside can know when they are done:
    /// shards and clients meet in `Wait`, `Take`, `Push` and `Flush` alone.
    pub(super) fn run_steps(&mut self, shard: usize) -> Checked {
        self.run_step(shard)?;
        while matches!(
            self.shards[shard].turn.step(),
            TurnStep::Handle | TurnStep::RunTimers | TurnStep::Close | TurnStep::ChangeReceiving
        ) {
            self.run_step(shard)?;
        }
        Ok(())
    }

    /// Runs what is left of a shard's turn.
    pub(super) fn run_turn(&mut self, shard: usize) -> Checked {
        loop {
            self.run_step(shard)?;
            if self.shards[shard].turn.step() == TurnStep::Wait {
                return Ok(());
            }
        }
    }

    fn wait(&mut self, shard: usize) -> Outcome {
        self.take_wake(shard);
        let turning = &mut self.shards[shard];
        turning.now = self.now;
        turning.waited_at = self.step;
        turning.logic.begin_turn();
        for &number in turning.pending.iter().chain(&turning.connections) {
            let connection = &mut self.connections[number];
            let paused = connection.paused && !connection.awaited;
            let there = if paused { 0 } else { connection.up.len() };
            let all = self.quiescing || connection.awaited || there < 2 || chance(&mut self.rng, 60);
            connection.rest_is_read = connection.awaited;
            connection.ready = if all { there } else { self.rng.usize(1..=there) };
            connection.end_is_ready =
                connection.ended.is_some() && connection.ready == connection.up.len() && !paused;
        }
        Outcome::Done
    }

    /// Whether the shell has written so much that a flush is due; now and then it has though it is little.
    fn is_full(&mut self, shard: usize) -> bool {
        let drawn = !self.quiescing && chance(&mut self.rng, self.profile.full_turns);
        drawn || self.shards[shard].logic.flow().turn_is_full()
    }

    fn take_from(&mut self, shard: usize, from: usize, messages_max: u32) -> Checked<Outcome> {
        let waiting = u32::try_from(self.queues[from][shard].len()).unwrap_or(u32::MAX);
        let waiting = waiting.min(messages_max);
        for left in (0..waiting).rev() {
            let Some(message) = self.queues[from][shard].pop_front() else {
                break;
            };
            self.moved = true;
            match message {
                ShardMessage::Batch(batch, published) => self.take_batch(shard, from, batch, published)?,
                ShardMessage::Connection(number) if self.fault == Some(Fault::AdoptsAtOnce) => {
                    self.admit(number)?
                }
                ShardMessage::Connection(number) => self.shards[shard].turn.arrived(number),
            }
            if self.is_full(shard) {
                return Ok(Outcome::Full { left });
            }
        }
        Ok(Outcome::Done)
    }

    fn take_batch(&mut self, shard: usize, from: usize, batch: Batch, published: u64) -> Checked {
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
        self.shards[from].logic.outboxes_mut().recycle(batch);
        self.note(|| format!("shard {shard} takes a batch of {from} (up to {published})"));
        self.observe(shard)
    }

    fn adopt_arrived(&mut self, shard: usize) -> Checked<Outcome> {
        for number in self.shards[shard].turn.take_adoptable() {
            self.admit(number)?;
        }
        Ok(Outcome::Done)
    }

    /// A connection comes to the shard that owns its session, with its CONNECT and the bytes behind it that were read.
    pub(super) fn adopt(&mut self, number: usize) -> Checked {
        let owner = self.connections[number].owner;
        self.note(|| format!("shard {owner} adopts connection {number}"));
        self.check_nothing_is_left(number)?;
        self.ended_session = true;
        self.moved = true;
        let now = self.shards[owner].now;
        let connection = &mut self.connections[number];
        let first = connection.packets.pop_front().ok_or("no CONNECT")?;
        let bytes = usize::try_from(first.end - connection.read).unwrap_or(usize::MAX);
        let packet: Vec<u8> = connection.up.drain(..bytes).collect();
        connection.read = first.end;
        let behind = connection.ready - bytes;
        connection.model = self.model.open(owner, now.0);
        let cause = first.step;
        self.model
            .handle(connection.model, &first.packet, Moment { now: now.0, cause });
        let FirstPacket::Connect(connect) = FirstPacket::parse(&packet) else {
            return Err(format!("connection {number} begins without CONNECT"));
        };
        let turning = &mut self.shards[owner];
        let id = turning.logic.open(now, test_support::peer(), Ok(&connect));
        connection.place = Place::Owned(id);
        turning.connections.push(number);
        self.observe(owner)?;
        self.feed(number, behind)
    }

    /// Completions in any order; those that a full turn does not come to are there in the next one.
    fn handle_completions(&mut self, shard: usize) -> Checked<Outcome> {
        let work = self.profile.work;
        self.shards[shard].logic.work().extend_turn(work.turn);
        let before = self.shards[shard].logic.work().spent_in_turn();
        self.shards[shard].charged = 0;
        for number in self.shards[shard].pending.clone() {
            if !self.turn_is_over() {
                self.read_connect(shard, number)?;
            }
        }
        let mut connections = self.shards[shard].connections.clone();
        self.rng.shuffle(&mut connections);
        for number in connections {
            if self.is_full(shard) {
                break;
            }
            self.complete_send(shard, number)?;
            let ready = self.connections[number].ready;
            self.feed(number, ready)?;
            let connection = &self.connections[number];
            if connection.end_is_ready && connection.up.is_empty() && !connection.is_gone() {
                self.shards[shard].ended.push(number);
            }
        }
        self.admit_waiting(shard)?;
        self.check_work(shard, before)?;
        Ok(Outcome::Done)
    }

    /// Loses the connections whose clients ended the stream, as their answers are out.
    fn end_closed(&mut self, shard: usize) -> Checked<Outcome> {
        for number in std::mem::take(&mut self.shards[shard].ended) {
            let awaits_flush = self.shards[shard].delayed.contains(&number);
            if awaits_flush || self.turn_is_over() {
                self.shards[shard].ended.push(number);
            } else if let Place::Owned(id) = self.connections[number].place {
                self.lose(shard, number, id)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// The CONNECT, once it is whole, says which shard owns the session.
    fn read_connect(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let whole = connection
            .packets
            .front()
            .is_some_and(|packet| packet.end <= connection.read + connection.ready as u64);
        if whole {
            self.shards[shard].pending.retain(|&other| other != number);
            if connection.owner == shard {
                return self.admit(number);
            }
            connection.place = Place::Transferred;
            self.shards[shard].transfers.push(number);
        } else if connection.end_is_ready {
            connection.place = Place::Gone;
            self.shards[shard].pending.retain(|&other| other != number);
        }
        Ok(())
    }
    pub(super) fn remove(&mut self, shard: usize, number: usize) {
        self.moved = true;
        self.connections[number].place = Place::Gone;
        self.shards[shard].connections.retain(|&other| other != number);
    }

    fn run_timers(&mut self, shard: usize) -> Checked<Outcome> {
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
        if self.fault != Some(Fault::NeverTicks) {
            self.shards[shard].logic.tick(now);
        }
        let closes = |model: usize| {
            let mut connections = self.connections.iter();
            let connection = connections.find(|connection| connection.model == model);
            let place = connection.map(|connection| connection.place);
            matches!(place, Some(Place::Owned(id)) if self.shards[shard].logic.clients().closing(id))
        };
        self.ran.disconnected += self.model.tick(shard, at, closes) as u64;
        self.observe(shard)?;
        Ok(Outcome::Done)
    }

    /// Pushes what the queues of the other shards have room for.
    fn push(&mut self, shard: usize) -> Checked<Outcome> {
        let published = self.model.published(shard);
        let turning = &mut self.shards[shard];
        turning.logic.submit_records();
        if self.store.is_some() {
            self.observe(shard)?;
        }
        let turning = &mut self.shards[shard];
        for to in (0..self.queues.len()).filter(|&to| to != shard) {
            let queue = &mut self.queues[shard][to];
            while queue.len() < self.profile.queue_messages_max {
                let is_for = |&&number: &&usize| self.connections[number].owner == to;
                let connection = turning.transfers.iter().find(is_for).copied();
                // Connections may pass batches that wait for room.
                let is_first = connection.is_some() && self.rng.bool();
                if !is_first && let Some(batch) = turning.logic.take_batch(index_of(to)) {
                    queue.push_back(ShardMessage::Batch(batch, published));
                } else {
                    let Some(number) = connection else {
                        break;
                    };
                    turning.transfers.retain(|&other| other != number);
                    queue.push_back(ShardMessage::Connection(number));
                }
                self.moved = true;
            }
        }
        Ok(if turning.is_blocked(self.queues.len()) {
            Outcome::Blocked
        } else {
            Outcome::Done
        })
    }
}

/// Shards that nobody has connected to.
pub(super) fn new_shards(
    shards: usize,
    settings: &Arc<Settings>,
    counters: &Arc<[ShardCounters]>,
) -> Vec<SimulatedShard> {
    let shard = |index| {
        let (settings, counters) = (Arc::clone(settings), Arc::clone(counters));
        let logic = Shard::new(index_of(index), index_of(shards), settings, counters);
        SimulatedShard::new(logic, index, shards)
    };
    (0..shards).map(shard).collect()
}

/// The queues between them.
pub(super) fn new_queues(shards: usize) -> Queues {
    let queues = || (0..shards).map(|_| VecDeque::new()).collect();
    (0..shards).map(|_| queues()).collect()
}

/// A shard's number as the logic has it.
pub(super) fn index_of(shard: usize) -> u16 {
    u16::try_from(shard).unwrap_or(u16::MAX)
}
