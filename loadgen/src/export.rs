//! The outcome in files.

use std::io;
use std::path::Path;

/// Writes the outcome as JSON, whole or not at all.
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
