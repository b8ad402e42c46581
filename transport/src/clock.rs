//! Clocks, and what `/proc` states about a process.
//!
//! Invariants: none.
#![allow(unsafe_code, reason = "clock_getcpuclockid has no safe wrapper")]

use std::io;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time of CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// The time of CLOCK_REALTIME in nanoseconds.
pub fn real_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of all threads of a process, including ended ones, in nanoseconds.
///
/// # Errors
/// `NotFound` if there is no such process.
pub fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write only to the variables whose addresses they receive.
    let failed = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
    };
    if failed {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no process {pid}"),
        ));
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Resident memory of a process in bytes, exact (`smaps_rollup`); as [`process_rss_bytes_about`] for a process that
/// does not allow reading its memory.
///
/// # Errors
/// The errors of reading `/proc/PID/smaps_rollup` or `/proc/PID/statm`.
pub fn process_rss_bytes(pid: u32) -> io::Result<u64> {
    let text = match std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return process_rss_bytes_about(pid),
        text => text?,
    };
    text.lines()
        .find_map(|line| {
            line.strip_prefix("Rss:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Rss line in smaps_rollup"))
}

/// Resident memory of a process in bytes as the kernel counts it continuously (`statm`): inexact by some pages for
/// each thread, and cheap however large the process is.
///
/// # Errors
/// The errors of reading `/proc/PID/statm`.
pub fn process_rss_bytes_about(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let bytes = pages.map(|pages| pages.saturating_mul(rustix::param::page_size() as u64));
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no resident pages in statm"))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_readings_of_the_memory_see_a_block_come() {
        let pid = std::process::id();
        let read = || {
            [
                process_rss_bytes(pid).unwrap(),
                process_rss_bytes_about(pid).unwrap(),
            ]
        };
        let before = read();
        let block = vec![1_u8; 64 << 20];
        for (before, after) in before.into_iter().zip(read()) {
            assert!(after > before + (32 << 20), "{before} {after}");
        }
        drop(std::hint::black_box(block));
        // No process has this number.
        assert!(process_rss_bytes_about(u32::MAX).is_err());
    }
}
