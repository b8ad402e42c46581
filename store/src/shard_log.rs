//! A shard's handle of the log.
//!
//! Invariants: nothing here does I/O or waits. The batches of one shard reach the log in the order in which they were
//! submitted. If a shard has seen an effect of another shard's batch and then submits its own, its own is later in the
//! log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use crate::counters::{Counters, Statistics};
use crate::format::frame;
use crate::gathering::{GATHERED_BYTES, Gathering};
use crate::options::Durability;
use crate::read_back::{ReadBack, ReadRequest};
use crate::record::{self, Record};

/// State that all handles of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Bytes that were submitted and are not written.
    pub(crate) backlog: AtomicU64,
    /// Whether there is space only for acknowledgements.
    pub(crate) is_full: AtomicBool,
    /// Whether the store has stopped because of an error.
    pub(crate) has_failed: AtomicBool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) durability: Durability,
    pub(crate) gathering: Gathering,
}

/// The storage thread's state of one handle.
#[derive(Debug)]
pub(crate) struct ShardLogState {
    pub(crate) shard: u16,
    /// The last batch that is durable.
    pub(crate) durable: AtomicU64,
    /// The buffer of a batch that was written, for reuse.
    pub(crate) spare: Mutex<Option<Vec<u8>>>,
    /// Answers that the shard has not taken yet.
    pub(crate) answers: Mutex<Vec<ReadBack>>,
    pub(crate) has_answers: AtomicBool,
}

/// What is sent to the storage thread.
#[derive(Debug)]
pub(crate) enum Request {
    Batch(Batch),
    Read(Read),
    Close,
}

/// What is to be done, the most urgent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Idle,
    Worked,
    /// Somebody waits for the batch.
    Awaited,
    Closed,
}

impl Request {
    /// The work that the request requires.
    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Batch(batch) if !batch.is_awaited => Step::Worked,
            Self::Batch(_) | Self::Read(_) => Step::Awaited,
            Self::Close => Step::Closed,
        }
    }
}

/// A request for messages.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) lane: Arc<ShardLogState>,
    /// The batch of this handle that must be in the log before.
    pub(crate) after: u64,
    pub(crate) request: ReadRequest,
}

/// Records that count either all or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lane: Arc<ShardLogState>,
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
    /// Whether somebody waits until it is durable.
    pub(crate) is_awaited: bool,
}

/// The log's interface for one shard.
#[derive(Debug)]
pub struct ShardLog {
    shared: Arc<Shared>,
    lane: Arc<ShardLogState>,
    requests: Sender<Request>,
    batch: Vec<u8>,
    /// Where the last frame of the batch starts.
    last_frame: usize,
    submitted: u64,
}

impl ShardLog {
    pub(crate) fn new(shared: Arc<Shared>, shard: u16, requests: Sender<Request>) -> Self {
        let lane = Arc::new(ShardLogState {
            shard,
            durable: AtomicU64::new(0),
            spare: Mutex::default(),
            answers: Mutex::default(),
            has_answers: AtomicBool::new(false),
        });
        Self {
            shared,
            lane,
            requests,
            batch: Vec::new(),
            last_frame: 0,
            submitted: 0,
        }
    }

    /// Appends a record to the batch.
    #[inline]
    pub fn append(&mut self, record: &Record<'_>) {
        self.last_frame = self.batch.len();
        frame::append(&mut self.batch, |out| record::encode(record, out));
    }

    /// The number of the batch to which records are appended: [`Self::durable`] reaches it when they are durable.
    #[inline]
    pub fn next_batch(&self) -> u64 {
        self.submitted + 1
    }

    /// Submits the batch to be written at once; returns its number, or that of the previous batch if it is empty.
    pub fn submit(&mut self) -> u64 {
        self.submit_batch(true)
    }

    /// As [`Self::submit`], for a batch that nothing waits for: it is written with the next one, or some milliseconds
    /// later.
    pub fn submit_unawaited(&mut self) -> u64 {
        self.submit_batch(false)
    }

    fn submit_batch(&mut self, is_awaited: bool) -> u64 {
        if self.batch.is_empty() {
            return self.submitted;
        }
        frame::end_batch(&mut self.batch, self.last_frame);
        self.submitted += 1;
        let spare = self.lane.spare.lock().ok().and_then(|mut spare| spare.take());
        let bytes = std::mem::replace(&mut self.batch, spare.unwrap_or_default());
        let submitted = bytes.len() as u64;
        let backlog = submitted + self.shared.backlog.fetch_add(submitted, Ordering::Relaxed);
        let batch = Batch {
            lane: Arc::clone(&self.lane),
            number: self.submitted,
            bytes,
            is_awaited: is_awaited && self.shared.durability == Durability::Sync,
        };
        let is_to_be_written = batch.is_awaited || backlog >= GATHERED_BYTES;
        // Without a storage thread nothing becomes durable; whoever waits for acknowledgements notices that.
        let _ended = self.requests.send(Request::Batch(batch));
        if is_to_be_written {
            self.shared.gathering.end();
        }
        self.submitted
    }

    /// Requests messages that wait for a session: the answer includes everything that was submitted until now, and the
    /// shard is woken for it.
    pub fn read_back(&mut self, request: ReadRequest) {
        let read = Read {
            lane: Arc::clone(&self.lane),
            after: self.submitted,
            request,
        };
        // Without a storage thread nothing is answered, just as nothing becomes durable.
        let _ended = self.requests.send(Request::Read(read));
        self.shared.gathering.end();
    }

    /// Takes the answers that have arrived.
    #[inline]
    pub fn take_read_back(&mut self) -> Vec<ReadBack> {
        if !self.lane.has_answers.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        let answers = self.lane.answers.lock();
        answers
            .map(|mut answers| std::mem::take(&mut *answers))
            .unwrap_or_default()
    }

    /// The last batch that is durable; the last submitted one if acknowledgements do not wait.
    #[inline]
    pub fn durable(&self) -> u64 {
        if self.shared.durability == Durability::Sync {
            self.lane.durable.load(Ordering::Acquire)
        } else {
            self.submitted
        }
    }

    /// Bytes that all shards have submitted and that are not yet written.
    #[inline]
    pub fn backlog_bytes(&self) -> u64 {
        self.shared.backlog.load(Ordering::Relaxed)
    }

    /// Whether there is space only for acknowledgements: then publications must be refused.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    /// Whether the store has stopped: nothing becomes durable any more.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Relaxed)
    }

    /// The figures of the store, for metrics.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.statistics()
    }
}
