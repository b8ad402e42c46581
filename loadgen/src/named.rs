//! Loads with names, and loads in files: words that stand before those of the command line.
//!
//! Invariant: a name means the same load everywhere; what the command line changes of it can be seen in the outcome,
//! which holds the scenario as it was run, its name and its scale.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::scenario::Origin;

/// A load that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// The command that it is for.
    pub command: Command,
    /// What it is, in one line.
    pub title: &'static str,
    /// Its options.
    pub words: &'static str,
}

/// The commands that scenarios are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `loadgen run`.
    Run,
    /// `loadgen conn`.
    Conn,
    /// `loadgen retained`.
    Retained,
}

impl Command {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Command::Run => "run",
            Command::Conn => "conn",
            Command::Retained => "retained",
        }
    }
}

/// Puts the words of the scenario that `words` name, the program's name first, before the rest; tells where they are
/// from.
///
/// # Errors
/// A sentence on a name or a file that is not there or cannot be read.
pub(crate) fn expand(
    words: Vec<OsString>,
    command: Command,
) -> Result<(Vec<OsString>, Option<Origin>), String> {
    let Some(chosen) = chosen(&words) else {
        return Ok((words, None));
    };
    let found = find(&chosen)?;
    if found.command != command {
        let right = found.command.word();
        return Err(format!(
            "--scenario {chosen} is for loadgen {right}, not loadgen {}",
            command.word()
        ));
    }
    let mut words = words.into_iter();
    let mut expanded: Vec<OsString> = words.next().into_iter().collect();
    expanded.extend(found.words);
    expanded.extend(words);
    let origin = Origin {
        name: found.name,
        scale: 1.0,
    };
    Ok((expanded, Some(origin)))
}

/// A scenario that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// Its command.
    pub(crate) command: Command,
    /// Its options.
    pub(crate) words: Vec<OsString>,
}

/// The scenario of this name, or in this file.
///
/// # Errors
/// A sentence on what is wrong.
pub(crate) fn find(chosen: &str) -> Result<Found, String> {
    if let Some(named) = ALL.iter().find(|named| named.name == chosen) {
        return Ok(Found {
            name: named.name.to_owned(),
            command: named.command,
            words: named.words.split_whitespace().map(OsString::from).collect(),
        });
    }
    if chosen.ends_with(".toml") || chosen.contains('/') {
        return from_file(Path::new(chosen));
    }
    let names: Vec<&str> = ALL.iter().map(|named| named.name).collect();
    Err(format!(
        "--scenario {chosen}: there is no such name; it is a file ending in .toml or one of {}",
        names.join(", ")
    ))
}

/// All loads with names, one a line, for people.
pub fn list() -> String {
    let lines = ALL.iter().map(|named| {
        let Named {
            name,
            command,
            title,
            words,
        } = named;
        format!("{name}\n    {title}\n    loadgen {} {words}\n", command.word())
    });
    lines.collect()
}

fn chosen(words: &[OsString]) -> Option<String> {
    let mut words = words.iter();
    let mut chosen = None;
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        if word == "--scenario" {
            chosen = words.next().map(|name| name.to_string_lossy().into_owned());
        } else if let Some(name) = word.strip_prefix("--scenario=") {
            chosen = Some(name.to_owned());
        }
    }
    chosen
}

fn from_file(path: &Path) -> Result<Found, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("--scenario {shown}: {error}"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| format!("--scenario {shown}: {error}"))?;
    let stem = path.file_stem().map(OsStr::to_string_lossy).unwrap_or_default();
    let mut found = Found {
        name: stem.into_owned(),
        command: Command::Run,
        words: Vec::new(),
    };
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("name", toml::Value::String(name)) => found.name.clone_from(name),
            ("command", toml::Value::String(word)) => {
                let commands = [Command::Run, Command::Conn, Command::Retained];
                let known = commands.into_iter().find(|command| command.word() == word);
                found.command = known.ok_or_else(|| {
                    format!("--scenario {shown}: command must be run, conn or retained, not {word}")
                })?;
            }
            ("scenario", _) => {
                return Err(format!("--scenario {shown}: a file cannot name another scenario"));
            }
            _ => found
                .words
                .extend(option_words(key, value).map_err(|why| format!("--scenario {shown}: {key}: {why}"))?),
        }
    }
    Ok(found)
}

/// A key and its value as a long option.
fn option_words(key: &str, value: &toml::Value) -> Result<Vec<OsString>, String> {
    let option = format!("--{}", key.replace('_', "-"));
    let with = |text: String| Ok(vec![OsString::from(format!("{option}={text}"))]);
    match value {
        toml::Value::Boolean(true) => Ok(vec![OsString::from(option)]),
        toml::Value::Boolean(false) => Ok(Vec::new()),
        toml::Value::Array(values) => {
            let texts: Result<Vec<String>, String> = values.iter().map(scalar).collect();
            with(texts?.join(","))
        }
        value => with(scalar(value)?),
    }
}

fn scalar(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        _ => Err("it must be a number, a text, true or false, or a list of these".to_owned()),
    }
}

const fn run(name: &'static str, title: &'static str, words: &'static str) -> Named {
    named(name, Command::Run, title, words)
}

const fn named(name: &'static str, command: Command, title: &'static str, words: &'static str) -> Named {
    Named {
        name,
        command,
        title,
        words,
    }
}

/// All loads with names. Those of the EMQX Open MQTT Benchmark Suite have its names, sizes and rates.
pub const ALL: &[Named] = &[
    run(
        "fanout-q0",
        "one publisher to 100 subscribers, as fast as possible",
        "--no-tls --pubs 1 --subs 100 -t fan-out --rate max --window 1000",
    ),
    run(
        "pairs-q0",
        "100 publishers to a subscriber each, as fast as possible",
        "--no-tls --pubs 100 --subs 100 --rate max --window 1000",
    ),
    run(
        "pairs-q1",
        "the same with QoS 1",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate max --window 1000",
    ),
    run(
        "pairs-q2",
        "the same with QoS 2",
        "--no-tls --pubs 100 --subs 100 -q 2 --rate max --window 100",
    ),
    run(
        "fanin-q0",
        "100 publishers to one wildcard subscriber, as fast as possible",
        "--no-tls --pubs 100 --subs 1 -t fan-in --rate max --window 1000",
    ),
    run(
        "pairs-1k",
        "100 pairs with payloads of 1 KiB",
        "--no-tls --pubs 100 --subs 100 -s 1024 --rate max --window 200",
    ),
    run(
        "pairs-w1",
        "100 pairs with one message under way each: nothing can be batched",
        "--no-tls --pubs 100 --subs 100 --rate max --window 1",
    ),
    run(
        "pairs-tls",
        "100 pairs over TLS 1.3",
        "--pubs 100 --subs 100 --rate max --window 1000",
    ),
    run(
        "fanout-tls",
        "one publisher to 100 subscribers over TLS 1.3",
        "--pubs 1 --subs 100 -t fan-out --rate max --window 1000",
    ),
    run(
        "paced-10k-q1",
        "100 pairs at 10,000 messages a second with QoS 1",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate 10000",
    ),
    run(
        "tls-p2p-1K-1K",
        "the headline: 1,000 publishers and 1,000 subscribers over TLS 1.3, one message a second each",
        "--pubs 1000 --subs 1000 --rate 1000",
    ),
    named(
        "conn-storm-plain",
        Command::Conn,
        "connections made and closed, as fast as possible",
        "--no-tls --concurrency 32",
    ),
    named(
        "conn-storm-tls",
        Command::Conn,
        "the same over TLS 1.3 with a P-256 key",
        "--concurrency 32",
    ),
    named(
        "conn-storm-tls-rsa",
        Command::Conn,
        "the same over TLS 1.3 with an RSA key of 2,048 bits",
        "--broker-key rsa2048 --concurrency 32",
    ),
    run(
        "idle-plain",
        "5,000 connections with a subscription each that do nothing",
        "--no-tls --pubs 0 --subs 5000 -t idle/%i --idle --warmup 1 --duration 2",
    ),
    run(
        "idle-tls",
        "the same over TLS 1.3",
        "--pubs 0 --subs 5000 -t idle/%i --idle --warmup 1 --duration 2",
    ),
    named(
        "retained-100k",
        Command::Retained,
        "100,000 retained messages of 64 B, then a subscriber of all",
        "--messages 100000",
    ),
    named(
        "retained-1M",
        Command::Retained,
        "a million of them",
        "--messages 1000000",
    ),
    run(
        "mtls-tutorial",
        "the tutorial of TLS: a broker of its own that wants certificates, users and passwords, 1,000 clients",
        "--users --pubs 500 --subs 500",
    ),
    run(
        "churn",
        "200 messages a second while 200 connections a second come and go",
        "--no-tls --pubs 100 --subs 100 -q 1 --rate 200 --churn 200",
    ),
    run(
        "qos2-p2p",
        "1,000 pairs with QoS 2, one message a second each",
        "--no-tls --pubs 1000 --subs 1000 -q 2 --rate 1000",
    ),
    run(
        "wildcard-deep",
        "100 pairs on topics of 16 levels",
        "--no-tls --pubs 100 --subs 100 --rate 10000 -t deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/%i",
    ),
    run(
        "singlenode-conn-tcp-1M-5K",
        "EMQX suite: a million connections, 5,000 made a second",
        "--no-tls --pubs 0 --subs 1000000 -t conn/%i --idle --ramp 200 --connect-concurrency 1000 --duration 1800 -k 300",
    ),
    run(
        "singlenode-fanout-5-1000-5-250K",
        "EMQX suite: 5 publishers, 1,000 subscribers that hear all of them, 250,000 deliveries a second",
        "--no-tls --pubs 5 --subs 1000 -t fan-in -q 1 -s 16 --rate 250 --duration 1800",
    ),
    run(
        "singlenode-p2p-50K-50K-50K-50K",
        "EMQX suite: 50,000 pairs, 50,000 messages a second",
        "--no-tls --pubs 50000 --subs 50000 -q 1 -s 16 --rate 50000 --connect-concurrency 200 --duration 1800",
    ),
    run(
        "singlenode-sharedsub-50K-500-50K-50K",
        "EMQX suite: 50,000 publishers, 500 subscribers that share one subscription, 50,000 messages a second",
        "--no-tls --pubs 50000 --subs 500 --share 1 -q 1 -s 16 --rate 50000 --connect-concurrency 200 --duration 1800",
    ),
    run(
        "singlenode-conn-tcp-10K-100",
        "EMQX suite: 10,000 connections, 100 made a second",
        "--no-tls --pubs 0 --subs 10000 -t conn/%i --idle --ramp 100 --duration 300 -k 300",
    ),
    run(
        "singlenode-fanout-1-1K-1-1K",
        "EMQX suite: one publisher, 1,000 subscribers, 1,000 deliveries a second",
        "--no-tls --pubs 1 --subs 1000 -t fan-in -q 1 -s 16 --rate 1 --duration 300",
    ),
    run(
        "singlenode-p2p-1K-1K-1K-1K",
        "EMQX suite: 1,000 pairs, 1,000 messages a second",
        "--no-tls --pubs 1000 --subs 1000 -q 1 -s 16 --rate 1000 --duration 300",
    ),
    run(
        "singlenode-sharedsub-1K-5-1K-1K",
        "EMQX suite: 1,000 publishers, 5 subscribers that share one subscription, 1,000 messages a second",
        "--no-tls --pubs 1000 --subs 5 --share 1 -q 1 -s 16 --rate 1000 --duration 300",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let (expanded, origin) =
            expand(words("loadgen --scenario tls-p2p-1K-1K --pubs 3"), Command::Run).unwrap();
        let line: Vec<_> = expanded.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(
            line.join(" "),
            "loadgen --pubs 1000 --subs 1000 --rate 1000 --scenario tls-p2p-1K-1K --pubs 3"
        );
        assert_eq!(origin.unwrap().name, "tls-p2p-1K-1K");
        assert_eq!(
            expand(words("loadgen --pubs 3"), Command::Run).unwrap(),
            (words("loadgen --pubs 3"), None)
        );
    }

    #[test]
    fn a_file_is_a_list_of_long_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        let text = "pubs = 3\nrate = \"max\"\nno_tls = true\nretain = false\nbind = [\"127.0.0.1\", \"127.0.0.2\"]\nduration = 0.5\n";
        std::fs::write(&file, text).unwrap();
        let found = find(file.to_str().unwrap()).unwrap();
        assert_eq!(found.name, "mine");
        let mut options: Vec<_> = found
            .words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        options.sort();
        assert_eq!(
            options,
            [
                "--bind=127.0.0.1,127.0.0.2",
                "--duration=0.5",
                "--no-tls",
                "--pubs=3",
                "--rate=max"
            ]
        );
    }

    #[test]
    fn what_a_file_cannot_say_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad.toml");
        for (text, part) in [
            ("pubs = ", "bad.toml"),
            ("scenario = \"x\"", "another scenario"),
            ("[pubs]\na = 1", "pubs"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = find(file.to_str().unwrap()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(find("/nonexistent.toml").unwrap_err().contains("nonexistent"));
        assert!(find("other").unwrap_err().contains("mtls-tutorial"));
    }
}
