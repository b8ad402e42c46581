//! `pid_file`: writes the process id into a file.
//!
//! Invariants: the file is removed when the broker ends.

use std::path::Path;

use super::error::ServerError;

/// `pid_file`, removed when the broker ends.
pub(super) struct PidFile<'a>(Option<&'a Path>);

impl PidFile<'_> {
    /// Writes the file, if it is configured.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(path: Option<&Path>) -> Result<PidFile<'_>, ServerError> {
        if let Some(path) = path {
            std::fs::write(path, format!("{}\n", std::process::id())).map_err(|source| {
                ServerError::PidFile {
                    path: path.to_owned(),
                    source,
                }
            })?;
        }
        Ok(PidFile(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = self.0.map(std::fs::remove_file);
    }
}
