//! Answers of a broker as text for people.
//!
//! Invariants: a row is one line, and no character of a name can change what the terminal shows. A cell of a table has
//! a bounded width.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::limits::CELL_CHARACTERS_MAX;
use crate::log::{escaped, is_unsafe};

/// An object as lines of names and values; an answer without a value prints nothing.
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

/// What a reload has applied, what it has not applied, and what some shards have not applied yet: a line each.
pub(super) fn reloaded(body: &str) -> String {
    let report: Value = serde_json::from_str(body).unwrap_or_default();
    let all = |name: &str| {
        report
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let of = |kept: &Value, name: &str| kept.get(name).map(cell).unwrap_or_default();
    let lines = |head: &str, name: &str| {
        let lines = all(name);
        let lines = lines.iter().map(|line| format!("{head:9}{}\n", cell(line)));
        lines.collect::<String>()
    };
    let kept = all("kept")
        .iter()
        .map(|kept| {
            format!(
                "kept     {}: {} (needs a {})\n",
                of(kept, "what"),
                of(kept, "why"),
                of(kept, "needs")
            )
        })
        .collect::<String>();
    lines("taken", "taken") + &lines("pending", "pending") + &kept + &lines("warning", "warnings")
}

/// Objects as a table with those of these columns that an object has; without objects it has all columns, and
/// `(none)`.
pub(super) fn table(columns: &[&str], items: &[Value]) -> String {
    let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let has = |name: &str| rows.is_empty() || rows.iter().any(|row| row.contains_key(name));
    let columns: Vec<&str> = columns.iter().copied().filter(|name| has(name)).collect();
    let mut lines = vec![columns.iter().map(|name| heading(name)).collect::<Vec<_>>()];
    for row in &rows {
        let cell = |name: &&str| {
            row.get(*name)
                .map(|value| cut(measure(name, value)))
                .unwrap_or_default()
        };
        lines.push(columns.iter().map(cell).collect());
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
    if rows.is_empty() {
        text.push_str("(none)\n");
    }
    text
}

/// The line below the table of CPU times: how long was measured, and what all clients used together.
pub(super) fn measured(answer: &Value) -> String {
    let of = |name: &str| answer.get(name).and_then(Value::as_f64).unwrap_or_default();
    let time = |name: &str| answer.get(name).map(cell).unwrap_or_default();
    let (measured_s, cpu_s) = (of("measured_s"), of("cpu_s"));
    let cores = if measured_s > 0.0 { cpu_s / measured_s } else { 0.0 };
    format!(
        "In {measured_s} s, from {} to {}, all clients together took {}, {} of a core.\n",
        time("from"),
        time("to"),
        duration(cpu_s),
        percent(cores)
    )
}

/// The line below the table of events if an entry stands for several events.
pub(super) fn events_explained(items: &[Value]) -> &'static str {
    let is_many = |item: &Value| item.get("count").and_then(Value::as_u64) > Some(1);
    match items.iter().any(is_many) {
        true => "If TIMES is more than 1, SINCE is the time of the first and TIME that of the last.\n",
        false => "",
    }
}

/// JSON that is safe to show on a terminal: characters in its texts that are not printable are escaped.
pub(super) fn seen(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        // The layout has line ends and blanks; within a text these are escaped already.
        if is_unsafe(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _written = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    text
}

/// The part of a cell that a table shows, with a mark if it is cut.
fn cut(cell: String) -> String {
    match cell.char_indices().nth(CELL_CHARACTERS_MAX) {
        Some((end, _)) => {
            let shown = cell.get(..end).unwrap_or_default();
            format!("{shown}... ({} characters, cut)", cell.chars().count())
        }
        None => cell,
    }
}

fn heading(column: &str) -> String {
    match column {
        "cpu_s" => "CPU_TIME".to_owned(),
        "cores" => "OF_A_CORE".to_owned(),
        "count" => "TIMES".to_owned(),
        other => other.to_uppercase(),
    }
}

/// A cell of this column, with its unit if it has one.
fn measure(column: &str, value: &Value) -> String {
    match (column, value.as_f64()) {
        ("cpu_s", Some(seconds)) => duration(seconds),
        ("cores", Some(cores)) => percent(cores),
        _ => cell(value),
    }
}

fn duration(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.2} ms", seconds * 1e3)
    }
}

fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

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
        let columns = ["client_id", "filter", "qos", "away_s"];
        assert_eq!(
            table(&columns, &items),
            "CLIENT_ID    FILTER  QOS\nx\\u{1b}[31m  a/#     -\nlonger       b       2\n"
        );
        assert_eq!(table(&columns, &[]), "CLIENT_ID  FILTER  QOS  AWAY_S\n(none)\n");
    }

    /// Whatever names clients have, the table and the JSON show them on one line of bounded width.
    #[test]
    fn what_is_not_seen_is_escaped_and_what_is_long_is_cut() {
        let name = "a\u{202e}b\u{200b}c\u{9b}d\u{7f}";
        let items = [
            json!({ "client_id": name }),
            json!({ "client_id": "é".repeat(60_000) }),
        ];
        let text = table(&["client_id"], &items);
        assert_eq!(text.lines().nth(1), Some("a\\u{202e}b\\u{200b}c\\u{9b}d\\u{7f}"));
        let long = text.lines().nth(2).unwrap();
        assert!(long.ends_with("é... (60000 characters, cut)"), "{long}");
        assert!(long.chars().count() < CELL_CHARACTERS_MAX + 40, "{long}");
        let json = seen(&format!("{:#}\n", json!([name])));
        assert_eq!(json, "[\n  \"a\\u202eb\\u200bc\\u009bd\\u007f\"\n]\n");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!([name]));
    }

    #[test]
    fn figures_of_cpu_time_have_units() {
        let items = [
            json!({ "client_id": "a", "cpu_s": 1.234_567, "cores": 0.246_913_4 }),
            json!({ "client_id": "b", "cpu_s": 0.000_123_456, "cores": 0.000_024_7 }),
        ];
        assert_eq!(
            table(&["client_id", "cpu_s", "cores"], &items),
            "CLIENT_ID  CPU_TIME  OF_A_CORE\na          1.23 s    24.69 %\nb          0.12 ms   0.00 %\n"
        );
        assert_eq!(
            measured(&json!({ "measured_s": 5, "cpu_s": 0.5, "from": "T1", "to": "T2" })),
            "In 5 s, from T1 to T2, all clients together took 500.00 ms, 10.00 % of a core.\n"
        );
    }

    #[test]
    fn a_reload_is_shown_line_by_line() {
        let report = json!({
            "taken": ["the settings"],
            "pending": ["the TLS of listener 8883"],
            "kept": [{ "what": "user", "why": "has changed", "needs": "restart" }],
            "warnings": ["w"],
        });
        assert_eq!(
            reloaded(&report.to_string()),
            "taken    the settings\npending  the TLS of listener 8883\n\
             kept     user: has changed (needs a restart)\nwarning  w\n"
        );
        assert_eq!(reloaded("{}"), "");
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
