//! Answers of a broker as text for people.
//!
//! Invariants: a row is one line, and no control character of a name reaches the terminal.

use serde_json::{Map, Value};

/// An object as lines of names and values; what was only done is shown as nothing.
pub(super) fn shown(body: &str) -> String {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(body) else {
        return body.to_owned();
    };
    let width = object.keys().map(String::len).max().unwrap_or_default();
    let lines = object.iter().filter(|(name, _)| *name != "done");
    lines
        .map(|(name, value)| format!("{name:width$}  {}\n", cell(value)))
        .collect()
}

/// Objects as a table with a column for each name.
pub(super) fn table(items: &[Value]) -> String {
    let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else {
        return String::new();
    };
    let columns: Vec<&str> = COLUMNS
        .into_iter()
        .filter(|name| first.contains_key(*name))
        .collect();
    let mut lines = vec![columns.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>()];
    for row in rows {
        lines.push(
            columns
                .iter()
                .map(|name| row.get(*name).map(cell).unwrap_or_default())
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            let cells = lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text
            .chars()
            .map(|character| match character.is_control() {
                true => character.escape_unicode().to_string(),
                false => character.to_string(),
            })
            .collect(),
        other => other.to_string(),
    }
}

/// The columns of tables, in their order, where the items have them.
const COLUMNS: [&str; 21] = [
    "trace",
    "time",
    "kind",
    "reason",
    "client_id",
    "topic",
    "filter",
    "user",
    "connected",
    "protocol",
    "listener",
    "keep_alive_s",
    "expiry_s",
    "away_s",
    "subscriptions",
    "queued_messages",
    "inflight",
    "qos",
    "payload_bytes",
    "address",
    "file",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_column_for_each_name() {
        let items = [
            json!({ "filter": "a/#", "client_id": "x\u{1b}[31m", "qos": null }),
            json!({ "filter": "b", "client_id": "longer", "qos": 2 }),
        ];
        assert_eq!(
            table(&items),
            "CLIENT_ID    FILTER  QOS\nx\\u{1b}[31m  a/#     -\nlonger       b       2\n"
        );
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn an_object_is_shown_line_by_line() {
        assert_eq!(shown(r#"{"done":true}"#), "");
        assert_eq!(
            shown(r#"{"client_id":"a","user":null}"#),
            "client_id  a\nuser       -\n"
        );
    }
}
