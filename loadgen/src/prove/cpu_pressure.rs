//! Takes CPU time away from a generator: with busy loops on its core, or with a control group that has a quota.
//!
//! Invariant: both effects end when their values are dropped: the loops stop, and the group is removed once it is
//! empty.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::system::cpus::Cpus;

/// Threads that compete for a core with everything else that runs on it.
#[derive(Debug)]
pub struct BusyCore {
    core: usize,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyCore {
    /// Makes the last CPU of this process busy.
    ///
    /// # Errors
    /// When the threads cannot be pinned to the CPU.
    pub fn start() -> io::Result<BusyCore> {
        let allowed = Cpus::allowed();
        let last = allowed.one(allowed.count() - 1);
        let core = last.to_string().parse().map_err(io::Error::other)?;
        let over = Arc::new(AtomicBool::new(false));
        let mut busy = BusyCore {
            core,
            over: Arc::clone(&over),
            threads: Vec::new(),
        };
        for _ in 0..BUSY_THREADS {
            let (over, last) = (Arc::clone(&over), last.clone());
            let builder = thread::Builder::new().name("busy".to_owned());
            busy.threads.push(builder.spawn(move || {
                if last.confine_this_thread().is_ok() {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            })?);
        }
        Ok(busy)
    }

    /// The number of the CPU that the loops run on.
    pub fn core(&self) -> usize {
        self.core
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has stopped as well.
            let _ = thread.join();
        }
    }
}

/// The words of a command that starts its program only when its standard input is closed: by then the process is
/// in its control group.
pub(super) fn waiting(words: Vec<OsString>) -> Vec<OsString> {
    let shell = ["sh", "-c", "read -r line; exec \"$@\"", "sh"].map(OsString::from);
    shell.into_iter().chain(words).collect()
}

/// A control group, version 1 or 2, in which a tenth of a core may be used.
#[derive(Debug)]
pub struct Quota(PathBuf);

impl Quota {
    /// Creates the group.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub fn make() -> Result<Quota, String> {
        let name = format!("loadgen-prove-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/cpu").join(&name);
        let version_2 = Path::new("/sys/fs/cgroup").join(&name);
        let as_root =
            |error: io::Error| format!("no control group with a quota can be made ({error}): run as root");
        if version_1.parent().is_some_and(Path::is_dir) {
            fs::create_dir(&version_1).map_err(as_root)?;
            let quota = Quota(version_1);
            quota.write("cpu.cfs_period_us", "100000").map_err(as_root)?;
            quota.write("cpu.cfs_quota_us", "10000").map_err(as_root)?;
            return Ok(quota);
        }
        fs::create_dir(&version_2).map_err(as_root)?;
        let quota = Quota(version_2);
        quota.write("cpu.max", "10000 100000").map_err(as_root)?;
        Ok(quota)
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// When the group's file cannot be written.
    pub fn limit(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        fs::write(self.0.join(name), value)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A group that still contains a process stays until the machine is restarted.
        let _ = fs::remove_dir(&self.0);
    }
}

/// With three busy threads the generator gets a quarter of the core.
const BUSY_THREADS: usize = 3;
