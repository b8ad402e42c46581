//! Reading the password and ACL files: bounded, line by line, with every mistake named by its place.
//!
//! Invariants: those of [`crate::files`].

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::files::{self, FileError, FilePlace, FileProblem};
use crate::limits;

/// The text of a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read_bounded(path, "password or ACL file", limits::ACCESS_FILE_BYTES_MAX).map_err(|cause| {
        let fix = "fix: check the path (password_file, acl_file) and that the broker's user may read it";
        FileError::of_file(path, format!("cannot be read: {cause}; {fix}"))
    })
}

/// Whether users other than its owner and group may read the file, which is a warning.
pub(super) fn is_world_readable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// Passes each line with content to `entry`, and collects the mistakes that it returns.
///
/// # Errors
/// All mistakes, up to a number of them.
pub(super) fn for_each_line<'a>(
    path: &Path,
    text: &'a [u8],
    mut entry: impl FnMut(&'a str) -> Result<(), String>,
) -> Result<(), FileError> {
    let file: Arc<Path> = Arc::from(path);
    let mut problems = Vec::new();
    for (number, line) in files::content_lines(text) {
        if let Err(text) = line.map_err(str::to_owned).and_then(&mut entry) {
            let place = FilePlace {
                file: Arc::clone(&file),
                line: number,
            };
            problems.push(FileProblem { place, text });
        }
        if problems.len() >= limits::FILE_PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(FileError { problems })
    }
}
