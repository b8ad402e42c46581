//! The page in Markdown.
//!
//! Invariants: none.

use std::fmt::Write as _;

use super::source::TagPlace;
use super::statement::{Mark, Version, Whom};
use super::{Conformance, Row};

/// Where the page is, from the root of the tree.
pub const PAGE: &str = "docs/CONFORMANCE.md";

const HEAD: &str = "# Conformance

<!-- Made from tests/statements and from the tags in code and tests.
     `MIDGE_WRITE_DOCS=1 cargo test -p tests conformance` or `cargo run -p tests --bin conformance` writes it again. -->

What is not met stands first. Then comes every numbered statement of MQTT 3.1.1 and MQTT 5.0 (their Appendix B) in our
own words, the code that carries its tag, and the tests that prove it. The statement's own text is in the specification:
[3.1.1][v3.1.1], [5.0][v5.0].

A tag is `[MQTT-3.1.2-24]` for 5.0 and `[MQTT3-3.1.2-24]` for 3.1.1. A test fails where a statement about the server has
no code or no test, where a tag names no statement, and where this page is not made from the tree. Statements about
clients bind the load generator; the broker refuses what breaks them where it can see it.

[v3.1.1]: https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
[v5.0]: https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html
";

/// What no statement is open for, and what a user may meet all the same.
const LIMITS: &str = "
Beside the statements, these are met within limits alone:

- An acknowledged message is not delivered if the queue of its session was full (`max_queued_messages`,
  `max_queued_bytes`) or `memory_limit` was reached. Each is counted.
- State ends with the process without `persistence true`. What a power cut may take with each `durability` is in
  [DURABILITY.md](DURABILITY.md).
- A Topic Name or Topic Filter with more slashes than `max_topic_levels` is refused, and so are filters of one session
  whose wildcards stand at too many different levels.
- Retained messages of a new subscription are cut off where a session would have more than a million waiting.
- The Keep Alive of a client is suspended while it is not read from for the sake of others.
- There is one Authentication Method, SCRAM-SHA-256. Server redirection (0x9C, 0x9D) is not used.
";

pub(super) fn render(conformance: &Conformance) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## What is not met\n\n");
    let open = conformance
        .rows
        .iter()
        .filter_map(|row| match &row.statement.mark {
            Some(Mark::Open(what)) if row.tests.is_empty() => Some((row, what)),
            _ => None,
        });
    let open: Vec<_> = open
        .map(|(row, what)| {
            format!(
                "- MQTT {} {}: {what}\n",
                row.statement.version, row.statement.number
            )
        })
        .collect();
    if open.is_empty() {
        page.push_str("No statement is open.\n");
    }
    page.extend(open);
    page.push_str(LIMITS);
    for version in [Version::V3_1_1, Version::V5] {
        let rows: Vec<_> = conformance
            .rows
            .iter()
            .filter(|row| row.statement.version == version)
            .collect();
        let _written = write!(page, "\n## MQTT {version}\n\n{}\n", summary(&rows));
        page.push_str("\n| statement | whom | what it asks for | code | tests |\n|---|---|---|---|---|\n");
        for row in rows {
            page.push_str(&line(row));
        }
    }
    page
}

fn summary(rows: &[&Row]) -> String {
    let count = |condition: fn(&Row) -> bool| rows.iter().filter(|row| condition(row)).count();
    let of_server = count(|row| row.statement.whom != Whom::Client);
    let proved = count(|row| row.statement.whom != Whom::Client && !row.tests.is_empty());
    let exempt = count(|row| matches!(row.statement.mark, Some(Mark::Exempt(_))));
    let open = count(|row| matches!(row.statement.mark, Some(Mark::Open(_))) && row.tests.is_empty());
    let all = rows.len();
    let mut text = format!("{all} statements, {of_server} of them about the server: {proved} have tests");
    if exempt > 0 {
        let _written = write!(text, ", {exempt} do not apply");
    }
    if open > 0 {
        let _written = write!(text, ", {open} are open");
    }
    text.push('.');
    text
}

fn line(row: &Row) -> String {
    let statement = &row.statement;
    let tests = match &statement.mark {
        Some(Mark::Exempt(why)) => format!("does not apply: {why}"),
        Some(Mark::Open(what)) if row.tests.is_empty() => format!("open: {what}"),
        _ => places(&row.tests),
    };
    let (number, whom, text) = (&statement.number, statement.whom, &statement.text);
    format!(
        "| {number} | {whom} | {text} | {} | {tests} |\n",
        places(&row.code)
    )
}

/// `[file](../file): item, item; [file](../file): item`
fn places(places: &[TagPlace]) -> String {
    let mut text = String::new();
    let mut file = "";
    for place in places {
        if place.file == file {
            text.push_str(", ");
        } else {
            file = &place.file;
            let separator = if text.is_empty() { "" } else { "; " };
            let _written = write!(text, "{separator}[{file}](../{file})");
            text.push_str(if place.item.is_empty() { "" } else { ": " });
        }
        if !place.item.is_empty() {
            let _written = write!(text, "`{}`", place.item);
        }
    }
    text
}
