//! Files that a command writes besides its text on the terminal: the outcome as JSON, or a folder with the generator's
//! ceiling and a report.
//!
//! Invariant: a path that cannot be written is reported before anything is measured, as far as that can be known then.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{Access, access};
use serde::Serialize;

use crate::html;
use crate::options::command_line;
use crate::outcome::export;
use crate::selftest::{self, Selftest};
use crate::system::cpus::Cpus;
use crate::system::error::Failure;

/// Creates the new folder of an outcome before anything is measured, and writes the command into it.
pub(super) fn make_folder(folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else { return Ok(()) };
    let made = std::fs::create_dir(folder)
        .and_then(|()| std::fs::write(folder.join("command"), format!("{}\n", command_line())));
    made.map_err(Failure::system(format!(
        "cannot create the folder {}",
        folder.display()
    )))
}

/// Checks that the file of an outcome can be written, before anything is measured.
pub(super) fn check_writable(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let refuse = || Failure::system(format!("cannot write {}", path.display()));
    if path.is_dir() {
        return Err(refuse()(std::io::ErrorKind::IsADirectory.into()));
    }
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    let checked = if path.exists() {
        access(path, Access::WRITE_OK)
    } else {
        // The search through it fails if a file is in the place of a folder.
        access(folder, Access::EXISTS | Access::WRITE_OK | Access::EXEC_OK)
    };
    checked.map_err(|error| refuse()(error.into()))
}

/// Writes an outcome as JSON, if that is requested.
pub(super) fn write_json<T: Serialize>(outcome: &T, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    export::write_json(outcome, path).map_err(Failure::system(format!("cannot write {}", path.display())))
}

/// Writes the outcome of several runs into its folder, with the generator's ceiling and the report.
pub(super) fn write_folder<T: Serialize>(
    outcome: &T,
    folder: Option<&Path>,
    name: &str,
    cpus: Option<&Cpus>,
    interrupted: &AtomicBool,
) -> Result<(), Failure> {
    let Some(folder) = folder else { return Ok(()) };
    write_ceiling(folder, cpus, interrupted)?;
    write_json(outcome, Some(&folder.join(name)))?;
    let written = html::write(folder);
    written.map_err(Failure::system(format!("cannot write into {}", folder.display())))?;
    Ok(())
}

/// Writes the ceiling of the generator itself beside each result: a short selftest.
pub(super) fn write_ceiling(
    folder: &Path,
    cpus: Option<&Cpus>,
    interrupted: &AtomicBool,
) -> Result<(), Failure> {
    let selftest = Selftest {
        duration: CEILING,
        cpus: cpus.cloned(),
    };
    match selftest::run(&selftest, interrupted) {
        Ok(ceiling) => write_json(&ceiling, Some(&folder.join("selftest.json"))),
        // The measurements are kept nevertheless.
        Err(Failure::Interrupted) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Length of each of its runs.
const CEILING: Duration = Duration::from_millis(500);
