//! What a seed is like: how many shards and clients, how small the queues, how rude the clients.
//!
//! Each seed draws its own profile, so that some runs are calm, some have one fault often, and some all at once.
//!
//! Invariants: none.

use broker::limits;
use broker::limits::{LoadedQueue, Watermarks};
use broker::turn::WorkLimits;
use fastrand::Rng;

use super::clock::ClockProfile;

/// A shell that does not keep to its rules: the simulator must find each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Connections are flushed before batches are pushed.
    FlushesBeforePush,
    /// Connections are flushed although a batch does not fit.
    FlushesWhileBlocked,
    /// Connections that an earlier flush had no time for are flushed although a batch does not fit, whatever was
    /// written since.
    FlushesDelayedWhileBlocked,
    /// A connection that another shard transfers is adopted before all queues were taken.
    AdoptsAtOnce,
    /// A batch gets lost now and then.
    LosesBatches,
    /// A batch is handed to the logic twice now and then.
    RepeatsBatches,
    /// A shard does not look at the clock.
    NeverTicks,
    /// A newer connection takes a session over while the kernel has bytes of the older one.
    TakesOverAtOnce,
    /// Bytes are handled whatever that costs.
    NeverStops,
}

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many shards; drawn if `None`.
    pub shards: Option<usize>,
    /// Steps of the schedule.
    pub steps: u32,
    /// What is wrong with the shell.
    pub fault: Option<Fault>,
    /// With a store, a disk under it that is slow, and crashes.
    pub stored: bool,
    /// Flushes and pieces of work take time by the clock.
    pub timed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: None,
            steps: 150,
            fault: None,
            stored: false,
            timed: true,
        }
    }
}

impl Options {
    /// The command that replays a seed.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let shards = self
            .shards
            .map(|shards| format!(" --shards {shards}"))
            .unwrap_or_default();
        let stored = if self.stored { " --stored" } else { "" };
        let untimed = if self.timed { "" } else { " --untimed" };
        format!(
            "cargo run --release -p tests --bin simulate -- --seed {seed} --steps {}{shards}{stored}{untimed}",
            self.steps
        )
    }
}

/// What a seed is like.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) shards: usize,
    pub(super) clients: usize,
    /// Messages in a queue between two shards.
    pub(super) queue_messages_max: usize,
    pub(super) inflight_messages_max: u16,
    pub(super) queued_messages_max: usize,
    /// The simulation quiesces after each action of a client: what is left is a comparison with the model, packet by
    /// packet.
    pub(super) calm: bool,
    /// Percent of turns that run whole.
    pub(super) whole_turns: u32,
    /// A shard whose core is busy with other things: it does one step in the time of many turns of the others, which
    /// run whole then.
    pub(super) slow_shard: Option<usize>,
    /// A client that reads little beside its CONNACK, until all come to rest.
    pub(super) stalled_client: Option<usize>,
    /// Bytes that a client's socket takes.
    pub(super) socket_bytes: usize,
    /// Percent of acknowledgements that are held back.
    pub(super) late_acknowledgements: u32,
    /// Percent of steps that let time pass.
    pub(super) jumps: u32,
    /// Percent of clients' actions that cut the connection.
    pub(super) cuts: u32,
    /// Percent of the CONNECT packets that begin a clean session.
    pub(super) clean: u32,
    /// What may wait for a client's socket, and for all sockets of a shard.
    pub(super) client_output: Watermarks,
    pub(super) shard_output: Watermarks,
    /// Percent of clients that act on what another one did by a new connection.
    pub(super) reconnects: u32,
    /// Percent of the SUBACKs, and of the acknowledgements of retained messages, that make another client act on them
    /// at once.
    pub(super) gossip: u32,
    /// Percent of the subscriptions that are shared.
    pub(super) shared: u32,
    /// Percent of the messages of other shards, and of the completions, behind which a turn counts as full.
    pub(super) full_turns: u32,
    /// How much work a turn may hold.
    pub(super) work: WorkLimits,
    /// Percent of the actions of clients that are many packets at once.
    pub(super) bursts: u32,
    /// Whether clients send more before CONNACK.
    pub(super) pipelined: bool,
    /// Whether clients break the protocol.
    pub(super) rude: bool,
    /// How long work takes.
    pub(super) clock: ClockProfile,
    /// How the store and its disk are, if there is one.
    pub(super) store: Option<StoreProfile>,
}

/// What the store of a seed is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreProfile {
    /// Percent of the steps in which the disk gets on.
    pub(super) writes: u32,
    /// Per mille of the steps in which all ends and starts again.
    pub(super) crashes: u32,
    /// Per mille of the steps in which it ends in order and starts again.
    pub(super) stops: u32,
    /// Bytes of a segment of the log.
    pub(super) segment_size: u32,
    /// What of a queue is in memory.
    pub(super) loaded: LoadedQueue,
}

impl Profile {
    pub(super) fn draw(rng: &mut Rng, options: &Options) -> Self {
        let shards = options.shards.unwrap_or_else(|| rng.usize(1..=4));
        let small_queues = rng.u32(0..4) == 0;
        let clients = rng.usize(2..=5);
        Self {
            shards,
            clients,
            stalled_client: chance(rng, 30).then(|| rng.usize(0..clients)),
            queue_messages_max: pick(rng, &[1, 1, 2, 4, 64]),
            inflight_messages_max: pick(rng, &[1, 2, 3, 20]),
            queued_messages_max: if small_queues { rng.usize(1..4) } else { 1000 },
            calm: rng.u32(0..4) == 0,
            whole_turns: pick(rng, &[0, 50, 90]),
            slow_shard: chance(rng, 30).then(|| rng.usize(0..shards)),
            socket_bytes: pick(rng, &[10, 60, 400, 100_000]),
            late_acknowledgements: pick(rng, &[0, 30, 80]),
            jumps: pick(rng, &[0, 2, 8]),
            cuts: pick(rng, &[0, 5, 15]),
            clean: pick(rng, &[5, 40, 80]),
            client_output: pick(rng, &CLIENT_OUTPUTS),
            shard_output: pick(rng, &SHARD_OUTPUTS),
            reconnects: pick(rng, &[0, 50, 90]),
            gossip: pick(rng, &[0, 50, 100, 100]),
            shared: pick(rng, &[0, 30, 80]),
            full_turns: pick(rng, &[0, 0, 10, 50]),
            work: pick(rng, &WORKS),
            bursts: pick(rng, &[0, 0, 5, 20]),
            pipelined: rng.bool(),
            rude: rng.u32(0..4) == 0,
            clock: ClockProfile::UNTIMED,
            store: None,
        }
    }

    /// The same with a store; what it has else stays.
    pub(super) fn with_store(mut self, rng: &mut Rng) -> Self {
        // What waits for the disk is in no account of the model.
        self.client_output = limits::CLIENT_OUTPUT;
        self.shard_output = limits::SHARD_OUTPUT;
        self.store = Some(StoreProfile {
            writes: pick(rng, &[2, 10, 30, 100]),
            crashes: pick(rng, &[0, 5, 10, 30]),
            segment_size: pick(rng, &[16 << 10, 32 << 10]),
            stops: pick(rng, &[0, 0, 5, 20]),
            loaded: pick(rng, &LOADED),
        });
        self
    }
}

/// The broker's own, and some that are reached by a message or by a few.
const CLIENT_OUTPUTS: [Watermarks; 4] = [
    limits::CLIENT_OUTPUT,
    marks(1000, 500, 4000),
    marks(300, 150, 600),
    marks(60, 30, 150),
];
const SHARD_OUTPUTS: [Watermarks; 4] = [
    limits::SHARD_OUTPUT,
    marks(1500, 700, 1 << 20),
    marks(300, 100, 1 << 20),
    // A slow client or two hold more than half of it, and are disconnected.
    marks(150, 50, 320),
];

const fn marks(high: usize, low: usize, cap: usize) -> Watermarks {
    Watermarks { high, low, cap }
}

/// The broker's own, and some that are reached by a message or by a few.
const LOADED: [LoadedQueue; 4] = [
    limits::LOADED_QUEUE,
    loaded(8, 4, 3),
    loaded(3, 1, 2),
    loaded(2, 1, 1),
];

const fn loaded(messages: usize, away_messages: usize, read_messages: usize) -> LoadedQueue {
    LoadedQueue {
        messages,
        bytes: 200,
        away_messages,
        away_bytes: 100,
        low_messages: away_messages,
        read_messages,
        read_bytes: 60,
    }
}

/// The broker's own, and some that a few packets use up.
const WORKS: [WorkLimits; 4] = [limits::WORK, limits::WORK, works(60, 25), works(200, 60)];

const fn works(turn: u64, share: u64) -> WorkLimits {
    WorkLimits {
        turn,
        share,
        quiet: 8,
        // The model knows the time of what is due by the clock.
        walk: limits::WORK.walk,
    }
}

/// One of the choices.
pub(super) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())]
}

/// True in so many of a hundred cases.
pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}
