//! Writes an outcome to files.
//!
//! `windows` is the time series as CSV, `hgrm` the percentiles in the format of HdrHistogram's plotters, `hlog` the
//! histogram of each interval in the format of its log readers.
//!
//! Invariants: a JSON file is complete or does not exist.

mod hgrm;
mod hlog;
mod windows;

use std::fs;
use std::io;
use std::path::Path;

use crate::outcome::Outcome;

/// Writes an outcome as JSON, whole or not at all.
///
/// # Errors
/// What writing gives.
pub fn write_json<T: serde::Serialize>(outcome: &T, path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, outcome)?;
    io::Write::write_all(&mut file, b"\n")?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes a run's outcome, time series and histograms into a folder.
///
/// # Errors
/// What writing gives.
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
