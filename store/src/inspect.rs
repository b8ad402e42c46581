//! Reads, counts and copies a store to which another process may be writing. It never changes the store.
//!
//! Invariants: nothing is written into the folder and no lock is taken, so a broker may be running on it. Segments
//! that the broker frees meanwhile are missing or look damaged; therefore the store is read again in that case.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::engine::segments::file_number;
use crate::engine::{self, Inspected};
use crate::error::StoreError;
use crate::files::real::{RealFiles, check_regular};
use crate::format::segment::{FirstBlock, SEGMENT_HEADER};
use crate::options::Options;
use crate::recovered::{Damage, Recovered};

/// The content of a store, in figures.
#[derive(Debug)]
pub struct Inspection {
    /// What a recovery would return; `epoch` is the number of the last start.
    pub recovered: Recovered,
    /// Sequence numbers of the segments with commits.
    pub segments: Vec<u32>,
    /// Number of free segment files.
    pub segments_free: usize,
    /// The bytes of all segment files.
    pub bytes_total: u64,
    /// Bytes of records that are still needed.
    pub bytes_live: u64,
    /// The number of the last commit that counts.
    pub commit_last: u64,
    /// The commit up to which the log states that everything is durable.
    pub commit_durable: u64,
    /// The commit up to which nothing is needed any more.
    pub commit_reclaimed: u64,
}

/// Reads a store without changing it.
///
/// # Errors
/// There is no store, another version wrote it, or a file cannot be opened.
pub fn inspect(folder: &Path) -> Result<Inspection, StoreError> {
    inspect_with(folder, &Options::default())
}

/// The damage in a store: everything is read, and nothing of it is kept in memory.
///
/// # Errors
/// As [`inspect`].
pub fn damage(folder: &Path) -> Result<Damage, StoreError> {
    let options = Options {
        waiting_max: 0,
        ..Options::default()
    };
    inspect_with(folder, &options).map(|inspection| inspection.recovered.damage)
}

/// As [`inspect`], for a store with a segment size that is not the default.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with(folder: &Path, options: &Options) -> Result<Inspection, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let inspected = match engine::inspect(Box::new(RealFiles::read_only(folder)), options) {
            Err(error) if is_gone(&error) && tries < TRIES => continue,
            inspected => inspected?,
        };
        if inspected.segments.used.is_empty() && inspected.segments.free.is_empty() {
            let missing = io::Error::new(io::ErrorKind::NotFound, "there is no store in it");
            return Err(StoreError::io("read", folder)(missing));
        }
        if inspected.recovered.damage.is_none() || tries == TRIES {
            return Ok(inspection(inspected));
        }
    }
}

/// Whether a store has a version that this program reads. Nothing else is checked.
///
/// # Errors
/// It has another version, or the folder cannot be read.
pub fn check_version(folder: &Path) -> Result<(), StoreError> {
    for name in names(folder).map_err(StoreError::io("read", folder))? {
        let path = folder.join(&name);
        // What cannot be read is damage, not another version.
        if let Ok(FirstBlock::OtherVersion(found)) = first_block(&path) {
            return Err(StoreError::Version { file: path, found });
        }
    }
    Ok(())
}

fn inspection(inspected: Inspected) -> Inspection {
    Inspection {
        segments: inspected
            .segments
            .used
            .iter()
            .map(|segment| segment.sequence)
            .collect(),
        segments_free: inspected.segments.free.len(),
        bytes_total: inspected.segments.total_bytes(),
        bytes_live: inspected.live_bytes,
        commit_last: inspected.last,
        commit_durable: inspected.durable,
        commit_reclaimed: inspected.reclaimed,
        recovered: inspected.recovered,
    }
}

/// Copies a store into a new folder while a broker may write to it. The copy is the store's state at some time after
/// the call; it is read and checked before this returns.
///
/// # Errors
/// The folder is not new, a file cannot be read or written, or the copy is damaged.
pub fn backup(folder: &Path, target: &Path) -> Result<Inspection, StoreError> {
    backup_with(folder, target, &Options::default())
}

/// As [`backup`], for a store with a segment size that is not the default.
///
/// # Errors
/// As [`backup`].
pub fn backup_with(folder: &Path, target: &Path, options: &Options) -> Result<Inspection, StoreError> {
    inspect_with(folder, options)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(target)
        .map_err(StoreError::io("make", target))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match copy_segments(folder, target) {
            Err(error) if is_gone(&error) && tries < TRIES => continue,
            copied => copied?,
        }
        let inspected = engine::inspect(Box::new(RealFiles::read_only(target)), options)?;
        if inspected.recovered.damage.is_none() || tries == TRIES {
            return Ok(inspection(inspected));
        }
    }
}

/// Copies the segments from the oldest to the newest, and copies those again that have been reused by then: so each
/// copy is at least as new as all that were made before it.
fn copy_segments(folder: &Path, target: &Path) -> Result<(), StoreError> {
    let mut copied: Vec<(String, u32)> = Vec::new();
    loop {
        let found = segments(folder).map_err(StoreError::io("read", folder))?;
        let newest = found.last().map(|(_, sequence)| *sequence);
        let is_copied = |segment: &(String, u32)| copied.contains(segment) && Some(segment.1) != newest;
        let missing: Vec<_> = found
            .iter()
            .filter(|segment| !is_copied(segment))
            .cloned()
            .collect();
        let only_newest = missing.len() <= 1 && missing.iter().all(|segment| copied.contains(segment));
        if only_newest {
            break;
        }
        for segment in missing {
            let from = folder.join(&segment.0);
            copy(&from, &target.join(&segment.0)).map_err(StoreError::io("copy", from))?;
            copied.retain(|(name, _)| *name != segment.0);
            copied.push(segment);
        }
    }
    let folder = File::open(target).and_then(|folder| folder.sync_all());
    folder.map_err(StoreError::io("sync", target))
}

/// Names and sequence numbers of the segments in use, in their order.
fn segments(folder: &Path) -> io::Result<Vec<(String, u32)>> {
    let mut found = Vec::new();
    for name in names(folder)? {
        if let FirstBlock::Header(header) = first_block(&folder.join(&name))? {
            found.push((name, header.sequence));
        }
    }
    found.sort_by_key(|(_, sequence)| *sequence);
    Ok(found)
}

/// Names of the files of segments, in no order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_string();
        names.extend(name.ok().filter(|name| file_number(name).is_some()));
    }
    Ok(names)
}

fn first_block(path: &Path) -> io::Result<FirstBlock> {
    check_regular(path)?;
    let mut block = Vec::new();
    File::open(path)?
        .take(SEGMENT_HEADER as u64)
        .read_to_end(&mut block)?;
    Ok(FirstBlock::parse(&block))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut target = options.open(to)?;
    let mut source = File::open(from)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Whether a file was freed after the folder was listed.
fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// How often a store is read again that looks damaged, or in which files are freed meanwhile.
const TRIES: u32 = 10;
