//! The file layer: the store's interface to the operating system.
//!
//! `real.rs` is Linux, `simulated.rs` a disk in memory, `lock.rs` excludes a second process.
//!
//! Invariants: nothing else in this crate accesses files. A durable write makes its bytes durable without a sync of
//! the folder only if the file's length does not change; therefore segments are written to their whole length before
//! they take commits.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) mod lock;
pub(crate) mod real;
pub mod simulated;

/// The files of one folder.
pub trait FileLayer: Debug + Send {
    /// The path of the folder, for messages.
    fn folder(&self) -> &Path;

    /// Names of the files in it.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing, and creates it if `create`.
    ///
    /// # Errors
    /// The file does not exist, is not a regular file, or cannot be opened or created.
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StoreFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// The file does not exist or cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Renames a file to a name that is not in use.
    ///
    /// # Errors
    /// The file does not exist or cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the list of files durable.
    ///
    /// # Errors
    /// The folder cannot be synced.
    fn sync_folder(&self) -> io::Result<()>;

    /// The path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

/// An open file of the folder, for reading and writing.
pub trait StoreFile: Debug + Send + Sync {
    /// The size of the file in bytes.
    ///
    /// # Errors
    /// The system does not report it.
    fn size(&self) -> io::Result<u64>;

    /// Writes bytes at an offset, both multiples of 4,096; returns how many were written.
    ///
    /// # Errors
    /// Nothing, or an unknown part, was written.
    fn write_at(&self, offset: u64, bytes: &[u8], way: WriteWay) -> io::Result<usize>;

    /// Reads bytes at an offset; fewer than requested at the end of the file.
    ///
    /// # Errors
    /// The bytes cannot be read.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// What was written since the last time may be lost.
    fn sync(&self) -> io::Result<()>;
}

/// Where the bytes are when a write has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteWay {
    /// On the disk, whatever happens afterwards.
    Durable,
    /// On their way to the disk, bypassing the page cache if the file system supports it.
    Direct,
    /// In the page cache, which is cheapest for small writes that are synced together.
    Cached,
}

/// Writes all bytes, continuing after short writes at whole blocks.
pub(crate) fn write_all(file: &dyn StoreFile, offset: u64, bytes: &[u8], way: WriteWay) -> io::Result<()> {
    let mut written = 0;
    let mut idle = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let count = file.write_at(offset + written as u64, rest, way)?;
        // Direct I/O cannot continue within a block.
        let whole = if count == rest.len() {
            count
        } else {
            count / crate::block::BLOCK * crate::block::BLOCK
        };
        idle = if whole == 0 { idle + 1 } else { 0 };
        if idle > SHORT_WRITES_MAX {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written += whole;
    }
    Ok(())
}

/// Fills `bytes` from an offset; returns how many bytes there are before the end of the file.
pub(crate) fn read_all(file: &dyn StoreFile, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + read as u64, rest)? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

/// Number of consecutive writes without progress that counts as an error.
const SHORT_WRITES_MAX: u32 = 3;
