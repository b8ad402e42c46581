//! The plan of a comparison: its scenarios and its brokers.
//!
//! Invariants: a row is a named scenario, of which the comparison chooses only the duration and the threads. So each
//! row can be run alone with `loadgen run|conn|retained --scenario NAME`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::peers::Peer;
use crate::connect::ConnectScenario;
use crate::connect::args::ConnectArguments;
use crate::options::parse_as;
use crate::options::run::RunArguments;
use crate::retained::Retained;
use crate::retained::args::RetainedArguments;
use crate::scenario::Scenario;
use crate::scenario::named::{self, Command};
use crate::summary::comparison::MIDGE;
use crate::sweep::Sweep;
use crate::sweep::args::SweepArguments;
use crate::system::cpus::Cpus;
use crate::target::certificates::ServerKey;
use crate::target::request::TargetRequest;

/// One row of a comparison: a scenario that every broker is measured with.
#[derive(Clone, Debug)]
pub struct Row {
    /// The name of its scenario, and of its folder under `raw/`.
    pub name: String,
    /// Its description, in one line.
    pub title: String,
    /// The measurement of this row.
    pub work: Work,
    /// The key of the brokers' certificate; `None` without TLS.
    pub tls: Option<ServerKey>,
}

/// The four kinds of measurements.
#[derive(Clone, Debug)]
pub enum Work {
    /// Messages at one rate, or as fast as possible.
    Load(Box<Scenario>),
    /// Messages at one rate after the other.
    Sweep(Box<Sweep>),
    /// Connections made and closed again.
    Connect(Box<ConnectScenario>),
    /// Retained messages stored and delivered.
    Retained(Retained),
}

/// The duration of the runs, and the CPUs of the generator's threads.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Length of the measured part.
    pub duration: Duration,
    /// Load or connections before the measured part.
    pub warmup: Duration,
    /// The CPUs that the generator is pinned to.
    pub cpus: Cpus,
    /// Factor of the clients and rates of loads of messages.
    pub scale: f64,
}

/// One broker of a comparison.
#[derive(Clone, Debug)]
pub struct Broker {
    /// The name of the broker in files and tables.
    pub label: String,
    /// Whether it is Midge or which other one.
    pub kind: BrokerKind,
    /// Whether TCP_NODELAY is set, which turns Nagle's delay off.
    pub nodelay: bool,
    /// Its CPUs; Midge has a shard on each.
    pub cores: Cpus,
}

/// The program of a broker.
#[derive(Clone, Debug)]
pub enum BrokerKind {
    /// Midge, which is in this program.
    Midge,
    /// Another broker, with the path of its program.
    Peer(Box<Peer>, PathBuf),
}

/// The rows of a short comparison, which takes a few minutes.
pub const SHORT: &[&str] = &[
    "fanout-q0",
    "pairs-q0",
    "pairs-q1",
    "rate-10k-q1",
    "conn-tls",
    "idle-plain",
];

/// All rows of a full comparison.
pub const FULL: &[&str] = &[
    "fanout-q0",
    "pairs-q0",
    "pairs-q1",
    "pairs-q2",
    "fanin-q0",
    "pairs-1k",
    "pairs-tls",
    "fanout-tls",
    "pairs-w1",
    "flood-q0",
    "rate-10k-q1",
    "slow-sub",
    "tls-p2p-1K-1K",
    "conn-tls",
    "conn-tls-rsa",
    "conn-plain",
    "idle-plain",
    "idle-tls",
    "retained-100k",
];

impl Row {
    /// The row of a scenario's name or file.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn of(chosen: &str, settings: &RunSettings) -> Result<Row, String> {
        let found = named::find(chosen)?;
        let known = named::ALL.iter().find(|named| named.name == found.name);
        let title = known.map_or(found.name.as_str(), |named| named.title).to_owned();
        let words = |extra: &[(&str, String)]| {
            let mut words = vec![OsString::from("loadgen"), "--scenario".into(), chosen.into()];
            for (option, value) in extra {
                words.push(OsString::from(format!("--{option}={value}")));
            }
            words
        };
        let length = [
            ("duration", settings.duration.as_secs_f64().to_string()),
            ("warmup", settings.warmup.as_secs_f64().to_string()),
            ("cpus", settings.cpus.to_string()),
            ("threads", settings.cpus.count().to_string()),
        ];
        let scaled = [&length[..], &[("scale", settings.scale.to_string())]].concat();
        let refuse = |error: clap::Error| format!("{chosen}: {error}");
        let (work, target) = match found.command {
            Command::Run => {
                let request = parse_as::<RunArguments>(words(&scaled)).map_err(refuse)?;
                (Work::Load(Box::new(request.scenario)), request.target)
            }
            Command::Sweep => {
                let request = parse_as::<SweepArguments>(words(&scaled)).map_err(refuse)?;
                (Work::Sweep(Box::new(request.sweep)), request.target)
            }
            Command::Conn => {
                let request = parse_as::<ConnectArguments>(words(&length)).map_err(refuse)?;
                (Work::Connect(Box::new(request.measurement)), request.target)
            }
            Command::Retained => {
                let request = parse_as::<RetainedArguments>(words(&[])).map_err(refuse)?;
                (Work::Retained(request.measurement), request.target)
            }
        };
        let tls = match target {
            TargetRequest::OwnBroker(own) if own.web_socket.is_some() => {
                return Err(format!("{chosen}: brokers are compared without WebSocket"));
            }
            TargetRequest::OwnBroker(own) if own.users => {
                return Err(format!(
                    "{chosen} needs users, which not every broker here supports"
                ));
            }
            TargetRequest::OwnBroker(own) => own.tls.then_some(own.key),
            TargetRequest::Running { .. } => {
                return Err(format!("{chosen} names a broker: a comparison starts its own"));
            }
        };
        Ok(Row {
            name: found.name,
            title,
            work,
            tls,
        })
    }

    /// Whether Nagle's delay can matter: when few messages are in flight, so that they are waited for.
    pub fn shows_nagle(&self) -> bool {
        match &self.work {
            Work::Load(scenario) => match scenario.load {
                crate::scenario::Load::Scheduled { .. } => true,
                crate::scenario::Load::Saturating { window } => window == 1,
                crate::scenario::Load::Flood | crate::scenario::Load::Idle => false,
            },
            Work::Sweep(_) => true,
            Work::Connect(_) | Work::Retained(_) => false,
        }
    }

    /// The brokers that take part.
    pub fn brokers<'a>(&self, brokers: &'a [Broker]) -> Vec<&'a Broker> {
        let takes_part = |broker: &&Broker| broker.nodelay || self.shows_nagle();
        brokers.iter().filter(takes_part).collect()
    }
}

/// Midge with each of these numbers of shards, and the installed peers with these names, all on the first of `cores`;
/// also the peers that are not installed.
///
/// # Errors
/// An unknown name, more shards than cores, or a repeated number of shards.
pub fn brokers(shards: &[usize], names: &[String], cores: &Cpus) -> Result<(Vec<Broker>, Vec<Peer>), String> {
    let mut brokers = Vec::new();
    for (place, &count) in shards.iter().enumerate() {
        // The second would overwrite the rounds of the first.
        if shards.iter().take(place).any(|&before| before == count) {
            return Err(format!("--shards {count}: given twice"));
        }
        if count == 0 || count > cores.count() {
            return Err(format!(
                "--shards {count}: from 1 to the number of --cores, {}",
                cores.count()
            ));
        }
        let label = if place == 0 {
            MIDGE.to_owned()
        } else {
            format!("{MIDGE}-{count}")
        };
        brokers.push(Broker {
            label,
            kind: BrokerKind::Midge,
            nodelay: true,
            cores: cores.first(count),
        });
    }
    let missing = add_peers(&mut brokers, names, cores)?;
    Ok((brokers, missing))
}

fn add_peers(brokers: &mut Vec<Broker>, names: &[String], cores: &Cpus) -> Result<Vec<Peer>, String> {
    let mut missing = Vec::new();
    for name in names {
        let peer = Peer::of(name).map_err(|sentence| format!("--with {name}: {sentence}"))?;
        if brokers.iter().any(|broker| broker.label == peer.name) {
            continue;
        }
        let Some(program) = peer.find() else {
            missing.push(peer);
            continue;
        };
        let broker = |label: &str, nodelay: bool| Broker {
            label: label.to_owned(),
            kind: BrokerKind::Peer(Box::new(peer.clone()), program.clone()),
            nodelay,
            cores: cores.clone(),
        };
        brokers.push(broker(&peer.name, true));
        if peer.has_nodelay {
            brokers.push(broker(&format!("{}-nagle", peer.name), false));
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RunSettings {
        RunSettings {
            duration: Duration::from_secs(2),
            warmup: Duration::from_millis(500),
            cpus: "0".parse().unwrap(),
            scale: 1.0,
        }
    }

    #[test]
    fn every_row_can_be_run() {
        let sweeps = ["hockey-p2p", "hockey-fanout", "hockey-tls-p2p"];
        for name in FULL.iter().chain(&sweeps) {
            let row = Row::of(name, &settings()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(&row.name, name);
            assert_eq!(row.tls.is_some(), name.contains("tls"), "{name}");
        }
        assert!(SHORT.iter().all(|name| FULL.contains(name)));
        let rsa = Row::of("conn-tls-rsa", &settings()).unwrap();
        assert_eq!(rsa.tls, Some(ServerKey::Rsa2048));
    }

    #[test]
    fn the_length_is_the_comparisons() {
        let row = Row::of("pairs-q1", &settings()).unwrap();
        let Work::Load(scenario) = row.work else { panic!() };
        assert_eq!(
            (scenario.duration.as_secs(), scenario.warmup.as_millis()),
            (2, 500)
        );
        assert_eq!(
            scenario.origin.map(|origin| origin.name).as_deref(),
            Some("pairs-q1")
        );
    }

    #[test]
    fn a_load_of_messages_can_be_scaled() {
        let tenth = RunSettings {
            scale: 0.1,
            ..settings()
        };
        let row = Row::of("singlenode-p2p-50K-50K-50K-50K", &tenth).unwrap();
        let Work::Load(scenario) = row.work else { panic!() };
        let origin = scenario.origin.clone().unwrap();
        assert_eq!((scenario.publishers, origin.scale), (5_000, 0.1));
        assert_eq!(
            origin.published_duration_s,
            Some(1_800.0),
            "it says what was cut short"
        );
        assert!(
            Row::of("conn-tls", &tenth).is_ok(),
            "connections have no clients to scale"
        );
        assert!(
            Row::of(
                "pairs-q0",
                &RunSettings {
                    scale: 0.0,
                    ..settings()
                }
            )
            .is_err()
        );
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        for (name, part) in [("mtls-tutorial", "users"), ("no-such", "unknown name")] {
            assert!(Row::of(name, &settings()).unwrap_err().contains(part), "{name}");
        }
        let cores: Cpus = "0-3".parse().unwrap();
        let error = brokers(&[1], &["no-such".to_owned()], &cores).unwrap_err();
        assert!(error.contains("flashmq"), "{error}");
        for shards in [0, 5] {
            let error = brokers(&[1, shards], &[], &cores).unwrap_err();
            assert!(error.contains("from 1 to"), "{error}");
        }
        let error = brokers(&[1, 2, 2], &[], &cores).unwrap_err();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn midge_with_several_numbers_of_shards_has_a_core_for_each() {
        let (brokers, missing) = brokers(&[1, 2, 4], &[], &"0,2,4,6".parse().unwrap()).unwrap();
        let shown: Vec<(&str, String)> = brokers
            .iter()
            .map(|broker| (broker.label.as_str(), broker.cores.to_string()))
            .collect();
        let cores = ["0", "0,2", "0,2,4,6"].map(str::to_owned);
        assert_eq!(
            shown,
            [MIDGE, "midge-2", "midge-4"]
                .into_iter()
                .zip(cores)
                .collect::<Vec<_>>()
        );
        assert!(missing.is_empty());
    }

    #[test]
    fn both_rows_of_nagle_stand_where_it_matters() {
        let broker = |label: &str, nodelay| Broker {
            label: label.to_owned(),
            kind: BrokerKind::Midge,
            nodelay,
            cores: "0".parse().unwrap(),
        };
        let all = [
            broker("midge", true),
            broker("mosquitto", true),
            broker("mosquitto-nagle", false),
        ];
        let count = |name: &str| Row::of(name, &settings()).unwrap().brokers(&all).len();
        assert_eq!(
            (count("rate-10k-q1"), count("pairs-w1"), count("pairs-q0")),
            (3, 3, 2)
        );
    }
}
