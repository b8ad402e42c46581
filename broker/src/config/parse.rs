//! The lines of a configuration file: `key value`, `#` begins a comment line.
//!
//! Invariant: keys and values that leave here are UTF-8 without control characters, so that they may stand in messages
//! and logs as they are.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// One setting as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) number: u32,
    pub(super) key: &'a str,
    /// What follows the key, inner spaces included; may be empty.
    pub(super) value: &'a str,
}

/// The settings of a text, or for each line that cannot be read its number and what is wrong.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, (u32, &'static str)>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let numbered = bytes.split(|&byte| byte == b'\n').zip(1_u32..);
    numbered.filter_map(|(line, number)| read_line(line, number).transpose())
}

fn read_line(line: &[u8], number: u32) -> Result<Option<Line<'_>>, (u32, &'static str)> {
    if line.trim_ascii_start().first() == Some(&b'#') {
        return Ok(None);
    }
    let line = std::str::from_utf8(line)
        .map_err(|_| (number, "the line is not UTF-8"))?
        .trim();
    if line
        .chars()
        .any(|character| character.is_control() && character != '\t')
    {
        return Err((number, "the line has a control character"));
    }
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    Ok((!key.is_empty()).then(|| Line {
        number,
        key,
        value: value.trim(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Line<'_>, (u32, &'static str)>> {
        lines(text.as_bytes()).collect()
    }

    #[test]
    fn keys_values_comments() {
        let text =
            "\u{feff}# comment\n\nport 1883  \r\n\tlog_dest \t file a b.log\npersistence\n  # port 1\n";
        let expected = [
            (3, "port", "1883"),
            (4, "log_dest", "file a b.log"),
            (5, "persistence", ""),
        ];
        let expected = expected.map(|(number, key, value)| Ok(Line { number, key, value }));
        assert_eq!(read(text), expected);
    }

    #[test]
    fn a_hash_inside_a_value_belongs_to_it() {
        assert_eq!(read("mount_point a#b")[0].unwrap().value, "a#b");
    }

    #[test]
    fn unreadable_lines() {
        assert_eq!(
            lines(b"port 1\nport \xff\n").nth(1),
            Some(Err((2, "the line is not UTF-8")))
        );
        assert_eq!(read("port 1\0"), [Err((1, "the line has a control character"))]);
        assert_eq!(
            lines(b"# \xff caf\xe9\n").count(),
            0,
            "a comment may be in any encoding"
        );
    }
}
