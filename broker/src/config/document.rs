//! Writes docs/CONFIGURATION.md, the operators' page, from the table of keys.
//!
//! Invariants: none.

use std::fmt::Write as _;

use super::keys::{self, Key, Scope, Status};

const HEAD: &str = "\
# Configuration

<!-- Made from the table of keys in broker/src/config/keys.
`MIDGE_WRITE_DOCS=1 cargo test -p broker` writes it again. -->

`broker -c FILE` reads a file in the syntax of mosquitto.conf(5): one `key value` on a line, `#` begins a comment line.
Keys of a listener speak of the last `listener` line above them, those of a bridge of the last `connection` line.
`broker -c FILE --test-config` checks the file and prints what is in effect; a mistake is named with file and line, and
the exit code is 3. Of a number, a flag or a name the first word counts, as in mosquitto; text after it is ignored, with
a warning unless it begins with `#`.

A key whose value is text or a path may be given once, in all files together and for each listener, unless it is a
list; a second line is a mistake, as in mosquitto. For numbers, flags and names the last line counts.

Without a file, or with one that has no `listener`, `port` or `bind_address`, the broker listens on port 1883 of the
loopback addresses and accepts anonymous clients. As soon as a listener or TLS is configured, `allow_anonymous` is false
unless the file says otherwise.

SIGHUP (`systemctl reload`) reads everything again: this file and the files that it includes, certificates, authorities,
revocation lists, password and ACL files; log files are reopened. Connections stay, and new ones use the new settings. A
mistake in the configuration leaves everything unchanged. Each password file, each ACL file and the TLS of each listener
is replaced as a whole or, if it cannot be used, kept as a whole. Mistakes are logged with file and line. A restart is
needed for added or removed listeners, `bind_interface`, `mount_point`, `user` and `pid_file`, and for the command line.
";

/// The text of docs/CONFIGURATION.md.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for (title, keys) in keys::SECTIONS {
        let _written = write!(
            page,
            "\n## {title}\n\n| key | values | default | meaning |\n|---|---|---|---|\n"
        );
        for key in *keys {
            push(&mut page, key);
        }
    }
    page
}

fn push(page: &mut String, key: &Key) {
    let values = match &key.status {
        Status::Effective(value, _) => value.shape(),
        _ => String::new(),
    };
    let default = if key.default.is_empty() {
        String::new()
    } else {
        format!("`{}`", key.default)
    };
    let scope = match key.scope {
        Scope::Listener => " Per listener.",
        Scope::Global | Scope::Either | Scope::Bridge => "",
    };
    let _written = writeln!(
        page,
        "| `{}` | {values} | {default} | {}{scope}{} |",
        key.name,
        key.about,
        status(&key.status)
    );
}

fn status(status: &Status) -> String {
    match status {
        Status::Effective(..) => String::new(),
        Status::Ignored(why) => format!(" Accepted, without effect: {why}."),
        Status::Refused(why) => format!(" An error: {why}."),
    }
}

/// The part of docs/FROM_MOSQUITTO.md that the table of keys gives: what has no effect, what is refused, and what only
/// Midge has.
#[must_use]
pub fn moving_tables() -> String {
    let mut page = String::new();
    let mut table = |title: &str, rows: Vec<(&'static str, &'static str)>| {
        let head = "| keys | why, and what to do |\n|---|---|\n";
        let _written = write!(page, "\n### {title}\n\n{head}");
        let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
        for (key, why) in rows {
            let key = format!("`{key}`");
            match by_reason.iter_mut().find(|(other, _)| *other == why) {
                Some((_, keys)) => keys.push(key),
                None => by_reason.push((why, vec![key])),
            }
        }
        for (why, keys) in by_reason {
            let _written = writeln!(page, "| {} | {why} |", keys.join(", "));
        }
    };
    let ignored = keys::all().filter_map(|key| match key.status {
        Status::Ignored(why) => Some((key.name, why)),
        _ => None,
    });
    table("Accepted, without effect", ignored.collect());
    let refused = keys::all().filter_map(|key| match key.status {
        Status::Refused(why) => Some((key.name, why)),
        _ => None,
    });
    table("Refused", refused.collect());
    page.push('\n');
    page
}
