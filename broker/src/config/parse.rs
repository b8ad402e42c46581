//! The lines of a configuration file: `key value`; a line that begins with `#` is a comment.
//!
//! Invariants: those of [`crate::files`].

use crate::files::content_lines;

/// One setting as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyValue<'a> {
    pub(super) key: &'a str,
    /// What follows the key, inner spaces included; may be empty.
    pub(super) value: &'a str,
}

/// The settings of a text, each with its line number, or what is wrong with the line.
pub(super) fn settings(text: &[u8]) -> impl Iterator<Item = (u32, Result<KeyValue<'_>, &'static str>)> {
    content_lines(text).map(|(number, line)| (number, line.map(split)))
}

fn split(line: &str) -> KeyValue<'_> {
    let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    KeyValue {
        key,
        value: value.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u32, Result<KeyValue<'_>, &'static str>)> {
        settings(text.as_bytes()).collect()
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
        let expected = expected.map(|(number, key, value)| (number, Ok(KeyValue { key, value })));
        assert_eq!(read(text), expected);
    }

    #[test]
    fn a_hash_inside_a_value_belongs_to_it() {
        assert_eq!(read("mount_point a#b")[0].1.unwrap().value, "a#b");
    }

    #[test]
    fn unreadable_lines() {
        assert_eq!(
            settings(b"port 1\nport \xff\n").nth(1),
            Some((2, Err("the line is not UTF-8")))
        );
        assert_eq!(read("port 1\0"), [(1, Err("the line has a control character"))]);
        assert_eq!(
            settings(b"# \xff caf\xe9\n").count(),
            0,
            "a comment may be in any encoding"
        );
    }
}
