//! The log that keeps what was acknowledged: sessions, subscriptions, messages, retained messages.
//!
//! ```text
//! shard: append(record), submit() ──► queue ──► storage thread: one commit of all batches that are there
//!        durable() ◄── number of the last batch that is on the disk ◄── written, applied to the index
//! ```
//!
//! [`open`] recovers the content of a folder; [`Log::shard`] creates the handles of the shards, [`Log::start`] the
//! thread. `record/` has what is stored, `format/` its layout on the disk, `index/` which of it is live, `engine/`
//! writes and recovers, `files/` is everything that accesses the system; `inspect.rs` reads a store to which others
//! may write.
//!
//! The other files: `log.rs`, `storage_thread.rs` and `shard_log.rs` are the two ends, `gathering.rs` is the time
//! during which the thread waits for more; `options.rs`, `counters.rs`, `recovered.rs`, `progress.rs`, `read_back.rs`
//! and `error.rs` have what goes in and comes out, `bytes.rs` and `block.rs` numbers and memory.
//!
//! Invariants: all shards append to one log, so there is one order: when a record is durable, everything that was
//! submitted before it is durable. After a crash a batch exists as a whole or not at all. What was reported as durable
//! still exists after the process was killed and after a power cut.

mod block;
mod bytes;
mod counters;
mod engine;
mod error;
mod files;
mod format;
mod gathering;
mod index;
mod inspect;
mod log;
mod options;
mod progress;
mod read_back;
mod record;
mod recovered;
mod shard_log;
mod storage_thread;

pub use counters::Statistics;
pub use error::StoreError;
pub use files::{FileLayer, StoreFile, WriteWay, simulated};
pub use inspect::{Inspection, backup, backup_with, check_version, damage, inspect, inspect_with};
pub use log::{Log, Wake, open, open_reporting, open_with};
pub use options::{Durability, Options};
pub use progress::{Progress, Report};
pub use read_back::{ReadBack, ReadMessage, ReadRequest, Wanted};
pub use record::{Record, Reference, ReferenceList, Session, ShardList, Will};
pub use recovered::{
    Damage, Recovered, RecoveredPublication, RecoveredReference, RecoveredRetained, RecoveredSession,
    RecoveredSubscription, RecoveredWill, WaitingRange,
};
pub use shard_log::ShardLog;
pub use storage_thread::StorageThread;
