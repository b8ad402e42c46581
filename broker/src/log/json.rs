//! A line of the log as a JSON object.
//!
//! Invariants: an object is one line, and text from a client stays inside its string.

use serde_json::{Map, Value};

use super::time_prefix::TimePrefix;
use super::types::LogTypes;

/// The object of a line of text, which ends in a newline and may begin with the name of its level.
pub(super) fn json_line(timestamp: &TimePrefix, types: LogTypes, line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let prefix = match types {
        LogTypes::ERROR => "Error: ",
        LogTypes::WARNING => "Warning: ",
        _ => "",
    };
    let mut object = Map::new();
    if let Some(time) = timestamp.text() {
        object.insert("time".to_owned(), Value::from(time));
    }
    object.insert("type".to_owned(), Value::from(types.name()));
    let message = text.strip_prefix(prefix).unwrap_or(text);
    object.insert("message".to_owned(), Value::from(message));
    let mut bytes = Value::Object(object).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
