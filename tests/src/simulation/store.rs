//! The store under the shards: the product's log on a simulated disk, which gets on at moments that are drawn.
//!
//! Invariants: the log is stepped in this thread alone, so a seed decides what is durable when; what the logic appends,
//! and what a start takes back, goes through the product's own code.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use broker::logic::Timestamp;
use broker::logic::recover::{RecoveredState, is_shared};
use broker::logic::store::WallClock;
use broker::persistence::{ShardPersistence, restore};
use store::simulated::{Fault, SimulatedDisk};
use store::{Durability, Log, Options, ReadMessage, ReadRequest, Wanted};

use super::connection::Place;
use super::crash::kept_of;
use super::profile::{StoreProfile, chance};
use super::turn::index_of;
use super::world::World;
use crate::model::{Checked, Kept};

/// A disk, and the log on it.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) disk: SimulatedDisk,
    pub(super) log: Option<Log>,
    /// Shards for which something has become durable.
    woken: Arc<[AtomicBool]>,
    pub(super) wall: WallClock,
}

impl SimulatedStore {
    pub(super) fn new(seed: u64, shards: usize) -> Self {
        Self {
            disk: SimulatedDisk::new(seed),
            log: None,
            woken: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            wall: WallClock::new(Timestamp(0), UNIX_EPOCH + Duration::from_secs(1_000_000)),
        }
    }
}

impl World {
    /// The shards begin with what the disk has, which is returned.
    pub(super) fn start(&mut self) -> Checked<Kept> {
        let (Some(store), Some(profile)) = (&mut self.store, self.profile.store) else {
            return Ok(Kept::default());
        };
        let shards = index_of(self.shards.len());
        let wall_ms = store.wall.wall_ns(self.now) / 1_000_000;
        let options = Options {
            durability: Durability::Sync,
            shards,
            started_ms: wall_ms,
            size_max: None,
            waiting_max: profile.loaded.away_messages,
            is_shared,
            segment_size: profile.segment_size,
        };
        let woken = Arc::clone(&store.woken);
        let wake = move |shard: u16| woken[usize::from(shard)].store(true, Ordering::Relaxed);
        let opened = store::open_with(store.disk.layer(), &options, Box::new(wake));
        let (mut log, recovered) = opened.map_err(|error| format!("the store does not open: {error}"))?;
        if !recovered.damage.is_none() {
            return Err(format!("{}", recovered.damage));
        }
        let restored = restore(&mut log, recovered, store.wall, wall_ms, false);
        let (state, _) = restored.map_err(|error| format!("the store does not go on: {error}"))?;
        let (state, wall) = (Arc::new(state), store.wall);
        for (shard, simulated) in (0..shards).zip(&mut self.shards) {
            let persistence = ShardPersistence {
                log: log.shard(shard),
                state: Arc::clone(&state),
                wall,
            };
            let senseless = persistence.give_to(&mut simulated.logic, self.now);
            if senseless > 0 {
                return Err(format!("{senseless} records make no sense to shard {shard}"));
            }
        }
        let unread = read_rest(&mut log, &state)?;
        store.log = Some(log);
        kept_of(&state, &unread, wall)
    }

    /// What goes wrong with the disk now and then, before the machine or the program ends.
    pub(super) fn fail_in_the_middle(&mut self) {
        let operations = self.rng.u64(1..40);
        if let Some(store) = &mut self.store {
            store.disk.fail_after(operations, Fault::Stop);
            if let Some(log) = &mut store.log {
                // It is over with either way.
                let _ended = log.step();
            }
        }
    }

    /// The disk gets on, or not.
    pub(super) fn use_store(&mut self, profile: StoreProfile) -> Checked {
        if !chance(&mut self.rng, profile.writes) {
            return Ok(());
        }
        if chance(&mut self.rng, IDLE_PERCENT) {
            let log = self.store.as_mut().and_then(|store| store.log.as_mut());
            return log.map_or(Ok(()), |log| log.idle().map_err(|error| error.to_string()));
        }
        self.step_store().map(drop)
    }

    /// All that was handed over becomes durable; whether there was anything.
    pub(super) fn step_store(&mut self) -> Checked<bool> {
        let Some(log) = self.store.as_mut().and_then(|store| store.log.as_mut()) else {
            return Ok(false);
        };
        let worked = log.step().map_err(|error| error.to_string())?;
        if worked {
            self.note(|| "the disk has all that was handed over".to_owned());
        }
        Ok(worked)
    }

    /// Whether a shard has a turn because of the store: something became durable, or is to be handed over.
    pub(super) fn store_wakes(&self, shard: usize) -> bool {
        let is_woken = |store: &SimulatedStore| store.woken[shard].load(Ordering::Relaxed);
        let hands_over = || self.shards[shard].logic.next_deadline() == Some(Timestamp(0));
        self.store
            .as_ref()
            .is_some_and(|store| is_woken(store) || hands_over())
    }

    /// Whether anything that was written to a client waits for the disk.
    pub(super) fn waits_for_store(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.any(|connection| match connection.place {
            Place::Owned(id) => self.shards[connection.owner].logic.clients().waits_for_store(id),
            _ => false,
        })
    }

    /// The shard's turn begins: what became durable is looked at in it.
    pub(super) fn take_wake(&mut self, shard: usize) {
        if let Some(store) = &self.store {
            store.woken[shard].store(false, Ordering::Relaxed);
        }
    }
}

/// The messages that a start does not read, by their sessions.
fn read_rest(log: &mut Log, state: &RecoveredState) -> Checked<HashMap<u64, Vec<ReadMessage>>> {
    let mut reader = log.shard(0);
    let ranges = state
        .sessions
        .iter()
        .flat_map(|session| session.rest.iter().map(|range| (session.number, range)));
    for (session, range) in ranges {
        reader.read_back(ReadRequest {
            session,
            tag: 0,
            wanted: Wanted::First,
            from: range.from,
            to: range.to,
            messages_max: usize::MAX,
            bytes_max: usize::MAX,
        });
    }
    log.step().map_err(|error| error.to_string())?;
    let mut unread: HashMap<u64, Vec<ReadMessage>> = HashMap::new();
    for answer in reader.take_read_back() {
        let of_session = unread.entry(answer.request.session).or_default();
        of_session.extend(answer.messages);
    }
    Ok(unread)
}

/// Percent of the disk's moments in which the log is brought into order.
const IDLE_PERCENT: u32 = 20;
