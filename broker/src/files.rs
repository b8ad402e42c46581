//! Reads files that an operator wrote, completely and up to a bound, and names the place of every mistake in them;
//! replaces files atomically.
//!
//! Invariants: a line that is returned is UTF-8 without control characters, so messages and logs may show it as it is.
//! A file that is larger than its bound is not read to its end.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// One or several files that cannot be used. Its text has one line for each mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The mistakes in the order in which they were found; at least one.
    pub problems: Vec<FileProblem>,
}

/// A mistake in a file, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Where the mistake is.
    pub place: FilePlace,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// A line of a file, or a file as a whole, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
}

impl FileError {
    /// A single mistake that belongs to no line.
    pub(crate) fn of_file(path: &Path, text: String) -> Self {
        let place = FilePlace::whole(path);
        Self {
            problems: vec![FileProblem { place, text }],
        }
    }
}

impl FilePlace {
    /// A place that is the file as a whole, without a line.
    pub(crate) fn whole(path: &Path) -> Self {
        Self {
            file: Arc::from(path),
            line: 0,
        }
    }

    /// The place of a mistake that is in no file.
    pub(crate) fn command_line() -> Self {
        Self::whole(Path::new("command line"))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// The bytes of a file; `kind` is the kind of file for messages.
///
/// # Errors
/// It cannot be read, or has more than `bytes_max`.
pub(crate) fn read_bounded(path: &Path, kind: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if read as u64 > bytes_max {
        let mib = bytes_max >> 20;
        return Err(io::Error::other(format!(
            "it is larger than a {kind} may be ({mib} MiB)"
        )));
    }
    Ok(bytes)
}

/// Replaces `path` atomically by a file with this content: a reader sees the old file or the new one. A link stays a
/// link, and the owner is kept, so that a broker that runs as another user can still read it. Only the owner may read
/// it.
///
/// # Errors
/// It cannot be written; the old file is unchanged.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    // A file that a killed process with the same id left, such as the first process of a container.
    let _removed = fs::remove_file(&temporary);
    let result = write_new(&temporary, path, content).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // It may not exist.
        let _removed = fs::remove_file(&temporary);
    }
    result?;
    // The name is as durable as the content; if folders cannot be synchronised, it is durable a little later.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _synchronised = folder.sync_all();
    }
    Ok(())
}

fn write_new(temporary: &Path, replaced: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    if let Ok(before) = fs::metadata(replaced) {
        // Only root may change the owner; any other user owned the old file too, or could not have written the new
        // one.
        let _kept = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
    }
    file.write_all(content)?;
    file.sync_all()
}

/// The lines of a text that are neither empty nor a comment (`#`), without surrounding blanks, each with its number
/// from 1, or with what is wrong with the line. A byte order mark at the beginning is skipped.
pub(crate) fn content_lines(text: &[u8]) -> impl Iterator<Item = (u32, Result<&str, &'static str>)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let numbered = (1_u32..).zip(text.split(|&byte| byte == b'\n'));
    numbered.filter_map(|(number, line)| Some((number, content(line)?)))
}

fn content(line: &[u8]) -> Option<Result<&str, &'static str>> {
    let line = line.trim_ascii();
    // A comment may be in any encoding.
    if line.starts_with(b"#") {
        return None;
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return Some(Err("the line is not UTF-8"));
    };
    let line = line.trim();
    if line.contains(|character: char| character.is_control() && character != '\t') {
        return Some(Err("the line has a control character"));
    }
    (!line.is_empty()).then_some(Ok(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_are_left_out() {
        let text = "\u{feff}# comment\n\n a b \r\n\t\n  # c\nd # e\n";
        let found: Vec<_> = content_lines(text.as_bytes()).collect();
        assert_eq!(found, [(3, Ok("a b")), (6, Ok("d # e"))]);
    }

    #[test]
    fn unreadable_lines_are_named() {
        let found: Vec<_> = content_lines(b"a\nb \xff\nc\0d\n# \xff caf\xe9\n").collect();
        assert_eq!(
            found,
            [
                (1, Ok("a")),
                (2, Err("the line is not UTF-8")),
                (3, Err("the line has a control character")),
            ]
        );
    }

    #[test]
    fn a_file_above_its_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, vec![b'a'; 2 << 20]).unwrap();
        assert_eq!(read_bounded(&path, "file", 2 << 20).unwrap().len(), 2 << 20);
        assert!(
            read_bounded(&path, "file", 1 << 20)
                .unwrap_err()
                .to_string()
                .contains("1 MiB")
        );
    }

    #[test]
    fn places_as_messages_name_them() {
        let error = FileError::of_file(Path::new("a/b"), "is wrong".to_owned());
        assert_eq!(error.to_string(), "a/b: is wrong");
        let line = FilePlace {
            line: 7,
            ..FilePlace::whole(Path::new("a/b"))
        };
        assert_eq!(line.to_string(), "a/b:7");
    }
}
