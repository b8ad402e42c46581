//! Opens a log: finds its segments, reads them in order, and starts a new one.
//!
//! Invariants: nothing is written before everything is read, and what was read is synced before it counts as durable.
//! A damaged file loses only its own records; a file of another version is refused.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::messages::load_messages;
use super::read_ahead::{NeededSegment, ReadSegment, read_each};
use super::reclaim::Reclaim;
use super::replay::{Replay, Replayed};
use super::scan::{FoundCommit, SegmentBytes, first_commit};
use super::segments::{ASIDE, FreeSegment, Segment, Segments, file_number};
use super::{Engine, FREE_MAX};
use crate::block::{BLOCK, BlockBuffer};
use crate::counters::Counters;
use crate::error::StoreError;
use crate::files::{FileLayer, StoreFile, read_all};
use crate::format::chain::Layout;
use crate::format::commit::CommitHeader;
use crate::format::segment::{FirstBlock, SegmentHeader};
use crate::index::Index;
use crate::options::Options;
use crate::progress::{Progress, Report};
use crate::record::{self, Record};
use crate::recovered::{Damage, Recovered};

/// Opens the log in a folder, or creates one.
pub(crate) fn open(
    files: Box<dyn FileLayer>,
    options: &Options,
    counters: Arc<Counters>,
    report: Report<'_>,
) -> Result<(Engine, Recovered), StoreError> {
    let mut index = Index::recovering();
    let mut segments = Segments::new(files, options.segment_size, options.segments_max());
    let mut damage = Damage::default();
    let newest = find_segments(&mut segments, &mut damage)?;
    let replayed = replay(&mut segments, &newest, &mut index, damage, report)?;
    for segment in &segments.used {
        let path = segments.files.path(&segment.name);
        segment.file.sync().map_err(StoreError::io("sync", path))?;
    }
    let mut engine = Engine {
        segments,
        index,
        options: options.clone(),
        counters,
        previous: replayed.last,
        number_max: newest.number_max,
        durable: replayed.last,
        reclaimed: newest.reclaimed,
        reclaimed_durable: newest.reclaimed,
        reclaimed_named: newest.reclaimed,
        reclaim: Reclaim::from(newest.reclaimed),
        stream: BlockBuffer::default(),
        layout: Layout::default(),
        parts: Vec::new(),
        part_buffer: BlockBuffer::default(),
        unsynced: Vec::new(),
        is_marked: false,
        grow_after: 0,
        growth_failed: false,
        growth_errors: 0,
    };
    let recovered = engine.begin(replayed, report)?;
    Ok((engine, recovered))
}

/// The content of a log that is only read.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) recovered: Recovered,
    pub(crate) segments: Segments,
    pub(crate) live_bytes: u64,
    /// The last commit that counts, the last one that is marked as durable, the last one that is no longer needed.
    pub(crate) last: u64,
    pub(crate) durable: u64,
    pub(crate) reclaimed: u64,
}

/// Reads a log without changing anything: what was not acknowledged at its end is left out as well.
pub(crate) fn inspect(files: Box<dyn FileLayer>, options: &Options) -> Result<Inspected, StoreError> {
    let mut index = Index::recovering();
    let mut segments = Segments::new(files, options.segment_size, options.segments_max());
    segments.is_read_only = true;
    let mut damage = Damage::default();
    let newest = find_segments(&mut segments, &mut damage)?;
    let report: Report<'_> = &mut |_| {};
    let replayed = replay(&mut segments, &newest, &mut index, damage, report)?;
    let mut recovered = index.finish_recovery(options);
    recovered.damage = replayed.damage;
    recovered.damage.orphans = index.ignored();
    load_messages(&index, &segments, &mut recovered, report);
    Ok(Inspected {
        recovered,
        live_bytes: index.live_bytes(),
        segments,
        last: replayed.last,
        durable: newest.durable,
        reclaimed: newest.reclaimed,
    })
}

/// What the newest commits state about all others.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    durable: u64,
    reclaimed: u64,
    number_max: u64,
}

impl Engine {
    /// Prepares the index, and appends what must be at the start of the new segment.
    fn begin(&mut self, replayed: Replayed, report: Report<'_>) -> Result<Recovered, StoreError> {
        self.segments.free_up_to(self.reclaimed, FREE_MAX);
        let (last_epoch, last_shards) = self.index.epoch().unwrap_or_default();
        let mut batch = replayed.salvaged;
        crate::format::frame::append(&mut batch, |out| {
            let record = Record::Epoch {
                number: last_epoch + 1,
                shards: self.options.shards,
                started_ms: self.options.started_ms,
            };
            record::encode(&record, out)
        });
        self.commit_in_new_segment(&batch)?;
        let mut recovered = self.index.finish_recovery(&self.options);
        recovered.epoch = last_epoch + 1;
        recovered.shards = last_shards;
        recovered.damage = replayed.damage;
        recovered.damage.orphans = self.index.ignored();
        load_messages(&self.index, &self.segments, &mut recovered, report);
        self.counters
            .quarantined(recovered.damage.files + recovered.damage.commits + recovered.damage.records);
        self.counters.committed(&self.index, &self.segments);
        Ok(recovered)
    }

    fn commit_in_new_segment(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        self.segments.retire(self.previous);
        self.commit(std::iter::once(batch))?;
        self.sync()
    }
}

/// Opens all files and sorts the segments. Returns what the newest commits state.
fn find_segments(segments: &mut Segments, damage: &mut Damage) -> Result<Newest, StoreError> {
    let folder = segments.files.folder().to_owned();
    // Before the folder is read: a broker that uses it may start another segment meanwhile.
    let newest_named = segments.read_newest();
    let names = segments.files.list().map_err(StoreError::io("read", folder))?;
    let mut bytes = SegmentBytes::default();
    let mut used = Vec::new();
    if !segments.is_read_only {
        segments.remove_unfinished(&names);
    }
    for name in names {
        let Some(number) = file_number(&name) else {
            continue;
        };
        segments.next_file = segments.next_file.max(number.saturating_add(1));
        if name.ends_with(ASIDE) {
            continue;
        }
        let path = segments.files.path(&name);
        let (file, len) = match open_segment(&*segments.files, &name) {
            Ok(opened) => opened,
            Err(error) if !is_of_the_file(&error) => return Err(StoreError::io("open", &path)(error)),
            Err(error) => {
                damage.of_file(format!("{name} cannot be opened: {error}"));
                segments.quarantine(&name);
                continue;
            }
        };
        let header = match first_block(&*file) {
            FirstBlock::Header(header) => Some(header),
            FirstBlock::OtherVersion(found) => return Err(StoreError::Version { file: path, found }),
            // It was prepared, and never used.
            FirstBlock::Invalid if begins_with_zeros(&*file) => None,
            FirstBlock::Invalid => {
                let size = segments.size;
                bytes.read(&*file, size);
                bytes.sequence().map(|sequence| SegmentHeader { sequence, size })
            }
        };
        if let Some(SegmentHeader { sequence, size }) = header {
            segments.next_sequence = segments.next_sequence.max(sequence.saturating_add(1));
            let size = size.min(SEGMENT_SIZE_MAX);
            used.push(Segment {
                name,
                file,
                sequence,
                size,
                end: size,
                last_number: 0,
            });
        } else if len == u64::from(segments.size) {
            segments.free.push(FreeSegment { name, file });
        } else {
            damage.of_file(format!("{name} has {len} bytes and no valid header"));
            segments.quarantine(&name);
        }
    }
    used.sort_by_key(|segment| segment.sequence);
    used.dedup_by_key(|segment| segment.sequence);
    segments.used = used.into();
    report_missing(segments, newest_named, damage);
    Ok(newest(segments, &mut bytes))
}

/// Reports that the newest segment is missing, unless a file that was found damaged may be it. Its number is not used
/// again, because the file may reappear.
fn report_missing(segments: &mut Segments, newest_named: Option<u32>, damage: &mut Damage) {
    let Some(named) = newest_named else {
        // A new store, a store of an earlier program, or a torn file.
        return;
    };
    let found = segments.used.back().map_or(0, |segment| segment.sequence);
    if found < named && damage.files == 0 {
        damage.of_file(format!(
            "segment {named} is missing, and with it the newest part of the log; the newest existing segment is {found}"
        ));
    }
    segments.next_sequence = segments.next_sequence.max(named.saturating_add(1));
}

fn open_segment(files: &dyn FileLayer, name: &str) -> io::Result<(Box<dyn StoreFile>, u64)> {
    let file = files.open(name, false)?;
    let len = file.size()?;
    Ok((file, len))
}

/// Whether an error of opening a file is caused by the file. All other errors are caused by this process or the
/// system, and the file is intact: it must not be renamed.
fn is_of_the_file(error: &io::Error) -> bool {
    let of_the_disk = [Errno::IO, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    error.kind() == io::ErrorKind::InvalidInput || of_the_disk.contains(&error.raw_os_error())
}

fn first_block(file: &dyn StoreFile) -> FirstBlock {
    let mut block = vec![0; BLOCK];
    match read_all(file, 0, &mut block) {
        Ok(_) => FirstBlock::parse(&block),
        Err(_) => FirstBlock::Invalid,
    }
}

/// Whether the start of a file is empty: since commits are written there first, it then has none.
fn begins_with_zeros(file: &dyn StoreFile) -> bool {
    let mut front = vec![0; ZEROS_READ];
    let read = read_all(file, 0, &mut front);
    read.is_ok_and(|read| read == ZEROS_READ) && front.iter().all(|&byte| byte == 0)
}

fn newest(segments: &Segments, bytes: &mut SegmentBytes) -> Newest {
    let mut newest = Newest::default();
    for segment in segments.used.iter().rev() {
        bytes.read(&*segment.file, segment.size);
        let commits = bytes.commits(segment.sequence);
        for commit in &commits {
            newest.durable = newest.durable.max(commit.durable);
            newest.reclaimed = newest.reclaimed.max(commit.reclaimed);
            newest.number_max = newest.number_max.max(commit.number);
        }
        if !commits.is_empty() {
            break;
        }
    }
    newest
}

/// Reads the commits that count, in order.
fn replay(
    segments: &mut Segments,
    newest: &Newest,
    index: &mut Index,
    damage: Damage,
    report: Report<'_>,
) -> Result<Replayed, StoreError> {
    let limits = limits(segments, &mut SegmentBytes::default());
    for (segment, &limit) in segments.used.iter_mut().zip(&limits) {
        segment.last_number = limit.min(newest.number_max);
    }
    let all = segments.used.len();
    let used = segments.used.iter().zip(limits).enumerate();
    let used = used.map(|(place, (segment, last_number))| NeededSegment {
        segment,
        place,
        last_number,
    });
    let needed: Vec<_> = used.filter(|used| used.last_number > newest.reclaimed).collect();
    let mut replay = Replay::new(index, newest.durable, newest.reclaimed, damage);
    let read = read_each(&needed, |needed, found| {
        let read = needed.place;
        report(Progress::Segments { read, all });
        if !replay.has_ended() {
            replay_segment(&mut replay, needed, found);
        }
    });
    read.map_err(StoreError::io(
        "start a thread that reads",
        segments.files.folder(),
    ))?;
    Ok(replay.finish())
}

/// Reads the commits of a segment up to the one with this number.
fn replay_segment(replay: &mut Replay<'_>, needed: &NeededSegment<'_>, found: &ReadSegment) {
    let ReadSegment { bytes, commits } = found;
    for (what, count) in [
        ("bytes are missing at its end", bytes.missing),
        ("blocks are unreadable", bytes.unreadable),
    ] {
        if count > 0 {
            replay.damaged(format!("{}: {count} {what}", needed.segment.name));
        }
    }
    let may_count = |commit: &&FoundCommit| commit.header.number <= needed.last_number;
    for commit in commits.iter().filter(may_count) {
        replay.commit(commit, bytes.body(&commit.header));
    }
}

/// For each segment, the last commit in it that may count: a later segment may state that its end does not.
fn limits(segments: &Segments, bytes: &mut SegmentBytes) -> Vec<u64> {
    let mut limit = u64::MAX;
    let mut limits: Vec<u64> = segments
        .used
        .iter()
        .rev()
        .map(|segment| {
            let this = limit;
            let first = match first_commit(&*segment.file, segment.sequence) {
                Ok(Some(first)) => Some(first),
                _ => scanned_first(segment, bytes),
            };
            limit = limit.min(first.map_or(u64::MAX, |first| first.previous));
            this
        })
        .collect();
    limits.reverse();
    limits
}

fn scanned_first(segment: &Segment, bytes: &mut SegmentBytes) -> Option<CommitHeader> {
    bytes.read(&*segment.file, segment.size);
    bytes.commits(segment.sequence).first().copied()
}

/// A header with a larger size is damaged.
const SEGMENT_SIZE_MAX: u32 = 256 << 20;
/// A file that begins with this many zeros has no commits, because a single lost write is smaller.
const ZEROS_READ: usize = 256 << 10;
