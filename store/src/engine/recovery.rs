//! Opens a log: finds its segments, reads them in order, and begins a new one.
//!
//! Invariants: nothing is written before everything is read, and what was read is synced before it counts as durable. A
//! damaged file loses its own records and nothing else; a file of another version is refused.

use std::sync::Arc;

use super::messages::load_messages;
use super::reclaim::Reclaim;
use super::replay::{Replay, Replayed};
use super::scan::{SegmentBytes, first_commit};
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

/// Opens the log in a folder, or makes one.
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
    let replayed = replay(&mut segments, &newest, &mut index, damage, report);
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
    };
    let recovered = engine.begin(replayed, report)?;
    Ok((engine, recovered))
}

/// What is in a log that is only read.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) recovered: Recovered,
    pub(crate) segments: Segments,
    pub(crate) live_bytes: u64,
    /// The last commit that counts, the last one that is marked as durable, the last one that is not needed.
    pub(crate) last: u64,
    pub(crate) durable: u64,
    pub(crate) reclaimed: u64,
}

/// Reads a log without changing anything: also what was not acknowledged at its end is left out.
pub(crate) fn inspect(files: Box<dyn FileLayer>, options: &Options) -> Result<Inspected, StoreError> {
    let mut index = Index::recovering();
    let mut segments = Segments::new(files, options.segment_size, options.segments_max());
    segments.is_read_only = true;
    let mut damage = Damage::default();
    let newest = find_segments(&mut segments, &mut damage)?;
    let report: Report<'_> = &mut |_| {};
    let replayed = replay(&mut segments, &newest, &mut index, damage, report);
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

/// What the newest commits say of all others.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    durable: u64,
    reclaimed: u64,
    number_max: u64,
}

impl Engine {
    /// Makes the index ready, and appends what has to stand at the front of the new segment.
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

/// Opens all files and puts the segments in their order. Returns what the newest commits say.
fn find_segments(segments: &mut Segments, damage: &mut Damage) -> Result<Newest, StoreError> {
    let folder = segments.files.folder().to_owned();
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
        let file = segments
            .files
            .open(&name, false)
            .map_err(StoreError::io("open", &path))?;
        let len = file.size().map_err(StoreError::io("read", &path))?;
        let header = match first_block(&*file) {
            FirstBlock::Header(header) => Some(header),
            FirstBlock::OtherVersion(found) => return Err(StoreError::Version { file: path, found }),
            // Prepared, and never used.
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
        } else if segments.is_read_only {
            damage.files += 1;
            damage
                .findings
                .push(format!("{name} has {len} bytes and no valid header"));
        } else {
            damage.files += 1;
            let size = segments.size;
            damage.findings.push(format!(
                "{name} has {len} bytes instead of {size}, and no valid header"
            ));
            segments.quarantine(&name);
        }
    }
    used.sort_by_key(|segment| segment.sequence);
    used.dedup_by_key(|segment| segment.sequence);
    segments.used = used.into();
    Ok(newest(segments, &mut bytes))
}

fn first_block(file: &dyn StoreFile) -> FirstBlock {
    let mut block = vec![0; BLOCK];
    match read_all(file, 0, &mut block) {
        Ok(_) => FirstBlock::parse(&block),
        Err(_) => FirstBlock::Invalid,
    }
}

/// Whether there is nothing at the front of a file: commits lie there before any others, so it has none.
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

/// Reads the commits that count, in their order.
fn replay(
    segments: &mut Segments,
    newest: &Newest,
    index: &mut Index,
    damage: Damage,
    report: Report<'_>,
) -> Replayed {
    let mut bytes = SegmentBytes::default();
    let limits = limits(segments, &mut bytes);
    let mut replay = Replay::new(index, newest.durable, newest.reclaimed, damage);
    let all = segments.used.len();
    for (read, (segment, limit)) in segments.used.iter_mut().zip(limits).enumerate() {
        report(Progress::Segments { read, all });
        segment.last_number = limit.min(newest.number_max);
        if limit <= newest.reclaimed || replay.has_ended() {
            continue;
        }
        bytes.read(&*segment.file, segment.size);
        for (what, count) in [
            ("bytes are missing at its end", bytes.missing),
            ("blocks are unreadable", bytes.unreadable),
        ] {
            if count > 0 {
                replay.damaged(format!("{}: {count} {what}", segment.name));
            }
        }
        let commits = bytes.commits(segment.sequence);
        for header in commits.iter().filter(|header| header.number <= limit) {
            replay.commit(header, bytes.body(header));
        }
    }
    replay.finish()
}

/// For each segment the last commit in it that may count: a later segment may say that the end of it does not.
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
