//! The store of a broker: opened before a listener, closed after the last shard.
//!
//! [`Persisted::open`] recovers the state (`recovered.rs`), routes anew the messages that a shard had not taken
//! (`reroute.rs`), and gives each shard its handle and its state; [`Persisted::close`] makes the rest durable.
//!
//! `folder.rs` checks the folder for `--test-config`; `progress.rs` reports the progress of a recovery.
//!
//! Invariants: no shard appends anything before the records of the recovery itself are submitted. Records that cannot
//! be used are counted and reported in one line, and the broker starts with the rest.

mod folder;
mod progress;
mod recovered;
mod reroute;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use store::{Log, Options, Recovered, RecoveredSession, ShardLog, StorageThread, StoreError};
use transport::clock::monotonic_ns;

pub(crate) use self::folder::{check_folder, find_damage};
use self::progress::ProgressReport;
use crate::config::{Durability, Persistence};
use crate::limits;
use crate::logic::Shard;
use crate::logic::recover::{RecoveredState, is_shared};
use crate::logic::store::WallClock;
use crate::time::Timestamp;

/// A store that shards write to.
#[derive(Debug)]
pub(crate) struct Persisted {
    thread: StorageThread,
    state: Option<Arc<RecoveredState>>,
    wall: WallClock,
}

/// The part of the store for one shard.
#[derive(Debug)]
pub struct ShardPersistence {
    /// The shard's end of the log.
    pub log: ShardLog,
    /// The state of all shards.
    pub state: Arc<RecoveredState>,
    /// The wall clock that corresponds to the monotonic one.
    pub wall: WallClock,
}

impl Persisted {
    /// Opens the store, and recovers its state. `wake` wakes a shard for which something has become durable.
    ///
    /// # Errors
    /// The store cannot be used at all.
    pub(crate) fn open(
        persistence: &Persistence,
        shards: u16,
        upgrades_qos: bool,
        wake: impl Fn(u16) + Send + 'static,
    ) -> Result<Self, StoreError> {
        if let Some(warning) = older_file_warning(persistence) {
            tracing::warn!("{warning}");
        }
        let began = Instant::now();
        let wall_now = SystemTime::now();
        let wall = WallClock::new(Timestamp(monotonic_ns()), wall_now);
        let wall_ms = wall.wall_ns(Timestamp(monotonic_ns())) / 1_000_000;
        let options = Options {
            durability: match persistence.durability {
                Durability::Sync => store::Durability::Sync,
                Durability::Interval(milliseconds) => {
                    store::Durability::Interval(Duration::from_millis(milliseconds.get().into()))
                }
                Durability::None => store::Durability::None,
            },
            shards,
            started_ms: wall_ms,
            size_max: persistence.size_max,
            waiting_max: limits::LOADED_QUEUE.away_messages,
            is_shared,
            ..Options::default()
        };
        let mut progress = ProgressReport::new();
        let mut report = |read| progress.report(read);
        let (mut log, recovered) =
            store::open_reporting(&persistence.folder, &options, Box::new(wake), &mut report)?;
        if let Some(warning) = folder::damage_warning(persistence, &recovered.damage) {
            tracing::error!("{warning}");
        }
        let (state, routed) = restore(&mut log, recovered, wall, wall_ms, upgrades_qos)?;
        let waiting = |session: &RecoveredSession| {
            let on_disk: u64 = session.rest.iter().map(|range| range.messages).sum();
            session.references.len() as u64 + on_disk
        };
        tracing::info!(
            "Recovered {} sessions, {} messages for them and {} retained messages from {} in {} ms; {routed} messages \
             were routed anew.",
            state.sessions.len(),
            state.sessions.iter().map(waiting).sum::<u64>(),
            state.retained.len(),
            persistence.folder.display(),
            began.elapsed().as_millis()
        );
        Ok(Self {
            thread: log.start()?,
            state: Some(Arc::new(state)),
            wall,
        })
    }

    /// The part for a shard.
    pub(crate) fn shard(&self, shard: u16) -> ShardPersistence {
        ShardPersistence {
            log: self.thread.shard(shard),
            state: self.state.clone().unwrap_or_default(),
            wall: self.wall,
        }
    }

    /// All shards have their state: the memory of the recovered state is theirs only.
    pub(crate) fn forget_state(&mut self) {
        self.state = None;
    }

    /// A handle for readers of the store's figures.
    pub(crate) fn watch(&self) -> ShardLog {
        self.thread.shard(0)
    }

    /// Makes all that was submitted durable.
    ///
    /// # Errors
    /// The store has failed.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.thread.close()
    }
}

impl ShardPersistence {
    /// Opens the store of a shard's logic, and gives it its part of the state; returns how many records were not
    /// valid.
    pub fn give_to(self, logic: &mut Shard, now: Timestamp) -> u64 {
        let Self { log, state, wall } = self;
        logic.open_store(Box::new(log), wall, state.first);
        logic.recover(now, &state)
    }
}

/// The recovered state of a log, in the form for the shards: messages that a shard had not taken are routed anew.
/// Returns their number too.
///
/// # Errors
/// The store cannot continue.
pub fn restore(
    log: &mut Log,
    recovered: Recovered,
    wall: WallClock,
    wall_ms: u64,
    upgrades_qos: bool,
) -> Result<(RecoveredState, usize), StoreError> {
    let (mut state, unrouted) = recovered::state_of(recovered, wall, wall_ms);
    append_routed(log, &mut state, &unrouted, upgrades_qos)?;
    Ok((state, unrouted.len()))
}

/// Gives the messages that a shard had not taken to their sessions, and makes that durable.
fn append_routed(
    log: &mut Log,
    state: &mut RecoveredState,
    unrouted: &[reroute::UnroutedPublication],
    upgrades_qos: bool,
) -> Result<(), StoreError> {
    if unrouted.is_empty() {
        return Ok(());
    }
    let mut own = log.shard(0);
    reroute::route(state, unrouted, upgrades_qos, |record| own.append(record));
    own.submit();
    while log.step()? {}
    Ok(())
}

/// A file of mosquitto beside a store that does not exist yet is not read automatically.
pub(crate) fn older_file_warning(persistence: &Persistence) -> Option<String> {
    let file = persistence.location.join(&persistence.file);
    (file.is_file() && !persistence.folder.exists()).then(|| {
        format!(
            "{file} is a file of mosquitto: it is left unchanged, and its sessions and messages are not \
            imported; fix: stop the broker, move {folder} away, and run `broker import {file}`",
            file = file.display(),
            folder = persistence.folder.display()
        )
    })
}
