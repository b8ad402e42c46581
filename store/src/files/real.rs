//! The file layer of Linux.
//!
//! Invariants: files have mode 0600 and the folder 0700. Durable writes bypass the page cache if the file system
//! supports it, and are durable when the call returns: with `RWF_DSYNC` if the kernel has it, else with `fdatasync`.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::{FileLayer, StoreFile, WriteWay};

/// A folder of the file system.
#[derive(Debug)]
pub(crate) struct RealFiles {
    folder: PathBuf,
    is_read_only: bool,
}

impl RealFiles {
    /// Creates the folder if it does not exist.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            is_read_only: false,
        })
    }

    /// Opens a folder only for reading.
    pub(crate) fn read_only(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            is_read_only: true,
        }
    }
}

impl FileLayer for RealFiles {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StoreFile>> {
        let path = self.folder.join(name);
        if !create {
            check_regular(&path)?;
        }
        if self.is_read_only {
            return Ok(Box::new(RealFile {
                direct: None,
                cached: File::open(&path)?,
                is_direct: AtomicBool::new(false),
                has_durable_writes: AtomicBool::new(true),
            }));
        }
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600);
        let cached = options.open(&path)?;
        let direct_flag = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
        let direct = options.custom_flags(direct_flag).open(&path).ok();
        Ok(Box::new(RealFile {
            is_direct: AtomicBool::new(direct.is_some()),
            direct,
            cached,
            has_durable_writes: AtomicBool::new(true),
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Refuses a folder, a pipe or a device: opening it may block for ever.
pub(crate) fn check_regular(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR))
    }
}

const NOT_REGULAR: &str = "it is not a regular file";

/// One file, opened twice: reads use the page cache, writes do not.
#[derive(Debug)]
struct RealFile {
    direct: Option<File>,
    cached: File,
    is_direct: AtomicBool,
    has_durable_writes: AtomicBool,
}

impl RealFile {
    fn write_with(&self, file: &File, offset: u64, bytes: &[u8], way: WriteWay) -> io::Result<usize> {
        let durable = way == WriteWay::Durable;
        if durable && self.has_durable_writes.load(Relaxed) {
            match rustix::io::pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.has_durable_writes.store(false, Relaxed),
                result => return Ok(result?),
            }
        }
        let count = rustix::io::pwrite(file, bytes, offset)?;
        if durable {
            rustix::fs::fdatasync(file)?;
        }
        Ok(count)
    }
}

impl StoreFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    fn write_at(&self, offset: u64, bytes: &[u8], way: WriteWay) -> io::Result<usize> {
        let is_direct = way != WriteWay::Cached && self.is_direct.load(Relaxed);
        if let Some(direct) = self.direct.as_ref().filter(|_| is_direct) {
            match self.write_with(direct, offset, bytes, way) {
                // The file system accepts the flag and then refuses to do it.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.is_direct.store(false, Relaxed);
                }
                result => return result,
            }
        }
        self.write_with(&self.cached, offset, bytes, way)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.cached.read_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.cached)?)
    }
}
