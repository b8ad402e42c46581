//! Scenarios with names, and scenarios in files. Each is a list of words that are inserted before those of the
//! command line. `list.rs` has the named ones, `file.rs` reads those in files.
//!
//! Invariant: a name means the same load everywhere. The outcome contains the scenario as it was run, its name and
//! its scale, so changes on the command line are visible.
//! scale, so changes by the command line are visible.

mod file;
mod list;

use std::ffi::OsString;
use std::path::Path;

use crate::scenario::Origin;
pub use list::ALL;
use list::EARLIER_NAMES;

/// A load with a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The name that `--scenario` takes.
    pub name: &'static str,
    /// The only subcommand whose options it contains.
    pub command: Command,
    /// A description in one line.
    pub title: &'static str,
    /// Its options, as words of a command line.
    pub words: &'static str,
}

/// The commands for which there are scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A scenario of `loadgen run`.
    Run,
    /// A scenario of `loadgen sweep`.
    Sweep,
    /// A scenario of `loadgen conn`.
    Conn,
    /// A scenario of `loadgen retained`.
    Retained,
}

impl Command {
    /// The command whose scenarios this subcommand accepts; `None`: it accepts none.
    pub fn taken_by(word: &str) -> Option<Command> {
        match word {
            "run" | "search" => Some(Command::Run),
            "sweep" => Some(Command::Sweep),
            "conn" => Some(Command::Conn),
            "retained" => Some(Command::Retained),
            _ => None,
        }
    }

    /// The name of the subcommand.
    pub fn word(self) -> &'static str {
        match self {
            Command::Run => "run",
            Command::Sweep => "sweep",
            Command::Conn => "conn",
            Command::Retained => "retained",
        }
    }
}

/// Inserts the words of the scenario that `words` (the program's name first) select before the rest; returns them
/// with their origin.
///
/// # Errors
/// A sentence about a name or a file that does not exist or cannot be read.
pub(crate) fn expand(
    words: Vec<OsString>,
    command: Command,
) -> Result<(Vec<OsString>, Option<Origin>), String> {
    let Some(chosen) = chosen(&words) else {
        return Ok((words, None));
    };
    let found = find(&chosen)?;
    // A scenario with one rate can also be run at several rates.
    let swept = (found.command, command) == (Command::Run, Command::Sweep);
    if found.command != command && !swept {
        let right = found.command.word();
        return Err(format!(
            "--scenario {chosen} is for loadgen {right}, not loadgen {}",
            command.word()
        ));
    }
    let published_duration_s = duration_of(&found.words);
    let mut words = words.into_iter();
    let mut expanded: Vec<OsString> = words.next().into_iter().collect();
    expanded.extend(found.words);
    expanded.extend(words);
    let origin = Origin {
        name: found.name,
        scale: 1.0,
        published_duration_s,
    };
    Ok((expanded, Some(origin)))
}

/// The duration among the words, `--duration 5` or `--duration=5`.
fn duration_of(words: &[OsString]) -> Option<f64> {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if word == "--duration" {
            return words.next()?.parse().ok();
        }
        if let Some(seconds) = word.strip_prefix("--duration=") {
            return seconds.parse().ok();
        }
    }
    None
}

/// A scenario that was found by its name or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The name that `--scenario` takes.
    pub(crate) name: String,
    /// The subcommand that the scenario is for.
    pub(crate) command: Command,
    /// Its options, as words of a command line.
    pub(crate) words: Vec<OsString>,
}

/// The scenario with this name, or in this file.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn find(chosen: &str) -> Result<Found, String> {
    let earlier = EARLIER_NAMES.iter().find(|(earlier, _)| *earlier == chosen);
    let name = earlier.map_or(chosen, |(_, name)| name);
    if let Some(named) = ALL.iter().find(|named| named.name == name) {
        return Ok(Found {
            name: named.name.to_owned(),
            command: named.command,
            words: named.words.split_whitespace().map(OsString::from).collect(),
        });
    }
    if chosen.ends_with(".toml") || chosen.contains('/') {
        return file::read(Path::new(chosen));
    }
    let names: Vec<&str> = ALL.iter().map(|named| named.name).collect();
    Err(format!(
        "--scenario {chosen}: unknown name; use a file ending in .toml or one of {}",
        names.join(", ")
    ))
}

/// All loads with names, one per line, for people.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::parse_as;
    use crate::scenario::properties::Carrier;

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
        let origin = origin.unwrap();
        assert_eq!(
            (origin.name.as_str(), origin.published_duration_s),
            ("tls-p2p-1K-1K", None)
        );
        let long = expand(
            words("loadgen --scenario singlenode-p2p-1K-1K-1K-1K"),
            Command::Run,
        );
        assert_eq!(long.unwrap().1.unwrap().published_duration_s, Some(1_800.0));
        assert_eq!(
            expand(words("loadgen --pubs 3"), Command::Run).unwrap(),
            (words("loadgen --pubs 3"), None)
        );
    }

    #[test]
    fn a_file_is_a_list_of_long_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        let text = "pubs = 3\nrate = \"max\"\nno_tls = true\nretain = false\n\
                    bind = [\"127.0.0.1\", \"127.0.0.2\"]\nduration = 0.5\n";
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
    fn a_list_of_lists_is_an_option_of_several_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("five.toml");
        let text = "protocol_version = 5\nproperty = [[\"publish\", \"content-type\", \"a b\"], \
                    [\"connect\", \"receive-maximum\", 7]]\n";
        std::fs::write(&file, text).unwrap();
        let line = ["loadgen", "--scenario", file.to_str().unwrap()].map(OsString::from);
        let scenario = crate::options::parse(line).unwrap().scenario;
        assert!(scenario.properties.has(Carrier::Connect, "receive-maximum"));
        let publish = scenario.properties.of(Carrier::Publish, None).unwrap();
        assert_eq!(publish.as_properties().content_type(), Some("a b"));
    }

    #[test]
    fn what_a_file_cannot_say_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad.toml");
        for (text, part) in [
            ("pubs = ", "bad.toml"),
            ("scenario = \"x\"", "another scenario"),
            ("[pubs]\na = 1", "pubs"),
            ("property = [[\"publish\"], 1]", "list of lists"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = find(file.to_str().unwrap()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(find("/nonexistent.toml").unwrap_err().contains("nonexistent"));
        assert!(find("other").unwrap_err().contains("mtls-tutorial"));
    }

    /// As the README of github.com/emqx/mqttbs describes them.
    #[test]
    fn the_suite_has_its_own_sizes_and_rates() {
        let suite = ALL.iter().filter(|named| named.name.starts_with("singlenode-"));
        let mut count = 0;
        for named in suite {
            count += 1;
            let line = format!("loadgen --scenario {}", named.name);
            let scenario = crate::options::parse(words(&line)).unwrap().scenario;
            let name = named.name;
            assert_eq!(
                (scenario.duration.as_secs(), scenario.keep_alive_s),
                (1_800, 300),
                "{name}"
            );
            if name.contains("-conn-") {
                assert_eq!(
                    (scenario.subscribers, scenario.load),
                    (0, crate::scenario::Load::Idle)
                );
                let per_s = scenario.connections() as f64 / scenario.ramp.unwrap().as_secs_f64();
                assert!(
                    name.ends_with(if per_s == 5_000.0 { "1M-5K" } else { "10K-100" }),
                    "{per_s}"
                );
                continue;
            }
            assert_eq!((scenario.qos as u8, scenario.payload_bytes), (1, 16), "{name}");
            let shared = name.contains("sharedsub");
            assert_eq!(
                scenario.version == mqtt::version::ProtocolVersion::V5,
                shared,
                "{name}"
            );
            let each_ns = if name.contains("fanout-5") { 2e7 } else { 1e9 };
            assert_eq!(scenario.interval_ns(), Some(each_ns), "{name}");
            let fan_out = scenario.topics == crate::scenario::topics::Topics::FanOut;
            assert_eq!(fan_out, name.contains("fanout"), "{name}");
        }
        assert_eq!(count, 8);
    }

    #[test]
    fn every_named_scenario_can_be_run() {
        for named in ALL {
            let line = format!("loadgen --scenario {}", named.name);
            let parsed = match named.command {
                Command::Run => crate::options::parse(words(&line)).map(drop),
                Command::Sweep => parse_as::<crate::sweep::args::SweepArguments>(words(&line)).map(drop),
                Command::Conn => parse_as::<crate::connect::args::ConnectArguments>(words(&line)).map(drop),
                Command::Retained => {
                    parse_as::<crate::retained::args::RetainedArguments>(words(&line)).map(drop)
                }
            };
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            assert!(list().contains(named.name));
        }
    }

    #[test]
    fn names_of_published_results_mean_the_same_load() {
        for (earlier, name) in EARLIER_NAMES {
            assert_eq!(find(earlier), find(name), "{earlier}");
            assert!(find(earlier).is_ok(), "{earlier}");
        }
    }
}
