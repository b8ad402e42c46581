//! The command lines of `loadgen pub` and `loadgen sub`: words become a typed request, once.
//!
//! Invariant: a letter means what it means to mosquitto_pub and mosquitto_sub. What the command line says goes before
//! what a file of properties says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser};
use mqtt::packet::QoS;
use mqtt::topic;
use mqtt::version::ProtocolVersion;

use super::properties::Properties;
use crate::args::TlsRequest;
use crate::args::broker::WEB_SOCKET_PATH;
use crate::args::properties::{PropertyArguments, SubscriptionArguments};
use crate::args::words::{default_port, qos, seconds, version, web_socket_path};
use crate::conceal::PASSWORD_VARIABLE;
use crate::key_passphrase::ClientPassphrase;
use crate::properties::{Carrier, GivenProperties, SESSION_EXPIRY_INTERVAL};
use crate::scenario::Credentials;
use crate::subscription::SubscriptionWishes;

/// Where and as whom to connect.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<TlsRequest>,
    /// Path of WebSocket, if that is wanted.
    pub(super) web_socket: Option<String>,
    pub(super) key_passphrase: ClientPassphrase,
    pub(super) client_identifier: String,
    pub(super) credentials: Credentials,
    pub(super) version: ProtocolVersion,
    pub(super) keep_alive_s: u16,
    pub(super) clean_start: bool,
    /// MQTT 5.0; 0: the session ends with the connection, or the properties say when.
    pub(super) session_expiry_s: u32,
    pub(super) connect_timeout: Duration,
    /// Properties of its packets.
    pub(super) properties: GivenProperties,
    /// What the user should know, whole sentences.
    pub(super) warnings: Vec<String>,
}

/// What `loadgen pub` is to do.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) settings: Settings,
    pub(super) topic: String,
    pub(super) message: Message,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) repeat: u64,
    pub(super) repeat_delay: Duration,
}

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The command line.
    Text(Vec<u8>),
    /// A file, as one message.
    File(PathBuf),
    /// Standard input, as one message.
    StandardInput,
    /// Standard input, a message for each line.
    Lines,
}

/// What `loadgen sub` is to do.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) settings: Settings,
    pub(super) filters: Vec<String>,
    pub(super) qos: QoS,
    pub(super) count: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) verbose: bool,
    pub(super) no_newline: bool,
    pub(super) no_retained: bool,
    pub(super) exit_when_subscribed: bool,
    pub(super) subscription: SubscriptionWishes,
}

/// Reads the words of `loadgen pub`.
pub(super) fn publishing(words: impl IntoIterator<Item = OsString>) -> Result<Publishing, clap::Error> {
    let arguments = PubArguments::try_parse_from(named("loadgen pub", words))?;
    let request = arguments.request();
    request.map_err(|sentence| PubArguments::command().error(ErrorKind::InvalidValue, sentence))
}

/// Reads the words of `loadgen sub`.
pub(super) fn subscribing(words: impl IntoIterator<Item = OsString>) -> Result<Subscribing, clap::Error> {
    let arguments = SubArguments::try_parse_from(named("loadgen sub", words))?;
    let request = arguments.request();
    request.map_err(|sentence| SubArguments::command().error(ErrorKind::InvalidValue, sentence))
}

/// The password among the words, if they can be understood.
pub(super) fn password(publishes: bool, words: impl IntoIterator<Item = OsString>) -> Option<String> {
    if publishes {
        let arguments = PubArguments::try_parse_from(named("loadgen pub", words)).ok()?;
        return arguments.connection.password;
    }
    let arguments = SubArguments::try_parse_from(named("loadgen sub", words)).ok()?;
    arguments.connection.password
}

fn named(program: &str, words: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from(program)).chain(words)
}

/// Publish as mosquitto_pub does.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen pub",
    bin_name = "loadgen pub",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110
)]
struct PubArguments {
    /// Topic
    #[arg(short, long)]
    topic: String,
    /// The message
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        group = "source"
    )]
    message: Option<OsString>,
    /// The content of a file is the message
    #[arg(short, long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(short = 'l', long, group = "source")]
    stdin_line: bool,
    /// Standard input is the message
    #[arg(short = 's', long, group = "source")]
    stdin_file: bool,
    /// An empty message
    #[arg(short, long, group = "source")]
    null_message: bool,
    /// QoS
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Publish with RETAIN
    #[arg(short, long)]
    retain: bool,
    /// Publish the message so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["stdin_line", "stdin_file"])]
    repeat: u64,
    /// Seconds between them
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds, requires = "repeat")]
    repeat_delay: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Subscribe as mosquitto_sub does.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen sub",
    bin_name = "loadgen sub",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110
)]
struct SubArguments {
    /// Topic filter; several are possible
    #[arg(short, long = "topic", value_name = "FILTER", required = true)]
    topics: Vec<String>,
    /// QoS
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// End after so many messages
    #[arg(short = 'C', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds, with exit code 27
    #[arg(short = 'W', value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Print the topic before each message
    #[arg(short, long)]
    verbose: bool,
    /// No newline behind a message
    #[arg(short = 'N')]
    no_newline: bool,
    /// No retained messages
    #[arg(short = 'R')]
    no_retained: bool,
    /// End as soon as the subscriptions are there
    #[arg(short = 'E')]
    exit_when_subscribed: bool,
    #[command(flatten)]
    subscription: SubscriptionArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Broker")]
struct ConnectionArguments {
    /// Host [default: localhost]
    #[arg(short, long)]
    host: Option<String>,
    /// Port [default: 1883, with TLS 8883, with --ws 8083 and 8084]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Client identifier [default: one that nobody else has]
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; the environment variable MIDGE_PASSWORD is another way
    #[arg(
        short = 'P',
        long = "pw",
        visible_alias = "password",
        value_name = "TEXT",
        requires = "username",
        allow_hyphen_values = true
    )]
    password: Option<String>,
    /// Keep alive, seconds
    #[arg(short, long = "keepalive", value_name = "S", default_value_t = 60)]
    keep_alive: u16,
    /// Protocol version
    #[arg(short = 'V', long, value_name = "3|4|5", default_value = "mqttv311", value_parser = version)]
    protocol_version: ProtocolVersion,
    /// Keep the session
    #[arg(short = 'c', long, requires = "id")]
    disable_clean_session: bool,
    /// MQTT 5.0: seconds that the session is kept [default: with -c forever]
    #[arg(short = 'x', long, value_name = "S")]
    session_expiry_interval: Option<u32>,
    /// Seconds for connecting
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    connect_timeout: Duration,
    /// MQTT over WebSocket
    #[arg(long)]
    ws: bool,
    /// Its path
    #[arg(long, value_name = "PATH", default_value = WEB_SOCKET_PATH, value_parser = web_socket_path)]
    ws_path: String,
    #[command(flatten)]
    packet_properties: PropertyArguments,
    /// Use TLS
    #[arg(long)]
    tls: bool,
    /// Java properties with ssl.ca.certificate.path, ssl.client.certificate.path, ssl.client.key.path,
    /// ssl.client.key.passphrase, host, port
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// CA that the broker's certificate must come from (implies --tls)
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// The client's certificate (implies --tls)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// File with the passphrase of the key; else MIDGE_KEY_PASSPHRASE, or the terminal is asked
    #[arg(long, value_name = "FILE")]
    key_pass_file: Option<PathBuf>,
    /// Take the CN of a broker's certificate that has no subjectAltName for its name
    #[arg(long)]
    cn_fallback: bool,
    /// Trust any certificate (implies --tls)
    #[arg(long)]
    insecure: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

impl PubArguments {
    fn request(self) -> Result<Publishing, String> {
        topic::check_name(&self.topic)
            .map_err(|error| format!("-t {:?} is not a topic name: {error}", self.topic))?;
        let message = if let Some(text) = self.message {
            Message::Text(text.into_encoded_bytes())
        } else if let Some(file) = self.file {
            Message::File(file)
        } else if self.stdin_line {
            Message::Lines
        } else if self.stdin_file {
            Message::StandardInput
        } else if self.null_message {
            Message::Text(Vec::new())
        } else {
            return Err("nothing to publish: give -m TEXT, -f FILE, -l, -s or -n".to_owned());
        };
        Ok(Publishing {
            settings: self
                .connection
                .settings("pub", &[Carrier::Connect, Carrier::Publish])?,
            topic: self.topic,
            message,
            qos: self.qos,
            retain: self.retain,
            repeat: self.repeat,
            repeat_delay: self.repeat_delay,
        })
    }
}

impl SubArguments {
    fn request(self) -> Result<Subscribing, String> {
        for filter in &self.topics {
            topic::check_filter(filter)
                .map_err(|error| format!("-t {filter:?} is not a topic filter: {error}"))?;
        }
        let subscription = self.subscription.wishes(self.connection.protocol_version)?;
        // [MQTT-3.8.3-4]
        if subscription.no_local && self.topics.iter().any(|filter| filter.starts_with("$share/")) {
            return Err("--no-local is not for shared subscriptions".to_owned());
        }
        Ok(Subscribing {
            settings: self
                .connection
                .settings("sub", &[Carrier::Connect, Carrier::Subscribe])?,
            subscription,
            filters: self.topics,
            qos: self.qos,
            count: self.count,
            timeout: self.timeout,
            verbose: self.verbose,
            no_newline: self.no_newline,
            no_retained: self.no_retained,
            exit_when_subscribed: self.exit_when_subscribed,
        })
    }
}

impl ConnectionArguments {
    fn settings(self, kind: &str, carriers: &[Carrier]) -> Result<Settings, String> {
        let file = match &self.properties {
            Some(path) => Properties::read(path)?,
            None => Properties::default(),
        };
        let tls = self.tls(&file)?;
        let five = self.protocol_version == ProtocolVersion::V5;
        let properties = self.packet_properties.given(carriers, self.protocol_version)?;
        let expires = properties.has(Carrier::Connect, SESSION_EXPIRY_INTERVAL);
        if expires && self.session_expiry_interval.is_some() {
            return Err(format!(
                "-x and -D connect {SESSION_EXPIRY_INTERVAL} say the same: give one"
            ));
        }
        let forever = if self.disable_clean_session && !expires {
            u32::MAX
        } else {
            0
        };
        if self.session_expiry_interval.is_some() && !five {
            return Err("-x is for MQTT 5.0: add -V 5".to_owned());
        }
        let password = self
            .password
            .or_else(|| std::env::var(PASSWORD_VARIABLE).ok())
            .filter(|_| self.username.is_some());
        let port = default_port(tls.is_some(), self.ws);
        Ok(Settings {
            host: self.host.or(file.host).unwrap_or_else(|| "localhost".to_owned()),
            port: self.port.or(file.port).unwrap_or(port),
            tls,
            web_socket: self.ws.then_some(self.ws_path),
            key_passphrase: ClientPassphrase::new(self.key_pass_file, file.key_passphrase),
            // At most 23 characters: MQTT 3.1 allows no more.
            client_identifier: self
                .id
                .unwrap_or_else(|| format!("loadgen-{kind}-{:08x}", fastrand::u32(..))),
            credentials: Credentials {
                user_name: self.username,
                password,
            },
            version: self.protocol_version,
            keep_alive_s: self.keep_alive,
            clean_start: !self.disable_clean_session,
            session_expiry_s: self.session_expiry_interval.unwrap_or(forever),
            connect_timeout: self.connect_timeout,
            properties,
            warnings: file.warnings,
        })
    }

    fn tls(&self, file: &Properties) -> Result<Option<TlsRequest>, String> {
        let ca = self.cafile.clone().or_else(|| file.ca.clone());
        let certificate = self.cert.clone().or_else(|| file.certificate.clone());
        let key = self.key.clone().or_else(|| file.key.clone());
        let wanted = self.tls || self.insecure || ca.is_some() || certificate.is_some() || key.is_some();
        if !wanted {
            return Ok(None);
        }
        if ca.is_none() && !self.insecure {
            return Err(
                "TLS needs --cafile FILE, the CA of the broker's certificate (or --insecure); in a file of \
                        properties it is ssl.ca.certificate.path"
                    .to_owned(),
            );
        }
        let certificate = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err(
                    "the client's certificate needs its key: --key FILE, or ssl.client.key.path".to_owned(),
                );
            }
            (None, Some(_)) => {
                return Err(
                    "the client's key needs its certificate: --cert FILE, or ssl.client.certificate.path"
                        .to_owned(),
                );
            }
        };
        Ok(Some(TlsRequest {
            ca,
            certificate,
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
        }))
    }
}

#[cfg(test)]
mod tests;
