//! A disk in memory that loses power, fails and fills up, for tests.
//!
//! Invariants: everything follows from the seed and the calls. What was synced, or written durably, exists after a
//! power cut; any part of the rest may exist, in pieces of a sector. After a kill everything that was written exists.
//! The creation or removal of a file survives a power cut only if the folder was synced.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileLayer, StoreFile, WriteWay};

/// A disk with one folder. Clones refer to the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// The fault of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and a write may be done partly.
    Io,
    /// There is no space, and nothing is done.
    NoSpace,
    /// A write is done partly, and reports so.
    Short,
    /// The machine stops during the operation; all later operations fail until the next start.
    Stop,
}

#[derive(Debug, Default)]
struct State {
    random: fastrand::Rng,
    /// By number, because names change.
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_file: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    stops_at_sync: bool,
    is_off: bool,
    /// Total number of bytes for all files.
    space: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// The content that the process reads, synced or not.
    seen: Vec<u8>,
    /// The content on the disk without the writes below.
    durable: Vec<u8>,
    /// The writes in order, from the first one that is not durable.
    writes: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
    is_durable: bool,
}

impl SimulatedDisk {
    /// An empty disk; its behaviour follows from the seed.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The folder, for [`crate::open_with`].
    pub fn layer(&self) -> Box<dyn FileLayer> {
        Box::new(self.clone())
    }

    /// Makes the operation with this number, counted from now and from 1, fail. Reads, writes, syncs and operations on
    /// the folder count.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        let mut state = self.state();
        let operation = state.operations + operations;
        state.faults.insert(operation, fault);
    }

    /// Stops the machine at the next sync of a file; writes until then are done.
    pub fn stop_at_sync(&self) {
        self.state().stops_at_sync = true;
    }

    /// Sets the number of bytes that all files may have together.
    pub fn set_space(&self, space: Option<u64>) {
        self.state().space = space;
    }

    /// Whether the disk is off, so that every call fails.
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Removes all faults that were set.
    pub fn clear_faults(&self) {
        self.state().clear_faults();
    }

    /// The process ends: everything that it wrote exists.
    pub fn kill(&self) {
        let mut state = self.state();
        state.is_off = false;
        state.clear_faults();
    }

    /// The power is cut: what was not durable exists partly.
    pub fn power_cut(&self) {
        let mut state = self.state();
        state.is_off = false;
        state.clear_faults();
        state.drop_unsynced_names();
        let State { files, random, .. } = &mut *state;
        for content in files.values_mut() {
            content.lose(random);
        }
    }

    /// Names and sizes of all files.
    pub fn files(&self) -> Vec<(String, usize)> {
        let state = self.state();
        let size = |file| state.files.get(file).map_or(0, |content| content.seen.len());
        state
            .names
            .iter()
            .map(|(name, file)| (name.clone(), size(file)))
            .collect()
    }

    /// The bytes of a file, for changes as a broken disk makes them.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names.get(name).copied();
        if let Some(content) = file.and_then(|file| state.files.get_mut(&file)) {
            change(&mut content.seen);
            content.durable.clone_from(&content.seen);
            content.writes.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear_faults(&mut self) {
        self.faults.clear();
        self.stops_at_sync = false;
    }

    /// Counts an operation, and returns its fault if it has one.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        if self.is_off {
            return Err(io::Error::other("the machine is off"));
        }
        self.operations += 1;
        Ok(self.faults.remove(&self.operations))
    }

    /// As [`Self::operation`], for an operation that is done completely or not at all.
    fn whole_operation(&mut self) -> io::Result<()> {
        match self.operation()? {
            None | Some(Fault::Short) => Ok(()),
            Some(fault) => Err(self.fail(fault)),
        }
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        match fault {
            Fault::NoSpace => io::ErrorKind::StorageFull.into(),
            Fault::Stop => {
                self.is_off = true;
                io::Error::other("the machine stops")
            }
            Fault::Io | Fault::Short => io::Error::other("the disk fails"),
        }
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8], is_durable: bool) -> io::Result<usize> {
        let fault = self.operation()?;
        let grown = self.files.get(&file).map_or(0, |content| {
            (offset + bytes.len()).saturating_sub(content.seen.len())
        });
        let sizes = self.names.values().filter_map(|file| self.files.get(file));
        let total: usize = sizes.map(|content| content.seen.len()).sum();
        if grown > 0 && self.space.is_some_and(|space| (total + grown) as u64 > space) {
            return Err(self.fail(Fault::NoSpace));
        }
        let count = match fault {
            None => bytes.len(),
            Some(Fault::NoSpace) => 0,
            Some(_) => self.random.usize(..=bytes.len() / SECTOR) * SECTOR,
        };
        let done = bytes.get(..count).unwrap_or(bytes);
        // What a failed write has done is not durable, whatever was requested.
        let is_durable = is_durable && matches!(fault, None | Some(Fault::Short));
        if let Some(content) = self.files.get_mut(&file) {
            content.write(offset, done, is_durable);
        }
        match fault {
            None | Some(Fault::Short) => Ok(done.len()),
            Some(fault) => Err(self.fail(fault)),
        }
    }

    /// Each change of the folder that was not synced is kept or dropped.
    fn drop_unsynced_names(&mut self) {
        let mut names = self.durable_names.clone();
        for (name, file) in &self.names {
            if !names.contains_key(name) && self.random.bool() {
                names.insert(name.clone(), *file);
            }
        }
        for name in self.durable_names.keys() {
            if !self.names.contains_key(name) && self.random.bool() {
                names.remove(name);
            }
        }
        self.durable_names.clone_from(&names);
        self.names = names;
        let Self { files, names, .. } = self;
        files.retain(|file, _| names.values().any(|named| named == file));
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8], is_durable: bool) {
        put(&mut self.seen, offset, bytes);
        if is_durable && self.writes.is_empty() {
            put(&mut self.durable, offset, bytes);
        } else {
            let bytes = bytes.to_vec();
            self.writes.push(Write {
                offset,
                bytes,
                is_durable,
            });
        }
    }

    fn sync(&mut self) {
        for write in self.writes.drain(..) {
            put(&mut self.durable, write.offset, &write.bytes);
        }
    }

    fn lose(&mut self, random: &mut fastrand::Rng) {
        for write in std::mem::take(&mut self.writes) {
            let keep_of_4 = if write.is_durable { 4 } else { random.u8(0..5) };
            for (number, sector) in write.bytes.chunks(SECTOR).enumerate() {
                if random.u8(0..4) < keep_of_4 {
                    put(&mut self.durable, write.offset + number * SECTOR, sector);
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl FileLayer for SimulatedDisk {
    fn folder(&self) -> &Path {
        Path::new("simulated")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.whole_operation()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StoreFile>> {
        let mut state = self.state();
        state.whole_operation()?;
        let file = match state.names.get(name) {
            Some(file) => *file,
            None if create => {
                state.next_file += 1;
                let file = state.next_file;
                state.names.insert(name.to_owned(), file);
                state.files.insert(file, Content::default());
                file
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let disk = self.clone();
        Ok(Box::new(SimulatedFile { disk, file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_operation()?;
        state
            .names
            .remove(name)
            .map(drop)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole_operation()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        state.whole_operation()?;
        let State {
            files,
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.clone_from(names);
        files.retain(|file, _| names.values().any(|named| named == file));
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
}

impl StoreFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state();
        Ok(state
            .files
            .get(&self.file)
            .map_or(0, |content| content.seen.len() as u64))
    }

    fn write_at(&self, offset: u64, bytes: &[u8], way: WriteWay) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let is_durable = way == WriteWay::Durable;
        self.disk.state().write(self.file, offset, bytes, is_durable)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.whole_operation()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let seen = state
            .files
            .get(&self.file)
            .and_then(|content| content.seen.get(offset..));
        let seen = seen.unwrap_or_default();
        let count = seen.len().min(bytes.len());
        if let (Some(target), Some(source)) = (bytes.get_mut(..count), seen.get(..count)) {
            target.copy_from_slice(source);
        }
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.whole_operation()?;
        if state.stops_at_sync {
            return Err(state.fail(Fault::Stop));
        }
        if let Some(content) = state.files.get_mut(&self.file) {
            content.sync();
        }
        Ok(())
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(target) = content.get_mut(offset..end) {
        target.copy_from_slice(bytes);
    }
}

/// The unit that a disk writes as a whole.
const SECTOR: usize = 512;
