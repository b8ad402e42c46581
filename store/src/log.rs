//! The log as a program uses it: opened, driven by calls or by a separate thread, closed.
//!
//! Invariants: one commit takes everything that the shards have submitted meanwhile. A shard's durable number advances
//! when its batch is written, and then the shard is woken. After a final error nothing advances any more.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::counters::{Counters, Statistics};
use crate::engine::{self, Engine};
use crate::error::StoreError;
use crate::files::FileLayer;
use crate::files::lock::FolderLock;
use crate::files::real::RealFiles;
use crate::gathering::{GATHERED_BYTES, Gathering};
use crate::options::{Durability, Options};
use crate::progress::Report;
use crate::recovered::Recovered;
use crate::shard_log::{Batch, Read, Request, ShardLog, Shared, Step};
use crate::storage_thread::StorageThread;

/// Called with the number of a shard for which something has changed.
pub type Wake = Box<dyn Fn(u16) + Send>;

/// Opens the store in a folder and recovers its content; creates a new one if the folder has none.
///
/// # Errors
/// Another process has it open, another version wrote it, or a file cannot be opened, read or written. Damage within a
/// file is not an error: [`Recovered::damage`] lists it.
pub fn open(folder: &Path, options: &Options, wake: Wake) -> Result<(Log, Recovered), StoreError> {
    open_reporting(folder, options, wake, &mut |_| {})
}

/// As [`open`], and reports its progress.
///
/// # Errors
/// As [`open`].
pub fn open_reporting(
    folder: &Path,
    options: &Options,
    wake: Wake,
    report: Report<'_>,
) -> Result<(Log, Recovered), StoreError> {
    let files = RealFiles::create(folder).map_err(StoreError::io("make", folder))?;
    let lock = FolderLock::take(folder)?;
    let (mut log, recovered) = open_files(Box::new(files), options, wake, report)?;
    log.lock = Some(lock);
    Ok((log, recovered))
}

/// Opens the store in a folder of a given file layer, without a lock.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    files: Box<dyn FileLayer>,
    options: &Options,
    wake: Wake,
) -> Result<(Log, Recovered), StoreError> {
    open_files(files, options, wake, &mut |_| {})
}

fn open_files(
    files: Box<dyn FileLayer>,
    options: &Options,
    wake: Wake,
    report: Report<'_>,
) -> Result<(Log, Recovered), StoreError> {
    let counters = Arc::new(Counters::default());
    let (engine, recovered) = engine::open(files, options, Arc::clone(&counters), report)?;
    let (sender, requests) = mpsc::channel();
    let shared = Shared {
        backlog: AtomicU64::new(0),
        is_full: AtomicBool::new(false),
        has_failed: AtomicBool::new(false),
        counters,
        durability: options.durability,
        gathering: Gathering::default(),
    };
    let log = Log {
        engine,
        shared: Arc::new(shared),
        sender,
        requests,
        waiting: VecDeque::new(),
        reads: VecDeque::new(),
        wake,
        shards: options.shards,
        synced: Instant::now(),
        lock: None,
    };
    Ok((log, recovered))
}

/// An open store. Nothing is written until [`Log::step`] or [`Log::start`].
pub struct Log {
    engine: Engine,
    shared: Arc<Shared>,
    sender: Sender<Request>,
    requests: Receiver<Request>,
    waiting: VecDeque<Batch>,
    reads: VecDeque<Read>,
    wake: Wake,
    shards: u16,
    synced: Instant,
    lock: Option<FolderLock>,
}

impl Log {
    /// A handle that appends for this shard. Each handle has separate batches.
    pub fn shard(&self, shard: u16) -> ShardLog {
        ShardLog::new(Arc::clone(&self.shared), shard, self.sender.clone())
    }

    /// Writes what was submitted, in this thread; returns whether there was anything.
    ///
    /// # Errors
    /// The store cannot continue, or its disk is full: then it may be tried again.
    pub fn step(&mut self) -> Result<bool, StoreError> {
        let mut worked = self.take_all() != Step::Idle;
        while !self.waiting.is_empty() {
            self.commit()?;
            worked = true;
        }
        self.answer_reads();
        Ok(worked)
    }

    /// The figures of the store, for metrics.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.statistics()
    }

    /// Starts a separate thread that writes from now on.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self) -> Result<StorageThread, StoreError> {
        let sender = self.sender.clone();
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || self.run())
            .map_err(StoreError::io("start a thread for", "the store"))?;
        Ok(StorageThread::new(sender, shared, thread))
    }

    fn run(mut self) -> Result<(), StoreError> {
        let result = self.serve();
        if let Err(error) = &result {
            tracing::error!("the store has stopped: {error}");
            self.shared.has_failed.store(true, Ordering::Relaxed);
            // A shard that waits for nothing must be informed as well.
            for shard in 0..self.shards {
                (self.wake)(shard);
            }
        }
        result
    }

    fn serve(&mut self) -> Result<(), StoreError> {
        loop {
            let mut step = self.wait()?;
            if step == Step::Worked {
                step = self.gather();
            }
            let mut closed = step.max(self.take_all()) == Step::Closed;
            while !self.waiting.is_empty() {
                let committed = self.commit();
                match committed {
                    Err(error @ StoreError::Full { .. }) if !closed => closed = self.wait_for_space(&error),
                    result => result?,
                }
            }
            self.answer_reads();
            self.sync_if_due()?;
            if closed {
                return self.finish();
            }
        }
    }

    /// Waits for more submissions, until somebody waits for what was submitted.
    fn gather(&mut self) -> Step {
        self.shared.gathering.begin();
        let step = self.take_all();
        let is_much = self.shared.backlog.load(Ordering::Relaxed) >= GATHERED_BYTES;
        if step < Step::Awaited && !is_much {
            let time = self.shared.durability.gathering_time();
            self.shared
                .gathering
                .wait(self.sync_due().map_or(time, |due| due.min(time)));
        } else {
            self.shared.gathering.stop();
        }
        step
    }

    /// Takes everything that was submitted meanwhile.
    fn take_all(&mut self) -> Step {
        let mut step = Step::Idle;
        while let Ok(request) = self.requests.try_recv() {
            step = step.max(self.take(request));
        }
        step
    }

    /// Waits for work; idle work is done here.
    fn wait(&mut self) -> Result<Step, StoreError> {
        let received = match self.idle_time() {
            Some(time) => self.requests.recv_timeout(time),
            None => self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(request) => Ok(self.take(request)),
            Err(RecvTimeoutError::Timeout) => match self.idle() {
                Ok(()) | Err(StoreError::Full { .. }) => Ok(Step::Idle),
                Err(error) => Err(error),
            },
            Err(RecvTimeoutError::Disconnected) => Ok(Step::Closed),
        }
    }

    /// Does work that can wait until there is time: reclaims and frees segments, creates new ones in advance.
    ///
    /// # Errors
    /// The store cannot continue, or its disk is full: then it may be tried again.
    pub fn idle(&mut self) -> Result<(), StoreError> {
        let result = self.engine.idle();
        self.report_space();
        result
    }

    /// How long to wait before there is work without a request; `None` if there will be none.
    fn idle_time(&self) -> Option<Duration> {
        let idle_work = || self.engine.has_idle_work().then_some(IDLE);
        self.sync_due().or_else(idle_work)
    }

    /// When the writes are to be synced together, if they are.
    fn sync_due(&self) -> Option<Duration> {
        match self.shared.durability {
            Durability::Interval(interval) if self.engine.has_unsynced() => {
                Some(interval.saturating_sub(self.synced.elapsed()))
            }
            _ => None,
        }
    }

    fn sync_if_due(&mut self) -> Result<(), StoreError> {
        if self.sync_due() == Some(Duration::ZERO) {
            self.engine.sync()?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    fn take(&mut self, request: Request) -> Step {
        let step = request.step();
        match request {
            Request::Batch(batch) => self.waiting.push_back(batch),
            Request::Read(read) => self.reads.push_back(read),
            Request::Close => {}
        }
        step
    }

    /// Answers requests for messages whose batches are in the log.
    fn answer_reads(&mut self) {
        for _ in 0..self.reads.len() {
            let Some(read) = self.reads.pop_front() else {
                // There are no more than were counted.
                return;
            };
            if read.lane.durable.load(Ordering::Relaxed) < read.after {
                self.reads.push_back(read);
                continue;
            }
            let answer = self.engine.read_back(read.request);
            if let Ok(mut answers) = read.lane.answers.lock() {
                answers.push(answer);
            }
            read.lane.has_answers.store(true, Ordering::Release);
            (self.wake)(read.lane.shard);
        }
    }

    /// Only a full disk is temporary: waits for it, unless the log is to end, which is returned.
    fn wait_for_space(&mut self, error: &StoreError) -> bool {
        if !self.shared.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!("{error}; nothing is acknowledged until there is space");
        }
        if self.take_all() == Step::Closed {
            return true;
        }
        // Clients acknowledge what is read, which frees space.
        self.answer_reads();
        thread::sleep(FULL_RETRY);
        self.engine.try_to_grow_again();
        false
    }

    /// Writes as many of the waiting batches as one commit takes, and notifies their shards.
    fn commit(&mut self) -> Result<(), StoreError> {
        let count = self.batches_of_commit();
        let batches = self
            .waiting
            .iter()
            .take(count)
            .map(|batch| batch.bytes.as_slice());
        self.engine.commit(batches)?;
        self.report_space();
        let mut woken = Vec::new();
        let mut bytes = 0;
        for mut batch in self.waiting.drain(..count) {
            bytes += batch.bytes.len() as u64;
            batch.lane.durable.store(batch.number, Ordering::Release);
            if !woken.contains(&batch.lane.shard) {
                woken.push(batch.lane.shard);
            }
            batch.bytes.clear();
            if batch.bytes.capacity() <= SPARE_MAX
                && let Ok(mut spare) = batch.lane.spare.lock()
            {
                *spare = Some(std::mem::take(&mut batch.bytes));
            }
        }
        self.shared.backlog.fetch_sub(bytes, Ordering::Relaxed);
        if self.shared.durability == Durability::Sync {
            for shard in woken {
                (self.wake)(shard);
            }
        }
        Ok(())
    }

    /// As many batches as fill a commit, and at least one; fewer if that avoids wasting the end of a segment.
    fn batches_of_commit(&self) -> usize {
        let room = self.engine.room();
        let target = self.engine.commit_target();
        let mut bytes = 0;
        let mut count = 0;
        for batch in &self.waiting {
            let with = bytes + batch.bytes.len();
            if count > 0 && (with > target || (bytes <= room && with > room)) {
                break;
            }
            bytes = with;
            count += 1;
        }
        count
    }

    fn report_space(&self) {
        let is_short = self.engine.is_short();
        if self.shared.is_full.swap(is_short, Ordering::Relaxed) != is_short {
            if is_short {
                tracing::error!("there is no space for more messages: only acknowledgements are accepted");
            } else {
                tracing::warn!("there is space for messages again");
            }
        }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.engine.sync()?;
        match self.engine.mark() {
            Err(StoreError::Full { .. }) => Ok(()),
            result => result,
        }
    }
}

impl Debug for Log {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("engine", &self.engine)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

/// Time without work after which idle work is done.
const IDLE: Duration = Duration::from_millis(50);
/// Time between attempts to write to a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// A batch's larger buffer is not kept.
const SPARE_MAX: usize = 1 << 20;
