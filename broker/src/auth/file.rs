//! Reading the files that say who may do what: bounded, line by line, with every mistake named by its place.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::config::{ConfigError, Place, Problem};

/// Bytes of one file at most: a million users. A larger one is another file by mistake.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Mistakes told at most.
const PROBLEMS_MAX: usize = 20;

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    read_bounded(path).map_err(|cause| {
        let hint = "check the path (password_file, acl_file) and that the user who runs this may read it";
        problem(path, format!("cannot be read: {cause}; {hint}"))
    })
}

/// Whether users other than its owner and group may read the file, which is a warning.
pub(super) fn is_world_readable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// A mistake that no line has.
pub(super) fn problem(path: &Path, text: String) -> ConfigError {
    let place = Place {
        file: Arc::from(path),
        line: 0,
    };
    ConfigError {
        problems: vec![Problem { place, text }],
    }
}

/// The lines of a file that say something, and the mistakes in them.
pub(super) struct Lines<'a> {
    file: Arc<Path>,
    rest: Option<&'a [u8]>,
    number: u32,
    problems: Vec<Problem>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(path: &Path, text: &'a [u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self {
            file: Arc::from(path),
            rest: Some(text),
            number: 0,
            problems: Vec::new(),
        }
    }

    /// The next line that is neither empty nor a comment, blanks around it trimmed; UTF-8 without control characters.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        while self.problems.len() < PROBLEMS_MAX {
            let line = self.next_line()?.trim_ascii();
            self.number = self.number.saturating_add(1);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match std::str::from_utf8(line) {
                Ok(line) if line.contains(|c: char| c.is_control() && c != '\t') => {
                    self.problem("the line has a control character".to_owned());
                }
                Ok(line) => return Some(line),
                Err(_) => self.problem("the line is not UTF-8".to_owned()),
            }
        }
        None
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let Some((line, behind)) = end.and_then(|end| rest.split_at_checked(end)) else {
            return Some(rest);
        };
        self.rest = behind.get(1..);
        Some(line)
    }

    /// The line that came last is wrong.
    pub(super) fn problem(&mut self, text: String) {
        let place = Place {
            file: Arc::clone(&self.file),
            line: self.number,
        };
        self.problems.push(Problem { place, text });
    }

    /// All mistakes, if there were any.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        match self.problems {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ConfigError { problems }),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 256 MiB"));
    }
    Ok(text)
}
