//! The command line: words become one typed [`Request`], once.
//!
//! Invariant: a letter means what it means to mosquitto_pub; a letter that means different things to the known tools
//! is refused with the long option named, never guessed. What breaks it: clap's automatic `-h` and `-V`, which are
//! turned off here.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use mqtt::packet::QoS;
use mqtt::version::ProtocolVersion;
use transport::tls::ClientTls;

use crate::certificates::CLIENT;
use crate::conceal::PASSWORD_VARIABLE;
use crate::cpus::Cpus;
use crate::scenario::{Credentials, Load, Scenario};
use crate::schedule::Arrival;
use crate::topics::Topics;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The load.
    pub scenario: Scenario,
    /// Where it goes.
    pub target: TargetRequest,
    /// File for the outcome.
    pub json: Option<PathBuf>,
}

/// The broker to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRequest {
    /// One of our own, started for the run.
    OwnBroker {
        /// Its shards.
        shards: usize,
        /// Whether it listens with TLS.
        tls: bool,
        /// The CPUs that it may use.
        cpus: Option<Cpus>,
        /// Whether clients must have certificates, user names and passwords, as in the tutorial of TLS.
        users: bool,
    },
    /// One that runs already.
    Running {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// TLS, if it is wanted.
        tls: Option<TlsRequest>,
        /// File with the passphrase of the clients' keys.
        key_pass_file: Option<PathBuf>,
        /// Its process, if it is on this machine: for its CPU time and memory.
        pid: Option<u32>,
    },
}

/// How to trust a running broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsRequest {
    /// PEM file of the CA.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate and key; `%i` in their paths is the number of the client.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Trust any certificate.
    pub insecure: bool,
    /// Take a CN for the broker's name.
    pub cn_fallback: bool,
}

impl TlsRequest {
    /// As the transport has it.
    pub fn as_client(&self) -> ClientTls<'_> {
        let certificate = self.certificate.as_ref();
        ClientTls {
            ca: self.ca.as_deref(),
            certificate: certificate.map(|(chain, key)| (chain.as_path(), key.as_path())),
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
            ..ClientTls::default()
        }
    }
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// Help, version, or what is wrong; [`clap::Error::exit_code`] and its text are ready to be shown.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, clap::Error> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == "run") {
        words.remove(1);
    }
    refuse_clashing_letters(&words)?;
    let arguments = Arguments::try_parse_from(words)?;
    arguments.request().map_err(|sentence| usage(&sentence))
}

/// The password among the words, the program's name first, if they can be understood.
pub fn password(words: impl IntoIterator<Item = OsString>) -> Option<String> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == "run") {
        words.remove(1);
    }
    Arguments::try_parse_from(words).ok()?.password
}

/// An MQTT load generator. Without -h it starts a broker of its own, over TLS, for the run.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110,
    after_help = "`loadgen pub` and `loadgen sub` publish and subscribe as mosquitto_pub and mosquitto_sub do: `loadgen pub --help`."
)]
struct Arguments {
    /// A load with a name: mtls-tutorial, a broker of its own that wants certificates, users and passwords
    #[arg(long, value_name = "NAME", conflicts_with_all = ["host", "no_tls", "username"])]
    scenario: Option<Named>,
    /// Publishing connections [default: 100, in mtls-tutorial 500]
    #[arg(long, value_name = "N")]
    pubs: Option<u32>,
    /// Subscribing connections [default: 100, in mtls-tutorial 500]
    #[arg(long, value_name = "N")]
    subs: Option<u32>,
    /// Messages per second, all publishers together, or `max` [default: one per publisher]
    #[arg(long, value_name = "N|max")]
    rate: Option<Rate>,
    /// Closed loop, as fast as possible: the same as --rate max
    #[arg(long, conflicts_with = "rate")]
    max_rate: bool,
    /// With --rate max: messages of a publisher that its subscribers have not all received, at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    window: u32,
    /// Exponential instead of equal intervals
    #[arg(long)]
    poisson: bool,
    /// QoS of publishes and subscriptions
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Bytes of each payload
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Publish with RETAIN
    #[arg(short, long)]
    retain: bool,
    /// pairs, fan-out, fan-in, or a topic of your own with %i for the client's number
    #[arg(short, long, value_name = "SHAPE|TOPIC", default_value = "pairs", value_parser = topics)]
    topics: Topics,
    /// Seconds of the measured part
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before it
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    warmup: Duration,
    /// Seconds to wait for outstanding deliveries, at most
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    drain: Duration,
    /// Exit 1 if the p99 of the latency is above this
    #[arg(long, value_name = "MS")]
    slo_p99_ms: Option<f64>,
    /// QoS 1 and 2: unacknowledged messages of a publisher, at most [default: 20, with --rate max the window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    inflight: Option<u16>,
    /// Generator threads [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Pin them to these CPUs, in turns
    #[arg(long, value_name = "LIST")]
    cpus: Option<Cpus>,
    /// Connections that are being made at the same time
    #[arg(long, value_name = "N", default_value_t = 32)]
    connect_concurrency: usize,
    /// Seconds for each connection to become ready
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    connect_timeout: Duration,
    /// Seed of phases, intervals and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Load this running broker instead of starting one
    #[arg(short, long, value_name = "HOST", help_heading = "Broker")]
    host: Option<String>,
    /// Its port [default: 1883, with TLS 8883]
    #[arg(short, long, value_name = "PORT", requires = "host", help_heading = "Broker")]
    port: Option<u16>,
    /// Its process on this machine: reports its CPU time and memory
    #[arg(long, value_name = "PID", requires = "host", help_heading = "Broker")]
    broker_pid: Option<u32>,
    /// Shards of the broker that is started [default: half of the cores]
    #[arg(long, value_name = "N", conflicts_with = "host", help_heading = "Broker")]
    broker_shards: Option<NonZeroUsize>,
    /// CPUs that the broker that is started may use [default: those of this process]
    #[arg(long, value_name = "LIST", conflicts_with = "host", help_heading = "Broker")]
    broker_cpus: Option<Cpus>,
    /// Use TLS to the broker of -h; the broker that is started has it anyway
    #[arg(long, help_heading = "Broker")]
    tls: bool,
    /// No TLS to the broker that is started
    #[arg(long, conflicts_with_all = ["host", "tls"], help_heading = "Broker")]
    no_tls: bool,
    /// CA that the broker's certificate must come from (implies --tls)
    #[arg(long, visible_aliases = ["cacertfile", "ca"], value_name = "FILE", requires = "host", help_heading = "Broker")]
    cafile: Option<PathBuf>,
    /// The clients' certificate (implies --tls); %i is the client's number
    #[arg(long, visible_alias = "certfile", value_name = "FILE", requires_all = ["host", "key"], help_heading = "Broker")]
    cert: Option<PathBuf>,
    /// Its private key; %i is the client's number
    #[arg(
        long,
        visible_alias = "keyfile",
        value_name = "FILE",
        requires = "cert",
        help_heading = "Broker"
    )]
    key: Option<PathBuf>,
    /// File with the passphrase of the keys; else MIDGE_KEY_PASSPHRASE, or the terminal is asked
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "Broker")]
    key_pass_file: Option<PathBuf>,
    /// Take the CN of a broker's certificate that has no subjectAltName for its name
    #[arg(long, requires = "host", help_heading = "Broker")]
    cn_fallback: bool,
    /// Trust any certificate (implies --tls)
    #[arg(long, requires = "host", help_heading = "Broker")]
    insecure: bool,
    /// User name; %i is the client's number
    #[arg(short, long, value_name = "NAME", help_heading = "Broker")]
    username: Option<String>,
    /// Password; the environment variable MIDGE_PASSWORD is another way
    #[arg(
        short = 'P',
        long = "pw",
        visible_alias = "password",
        value_name = "TEXT",
        requires = "username",
        help_heading = "Broker"
    )]
    password: Option<String>,
    /// Protocol version
    #[arg(short = 'V', long, value_name = "3|4|5", default_value = "mqttv311", value_parser = version, help_heading = "Broker")]
    protocol_version: ProtocolVersion,
    /// Keep alive, seconds
    #[arg(
        short,
        long = "keepalive",
        value_name = "S",
        default_value_t = 60,
        help_heading = "Broker"
    )]
    keep_alive: u16,

    /// Write the outcome to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Output")]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version, help_heading = "Output")]
    version: Option<bool>,
}

impl Arguments {
    fn request(self) -> Result<Request, String> {
        let half_the_cores = std::thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .div_euclid(2)
            .max(1);
        let target = self.target(half_the_cores)?;
        let json = self.json.clone();
        let scenario = self.scenario(half_the_cores)?;
        scenario.check()?;
        Ok(Request {
            scenario,
            target,
            json,
        })
    }

    fn target(&self, half_the_cores: usize) -> Result<TargetRequest, String> {
        let Some(host) = self.host.clone() else {
            let shards = self.broker_shards.map_or(half_the_cores, NonZeroUsize::get);
            if let Some(cpu) = self.broker_cpus.as_ref().and_then(Cpus::first_forbidden) {
                return Err(format!("--broker-cpus: this process may not use CPU {cpu}"));
            }
            return Ok(TargetRequest::OwnBroker {
                shards,
                tls: !self.no_tls,
                cpus: self.broker_cpus.clone(),
                users: self.scenario == Some(Named::MtlsTutorial),
            });
        };
        let tls = self.tls_request();
        if tls.as_ref().is_some_and(|tls| tls.ca.is_none() && !tls.insecure) {
            return Err(
                "--tls needs --cafile FILE, the CA of the broker's certificate (or --insecure)".to_owned(),
            );
        }
        let port = self.port.unwrap_or(if tls.is_some() { 8883 } else { 1883 });
        Ok(TargetRequest::Running {
            host,
            port,
            tls,
            key_pass_file: self.key_pass_file.clone(),
            pid: self.broker_pid,
        })
    }

    fn tls_request(&self) -> Option<TlsRequest> {
        let wanted = self.tls || self.insecure || self.cafile.is_some() || self.cert.is_some();
        wanted.then(|| TlsRequest {
            ca: self.cafile.clone(),
            certificate: self.cert.clone().zip(self.key.clone()),
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
        })
    }

    fn scenario(self, half_the_cores: usize) -> Result<Scenario, String> {
        let load = self.load();
        let inflight = self.inflight.unwrap_or(match load {
            Load::Paced { .. } => 20,
            Load::Saturating { window } => u16::try_from(window).unwrap_or(u16::MAX).max(1),
        });
        let slo_p99 = self
            .slo_p99_ms
            .map(|limit_ms| seconds_of(limit_ms / 1e3))
            .transpose()?;
        let credentials = self.credentials()?;
        Ok(Scenario {
            publishers: self.publishers(),
            subscribers: self.subs.unwrap_or(self.connections_default()),
            load,
            qos: self.qos,
            payload_bytes: self.size,
            retain: self.retain,
            topics: self.topics,
            version: self.protocol_version,
            keep_alive_s: self.keep_alive,
            inflight,
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: self.threads.map_or(half_the_cores, NonZeroUsize::get),
            cpus: self.cpus,
            connect_concurrency: self.connect_concurrency,
            connect_timeout: self.connect_timeout,
            seed: self.seed,
            slo_p99,
            credentials,
        })
    }

    fn connections_default(&self) -> u32 {
        match self.scenario {
            Some(Named::MtlsTutorial) => 500,
            None => 100,
        }
    }

    fn publishers(&self) -> u32 {
        self.pubs.unwrap_or(self.connections_default())
    }

    /// Those of the command line; with a broker of users, a password that nobody else knows.
    fn credentials(&self) -> Result<Credentials, String> {
        if self.scenario != Some(Named::MtlsTutorial) {
            let from_environment = || std::env::var(PASSWORD_VARIABLE).ok();
            let password = self.password.clone().or_else(from_environment);
            return Ok(Credentials {
                user_name: self.username.clone(),
                password: password.filter(|_| self.username.is_some()),
            });
        }
        let mut random = [0; 16];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
        read.map_err(|error| format!("no random bytes for a password: {error}"))?;
        Ok(Credentials {
            user_name: Some(format!("{CLIENT}%i")),
            password: Some(format!("{:032x}", u128::from_ne_bytes(random))),
        })
    }

    fn load(&self) -> Load {
        let arrival = if self.poisson {
            Arrival::Poisson
        } else {
            Arrival::Uniform
        };
        match self.rate {
            _ if self.max_rate => Load::Saturating { window: self.window },
            Some(Rate::Max) => Load::Saturating { window: self.window },
            Some(Rate::PerSecond(rate_per_s)) => Load::Paced { rate_per_s, arrival },
            None => Load::Paced {
                rate_per_s: f64::from(self.publishers().max(1)),
                arrival,
            },
        }
    }
}

/// A load that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Named {
    MtlsTutorial,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    PerSecond(f64),
    Max,
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(word: &str) -> Result<Rate, String> {
        match word {
            "max" => Ok(Rate::Max),
            _ => word
                .parse()
                .map(Rate::PerSecond)
                .map_err(|_| "a number or `max`".to_owned()),
        }
    }
}

pub(crate) fn qos(word: &str) -> Result<QoS, String> {
    match word {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err("0, 1 or 2".to_owned()),
    }
}

pub(crate) fn version(word: &str) -> Result<ProtocolVersion, String> {
    match word {
        "3" | "31" | "3.1" | "mqttv31" => Ok(ProtocolVersion::V3_1),
        "4" | "311" | "3.1.1" | "mqttv311" => Ok(ProtocolVersion::V3_1_1),
        "5" | "5.0" | "mqttv5" => Ok(ProtocolVersion::V5),
        _ => Err("3, 4, 5, mqttv31, mqttv311 or mqttv5".to_owned()),
    }
}

fn topics(word: &str) -> Result<Topics, String> {
    match word {
        "pairs" => Ok(Topics::Pairs),
        "fan-out" => Ok(Topics::FanOut),
        "fan-in" => Ok(Topics::FanIn),
        "" => Err("pairs, fan-out, fan-in, or a topic".to_owned()),
        _ => Ok(Topics::Pattern(word.to_owned())),
    }
}

pub(crate) fn seconds(word: &str) -> Result<Duration, String> {
    seconds_of(
        word.trim_end_matches('s')
            .parse()
            .map_err(|_| "a number of seconds".to_owned())?,
    )
}

fn seconds_of(number: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Letters that do not mean the same to mosquitto_pub, mosquitto_sub and emqtt-bench.
const CLASHING_LETTERS: &[(char, &str)] = &[
    (
        'c',
        "it is a count to some tools and keeps the session to others; use --pubs and --subs for counts",
    ),
    (
        'C',
        "it is a count to some tools and a certificate to others; use --duration, --subs or --cert",
    ),
    (
        'D',
        "it is a property to some tools and a delay to others; use --duration for time",
    ),
    (
        'F',
        "it is an output format to some tools and an in-flight window to others; use --inflight or --json",
    ),
    (
        'i',
        "it is a client id to some tools and an interval to others; use --rate for pace",
    ),
    (
        'I',
        "it is a client id prefix to some tools and an interval to others; use --rate for pace",
    ),
    (
        'l',
        "it reads standard input for some tools and saves memory for others; there is no such option here",
    ),
    (
        'L',
        "it is a URL to some tools and a message limit to others; use --host and --port, or --duration",
    ),
    (
        'n',
        "it is an empty message to some tools and a number to others; use --size, --pubs or --subs",
    ),
    (
        'R',
        "it skips retained messages for some tools and is a rate to others; use --rate",
    ),
    (
        'S',
        "it is TLS to some tools and a service record to others; use --tls",
    ),
    (
        'W',
        "it is a timeout to some tools and a wait to others; use --duration or --connect-timeout",
    ),
];

fn refuse_clashing_letters(words: &[OsString]) -> Result<(), clap::Error> {
    let letters = words
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .filter_map(letter_of);
    for letter in letters {
        if let Some((_, why)) = CLASHING_LETTERS.iter().find(|(clashing, _)| *clashing == letter) {
            return Err(usage(&format!("-{letter} is not taken: {why}")));
        }
    }
    Ok(())
}

fn letter_of(word: &str) -> Option<char> {
    let mut characters = word.chars();
    let letter = (characters.next() == Some('-'))
        .then(|| characters.next())
        .flatten()?;
    letter.is_ascii_alphabetic().then_some(letter)
}

fn usage(sentence: &str) -> clap::Error {
    use clap::CommandFactory;
    Arguments::command().error(ErrorKind::InvalidValue, sentence)
}

#[cfg(test)]
mod tests;
