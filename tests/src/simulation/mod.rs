//! A whole broker without a machine: several shards, their queues, sockets, clients and a clock in one thread, under a
//! scheduler that draws everything from one seed.
//!
//! `profile.rs` and `draw.rs` are what a seed draws, `world.rs` and `finish.rs` its run and its end. Clients:
//! `client.rs`, `reading.rs`, `gossip.rs`, `alias.rs`, `bytes.rs`. The shell: `turn.rs`, `wire.rs`, `connection.rs`,
//! `takeover.rs`. The time that work takes: `clock.rs`. The disk: `store.rs`, `crash.rs`, `stop.rs`.
//!
//! Invariants: nothing but the seed and the options decides what happens, so a seed replays. The order of a shard's
//! turn is the broker's own ([`broker::turn`]), and other shards run between its steps. Everything that the logic
//! writes is compared with the [`crate::model`] at once.

mod alias;
mod bytes;
mod client;
mod clock;
mod connection;
mod crash;
mod draw;
mod finish;
mod gossip;
mod profile;
mod reading;
mod stop;
mod store;
mod takeover;
mod turn;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::profile::{Fault, Options};
use self::world::World;

/// What a seed did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ran {
    /// Messages that clients published.
    pub published: u64,
    /// Messages that clients received.
    pub received: u64,
    /// Connections that clients made.
    pub connections: u64,
    /// How often all ended and started again.
    pub crashes: u64,
    /// How often it ended in order and started again.
    pub stops: u64,
    /// Connections that were paused.
    pub pauses: u64,
    /// Connections that ended as slow clients held more than half of a shard's cap.
    pub disconnected: u64,
}

/// What went wrong, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed that failed.
    pub seed: u64,
    /// What was wrong, as the check that failed describes it.
    pub what: String,
    /// The last events before it.
    pub trace: Vec<String>,
    /// The command that replays it.
    pub replay: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = self.trace.len().saturating_sub(TRACE_LINES);
        for line in &self.trace[from..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        write!(f, "replay: {}", self.replay)
    }
}

/// Lines of a trace that a failure shows.
const TRACE_LINES: usize = 60;

/// Runs one seed.
///
/// # Errors
/// When the broker did what it must not.
pub fn run(seed: u64, options: &Options) -> Result<Ran, Box<Failure>> {
    run_quietly(seed, options).map_err(|what| {
        let mut world = World::new(seed, options, true);
        let again = run_world(&mut world, options);
        debug_assert!(again.is_err(), "seed {seed} fails once and then does not");
        Box::new(Failure {
            seed,
            what,
            trace: world.take_trace(),
            replay: options.command(seed),
        })
    })
}

/// Runs one seed and returns its whole trace.
#[must_use]
pub fn trace(seed: u64, options: &Options) -> Vec<String> {
    let mut world = World::new(seed, options, true);
    let ended = run_world(&mut world, options);
    let mut trace = world.take_trace();
    trace.push(ended.map_or_else(|what| what, |ran| format!("{ran:?}")));
    trace
}

fn run_quietly(seed: u64, options: &Options) -> Result<Ran, String> {
    run_world(&mut World::new(seed, options, false), options)
}

/// Runs a world. Where the shell has a fault, the logic may notice it first: in a state that cannot be, it panics.
fn run_world(world: &mut World, options: &Options) -> Result<Ran, String> {
    if options.fault.is_none() {
        return world.run();
    }
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    ended.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().copied();
        let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(format!(
            "the logic panicked: {}",
            what.unwrap_or("without a word")
        ))
    })
}
