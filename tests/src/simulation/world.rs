//! The world of one seed: shards, sockets, clients, the model beside them, and the schedule.
//!
//! Invariants: none.

use std::collections::VecDeque;
use std::sync::Arc;

use broker::limits;
use broker::limits::Watermarks;
use broker::logic::{ShardCounters, Timestamp, shard_counters};
use broker::settings::Settings;
use broker::turn::TurnStep;
use fastrand::Rng;
use mqtt::Packet;
use mqtt::packet::Publish;

use super::Ran;
use super::client::Client;
use super::clock::ClockProfile;
use super::connection::{Place, SimulatedConnection};
use super::profile::{Fault, Options, Profile, chance};
use super::store::SimulatedStore;
use super::turn::{Queues, SimulatedShard, index_of, new_queues, new_shards};
use crate::model::{Bounds, Checked, Marks, Model};

/// Everything that one seed runs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    /// What decides how long work takes.
    pub(super) clock: Rng,
    pub(super) profile: Profile,
    steps: u32,
    pub(super) fault: Option<Fault>,
    pub(super) step: u64,
    pub(super) now: Timestamp,
    pub(super) shards: Vec<SimulatedShard>,
    pub(super) counters: Arc<[ShardCounters]>,
    pub(super) settings: Arc<Settings>,
    pub(super) store: Option<SimulatedStore>,
    pub(super) queues: Queues,
    pub(super) connections: Vec<SimulatedConnection>,
    pub(super) clients: Vec<Client>,
    pub(super) model: Model,
    /// Something happened since it was last set to false.
    pub(super) moved: bool,
    /// A session may have ended since the work of a turn was last looked at.
    pub(super) ended_session: bool,
    /// Everybody is fast now.
    pub(super) quiescing: bool,
    pub(super) ran: Ran,
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options, traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let profile = Profile::draw(&mut rng, options);
        let mut profile = if options.stored {
            profile.with_store(&mut Rng::with_seed(!seed))
        } else {
            profile
        };
        let mut clock = Rng::with_seed(seed.rotate_left(32));
        if options.timed {
            profile.clock = ClockProfile::draw(&mut clock);
        }
        let counters = shard_counters(index_of(profile.shards));
        let settings = Arc::new(Settings {
            sys_interval_s: 0,
            inflight_messages_max: profile.inflight_messages_max,
            queued_messages_max: profile.queued_messages_max as u64,
            client_output: profile.client_output,
            shard_output: profile.shard_output,
            work: profile.work,
            loaded_queue: profile.store.map_or(limits::LOADED_QUEUE, |store| store.loaded),
            hash_seed: seed,
            ..Settings::default()
        });
        let shards = new_shards(profile.shards, &settings, &counters);
        let store = profile.store.map(|_| SimulatedStore::new(seed, profile.shards));
        let bounds = Bounds {
            inflight_messages_max: profile.inflight_messages_max,
            queued_messages_max: profile.queued_messages_max,
            client_output: marks_of(profile.client_output),
            shard_output: marks_of(profile.shard_output),
            grace_ns: limits::GRACE_NS + 2 * limits::TIMER_STEP_NS,
            is_stored: options.stored,
        };
        Self {
            steps: options.steps,
            fault: options.fault,
            step: 0,
            now: Timestamp(1_000_000_000),
            counters,
            settings,
            store,
            queues: new_queues(profile.shards),
            connections: Vec::new(),
            clients: (0..profile.clients)
                .map(|number| Client::new(&format!("c{number}")))
                .collect(),
            model: Model::new(profile.shards, bounds),
            moved: false,
            ended_session: false,
            quiescing: false,
            ran: Ran::default(),
            trace: traced.then(|| vec![format!("{profile:?}")]),
            shards,
            rng,
            clock,
            profile,
        }
    }

    /// Runs the schedule, then lets everything come to rest and looks at what is left.
    pub(super) fn run(&mut self) -> Checked<Ran> {
        self.start()?;
        for _ in 0..self.steps {
            self.step += 1;
            self.do_something()?;
            self.complete_answers();
        }
        self.finish()?;
        Ok(self.ran)
    }

    pub(super) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// Writes a line into the trace, if there is one.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.step, line()));
        }
    }

    fn do_something(&mut self) -> Checked {
        if chance(&mut self.rng, self.profile.jumps) {
            self.jump();
        }
        if let Some(store) = self.profile.store {
            self.use_store(store)?;
            let drawn = self.rng.u32(0..1000);
            if drawn < store.crashes {
                return self.crash();
            }
            if drawn < store.crashes + store.stops {
                return self.stop();
            }
        }
        let client = self.rng.usize(0..self.clients.len());
        if self.profile.calm {
            self.act(client)?;
            return self.quiesce();
        }
        match self.rng.u32(0..100) {
            0..=49 => {
                let from = self.rng.usize(0..self.shards.len());
                let has_work = |&shard: &usize| self.has_work(shard);
                match (from..self.shards.len()).chain(0..from).find(has_work) {
                    Some(shard) => self.run_some(shard),
                    None => self.act(client),
                }
            }
            50..=74 => self.act(client),
            _ => {
                let has_bytes = |&client: &usize| {
                    let connection = self.clients[client].connection;
                    connection.is_some_and(|number| !self.connections[number].down.is_empty())
                };
                let behind = (client..self.clients.len()).chain(0..client).find(has_bytes);
                self.read(behind.unwrap_or(client))
            }
        }
    }

    /// Whether a turn of a shard would do anything: the ring wakes it.
    fn has_work(&self, shard: usize) -> bool {
        let turning = &self.shards[shard];
        let mut connections = turning.pending.iter().chain(&turning.connections);
        let has_completion = |&number: &usize| {
            let connection = &self.connections[number];
            let arrived = !connection.up.is_empty() || connection.ended.is_some();
            let sends = connection.is_sending && connection.room() > 0;
            (arrived && !connection.paused) || sends
        };
        turning.turn.step() != TurnStep::Wait
            || turning.now != self.now
            || turning.has_unfinished()
            || turning.is_blocked(self.shards.len())
            || turning.turn.has_arrivals()
            || turning.logic.has_walks()
            || self.store_wakes(shard)
            || self.queues.iter().any(|from| !from[shard].is_empty())
            || connections.any(has_completion)
    }

    /// A shard does a step, or what is left of its turn.
    fn run_some(&mut self, shard: usize) -> Checked {
        let whole = match self.profile.slow_shard {
            Some(slow) if slow != shard => true,
            Some(_) if !chance(&mut self.rng, SLOW_PERCENT) => return Ok(()),
            Some(_) => false,
            None => chance(&mut self.rng, self.profile.whole_turns),
        };
        if whole {
            self.run_turn(shard)
        } else {
            self.run_steps(shard)
        }
    }

    /// Whether all that shards sent one another has arrived, and no turn goes on.
    pub(super) fn is_exchanged(&self) -> bool {
        let shards = self.shards.len();
        let at_rest = |shard: &SimulatedShard| {
            shard.turn.step() == TurnStep::Wait
                && !shard.is_blocked(shards)
                && !shard.turn.has_arrivals()
                && shard.take_overs.is_empty()
                && !shard.logic.has_walks()
        };
        self.queues.iter().flatten().all(VecDeque::is_empty) && self.shards.iter().all(at_rest)
    }

    /// The model learns that what SUBSCRIBEs asked for has been sent; whether it learned something.
    pub(super) fn complete_answers(&mut self) -> bool {
        let complete = self.model.awaits_retained() && self.is_exchanged();
        if complete {
            self.model.retained_answered();
        }
        complete
    }

    /// Runs everybody until nothing happens any more.
    pub(super) fn quiesce(&mut self) -> Checked {
        for _ in 0..ROUNDS_MAX {
            self.step += 1;
            self.moved = false;
            for shard in 0..self.shards.len() {
                self.run_turn(shard)?;
            }
            for client in 0..self.clients.len() {
                self.read_all(client)?;
            }
            self.moved |= self.complete_answers();
            self.moved |= self.step_store()?;
            let between = self
                .shards
                .iter()
                .any(|shard| shard.turn.step() != TurnStep::Wait);
            if !self.moved && !between {
                return Ok(());
            }
        }
        Err("it does not come to rest".to_owned())
    }

    /// Compares what the logic of a shard has written since the last time with the model.
    pub(super) fn observe(&mut self, shard: usize) -> Checked {
        for at in 0..self.shards[shard].connections.len() {
            let number = self.shards[shard].connections[at];
            self.observe_connection(shard, number)?;
        }
        self.observe_pauses(shard)?;
        self.check_bounds(shard)
    }

    /// Whom the logic wants to be read no more, or again.
    pub(super) fn observe_pauses(&mut self, shard: usize) -> Checked {
        let now = self.shards[shard].now.0;
        for (id, paused) in self.shards[shard].logic.flow_mut().take_receive_changes() {
            let is_it = |&&number: &&usize| self.connections[number].place == Place::Owned(id);
            if let Some(&number) = self.shards[shard].connections.iter().find(is_it) {
                let connection = &mut self.connections[number];
                connection.paused = paused;
                self.model.set_paused(connection.model, paused, now)?;
                self.ran.pauses += u64::from(paused);
                let change = if paused { "pauses" } else { "resumes" };
                self.note(|| format!("shard {shard} {change} connection {number}"));
            }
        }
        Ok(())
    }

    /// No queue is longer than the settings and what its publishers had on the way allow; nobody waits here.
    fn check_bounds(&self, shard: usize) -> Checked {
        let longest = self.shards[shard].logic.clients().longest_queue();
        if longest
            > self.profile.queued_messages_max as u64
                + limits::QUEUE_OVERRUN_BYTES / limits::QUEUED_MESSAGE_BYTES
        {
            return Err(format!("a queue of {longest} messages in shard {shard}"));
        }
        Ok(())
    }

    fn observe_connection(&mut self, shard: usize, number: usize) -> Checked {
        let connection = &mut self.connections[number];
        let Place::Owned(id) = connection.place else {
            return Ok(());
        };
        let turning = &mut self.shards[shard];
        let now = turning.now.0;
        let out = turning.logic.delivery().out(id);
        // What waited for a slow client may be given up.
        connection.observed = connection.observed.min(out.len());
        while connection.observed < out.len() {
            let unseen = &out[connection.observed..];
            let frame = mqtt::frame::split(unseen, limits::PACKET_BYTES_MAX)
                .map_err(|error| error.to_string())?
                .ok_or("the broker wrote half a packet")?;
            let version = connection.version;
            let packet = mqtt::decode::packet(&frame, version).map_err(|error| error.to_string())?;
            connection.observed += frame.wire_bytes;
            if let Some(trace) = &mut self.trace {
                trace.push(format!(
                    "{} to connection {number}: {}",
                    self.step,
                    describe(&packet)
                ));
            }
            let resolved = match &packet {
                Packet::Publish(publish) => connection.aliases.resolve(publish)?,
                _ => None,
            };
            let packet = match (packet, &resolved) {
                (Packet::Publish(publish), Some((topic, properties))) => Packet::Publish(Publish {
                    topic,
                    properties: properties.as_properties(),
                    ..publish
                }),
                (packet, _) => packet,
            };
            let delivery = self.model.observe(connection.model, &packet, now);
            let delivery = delivery.map_err(|what| format!("connection {number}: {what}"))?;
            if matches!(packet, Packet::Publish(_)) {
                connection.entries.extend(delivery);
            }
        }
        self.model.set_waiting(connection.model, connection.waiting());
        let closed = self.model.is_closed(connection.model);
        if turning.logic.clients().closing(id) != closed {
            let why = turning.logic.clients().why_closing(id).unwrap_or("nothing");
            return Err(format!(
                "connection {number}: closing is not {closed} as it should be, because of {why}"
            ));
        }
        Ok(())
    }
}

/// Percent of the chances to do a step that a slow shard takes.
const SLOW_PERCENT: u32 = 25;

/// Rounds after which whatever goes on would go on for ever.
const ROUNDS_MAX: usize = 10_000;

/// Watermarks as the model has them.
fn marks_of(marks: Watermarks) -> Marks {
    let Watermarks { high, low, cap } = marks;
    Marks { high, low, cap }
}

/// A packet of the broker in a line.
fn describe(packet: &Packet<'_>) -> String {
    let Packet::Publish(publish) = packet else {
        return format!("{packet:?}");
    };
    let identifier = publish.packet_identifier.map_or(0, |identifier| identifier.get());
    let payload = String::from_utf8_lossy(publish.payload);
    let flag = |set: bool, name: &'static str| if set { name } else { "" };
    format!(
        "PUBLISH {identifier} {:?} on {} {:?}{}{} {:?}",
        payload.trim_end_matches('.'),
        publish.topic,
        publish.qos,
        flag(publish.retain, " retained"),
        flag(publish.dup, " again"),
        publish.properties
    )
}
