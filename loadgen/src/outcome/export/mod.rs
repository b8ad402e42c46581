//! Writes an outcome to files.
//!
//! `windows` is the time series as CSV, `hgrm` the percentiles in the format of HdrHistogram's plotters, `hlog` the
//! histogram of each interval in the format of its log readers.
//!
//! Invariants: a JSON file is complete or does not exist. Other files than regular ones (a pipe, a device, a symbolic
//! link) are written in place and never replaced: `tests::what_is_no_regular_file_is_written_in_place`.

mod hgrm;
mod hlog;
mod windows;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::outcome::Outcome;

/// Writes an outcome as JSON: completely or not at all if the path is free or a regular file, in place otherwise.
///
/// # Errors
/// The error of writing.
pub fn write_json<T: serde::Serialize>(outcome: &T, path: &Path) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(outcome)?;
    text.push(b'\n');
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => write_in_place(&text, path),
        _ => replace(&text, path),
    }
}

fn replace(text: &[u8], path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn write_in_place(text: &[u8], path: &Path) -> io::Result<()> {
    // A symbolic link may name a file that does not exist yet.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(text)
}

/// Writes a run's outcome, time series and histograms into a folder.
///
/// # Errors
/// The error of writing.
pub fn write_folder(outcome: &Outcome, folder: &Path) -> io::Result<()> {
    write_json(outcome, &folder.join("result.json"))?;
    fs::write(folder.join("windows.csv"), windows::csv(&outcome.series)?)?;
    fs::write(
        folder.join("latency.hgrm"),
        hgrm::text(&outcome.histograms.latency),
    )?;
    fs::write(
        folder.join("latency.hlog"),
        hlog::bytes(&outcome.histograms, outcome.started_unix_s)?,
    )
}

#[cfg(test)]
mod tests;
