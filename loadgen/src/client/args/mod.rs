//! The command lines of `loadgen pub`, `loadgen sub` and `loadgen rr`: parsed once, into a typed request.
//!
//! `connection.rs` has the options that all share: the broker, TLS, the identity of the client and its Will; `url.rs`
//! the URL that stands for several of them. `message.rs` has the options for the published message, `output.rs` those
//! for the output, `request.rs` those of `rr`.
//!
//! Invariant: a letter has the same meaning as in mosquitto_pub, mosquitto_sub and mosquitto_rr. The command line
//! overrides a properties file.

mod connection;
mod message;
mod output;
mod request;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use mqtt::packet::QoS;
use mqtt::topic;
use mqtt::version::ProtocolVersion;

use crate::options::properties::SubscriptionArguments;
use crate::options::words::{qos, seconds};
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Credentials;
use crate::scenario::Origin;
use crate::scenario::properties::{Carrier, GivenProperties};
use crate::scenario::subscription::SubscriptionChoices;
use crate::system::key_passphrase::ClientPassphrase;
use crate::target::request::TlsRequest;
use connection::ConnectionArguments;
use message::MessageArguments;
pub(super) use output::OutputChoices;
use output::PrintArguments;
pub use request::RequestArguments;
pub(super) use request::RequestResponse;

/// The address of the broker, and the identity of the client.
#[derive(Debug)]
pub(super) struct ClientSettings {
    pub(super) host: String,
    pub(super) port: u16,
    /// The Unix socket to connect to, instead of host and port.
    pub(super) unix: Option<PathBuf>,
    /// The address or host name to connect from.
    pub(super) bind: Option<String>,
    /// Errors are not printed.
    pub(super) quiet: bool,
    pub(super) tls: Option<TlsRequest>,
    /// Path of the WebSocket, if one is used.
    pub(super) web_socket: Option<String>,
    pub(super) key_passphrase: ClientPassphrase,
    pub(super) client_identifier: String,
    pub(super) credentials: Credentials,
    pub(super) version: ProtocolVersion,
    pub(super) keep_alive_s: u16,
    pub(super) clean_start: bool,
    /// MQTT 5.0; 0: the session ends with the connection, unless the properties say otherwise.
    pub(super) session_expiry_s: u32,
    pub(super) connect_timeout: Duration,
    /// The MQTT 5.0 properties for its packets.
    pub(super) properties: GivenProperties,
    pub(super) will: Option<ClientWill>,
    /// Whether packets are shown on standard error.
    pub(super) debug: bool,
    /// Warnings for the user, as whole sentences.
    pub(super) warnings: Vec<String>,
}

/// The Will of a client; its properties are among those of its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientWill {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// The request of `loadgen pub`.
#[derive(Debug)]
pub struct PublishRequest {
    pub(super) settings: ClientSettings,
    pub(super) topic: String,
    pub(super) message: Message,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) repeat: u64,
    pub(super) repeat_delay: Duration,
    /// Largest number of unacknowledged messages.
    pub(super) in_flight_max: u16,
}

/// The source of the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The text of `-m`; empty with `-n`.
    Text(Vec<u8>),
    /// The content of a file, as one message.
    File(PathBuf),
    /// The whole standard input, as one message.
    StandardInput,
    /// Standard input, one message per line.
    Lines,
}

/// The request of `loadgen sub`.
#[derive(Debug)]
pub struct SubscribeRequest {
    pub(super) settings: ClientSettings,
    pub(super) filters: Vec<String>,
    pub(super) qos: QoS,
    pub(super) count: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) output: OutputChoices,
    pub(super) no_retained: bool,
    /// The first message that is not retained ends the program.
    pub(super) retained_only: bool,
    /// Retained messages are deleted when they arrive.
    pub(super) remove_retained: bool,
    /// Messages whose topics match one of these filters are not printed.
    pub(super) filtered_out: Vec<String>,
    /// Filters to unsubscribe from.
    pub(super) unsubscribed: Vec<String>,
    pub(super) exit_when_subscribed: bool,
    pub(super) subscription: SubscriptionChoices,
}

/// Publish as mosquitto_pub does.
#[derive(Clone, Debug, clap::Args)]
#[command(
    display_name = "loadgen pub",
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS
)]
pub struct PublishArguments {
    /// Topic to publish to
    #[arg(short, long, required_unless_present = "url")]
    topic: Option<String>,
    #[command(flatten)]
    source: MessageArguments,
    /// Publish each line of standard input as a message
    #[arg(short = 'l', long, group = "source")]
    stdin_line: bool,
    /// QoS of the message
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Publish the message as a retained message
    #[arg(short, long)]
    retain: bool,
    /// Publish the message this many times
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["stdin_line", "stdin_file"]
    )]
    repeat: u64,
    /// Seconds between two of these messages
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds, requires = "repeat")]
    repeat_delay: Duration,
    /// Largest number of unacknowledged messages
    #[arg(
        short = 'M',
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    max_inflight: u16,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Subscribe as mosquitto_sub does.
#[derive(Clone, Debug, clap::Args)]
#[command(
    display_name = "loadgen sub",
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS
)]
pub struct SubscribeArguments {
    /// Topic filter; may be repeated
    #[arg(short, long = "topic", value_name = "FILTER", required_unless_present_any = ["url", "unsubscribed"])]
    topics: Vec<String>,
    /// Unsubscribe from a filter of a kept session; may be repeated
    #[arg(short = 'U', long = "unsubscribe", value_name = "FILTER", id = "unsubscribed")]
    unsubscribed: Vec<String>,
    /// Do not print messages whose topic matches this filter; may be repeated
    #[arg(short = 'T', long = "filter-out", value_name = "FILTER")]
    filtered_out: Vec<String>,
    /// QoS of the message
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Exit after this many messages
    #[arg(short = 'C', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit after this many seconds, with exit code 27
    #[arg(short = 'W', value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    output: PrintArguments,
    /// Give each topic a line of the terminal, and print its last message there
    #[arg(short = 'w', long)]
    watch: bool,
    /// Print no retained messages
    #[arg(short = 'R', conflicts_with = "retained_only")]
    no_retained: bool,
    /// Print only retained messages, and exit at the first other one
    #[arg(long)]
    retained_only: bool,
    /// Delete retained messages when they arrive, except those excluded by -T
    #[arg(long, conflicts_with = "no_retained")]
    remove_retained: bool,
    /// Exit when the subscriptions are granted
    #[arg(short = 'E')]
    exit_when_subscribed: bool,
    #[command(flatten)]
    subscription: SubscriptionArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Options for PublishArguments {
    type Request = PublishRequest;

    const WORD: &'static str = "pub";

    fn request(self, _: Option<Origin>) -> Result<PublishRequest, String> {
        let topic = topic_name(self.topic, &self.connection)?;
        let message = if self.stdin_line {
            Message::Lines
        } else {
            self.source
                .given()
                .ok_or("nothing to publish: give -m TEXT, -f FILE, -l, -s or -n")?
        };
        Ok(PublishRequest {
            settings: self
                .connection
                .settings("pub", &[Carrier::Connect, Carrier::Will, Carrier::Publish])?,
            topic,
            message,
            qos: self.qos,
            retain: self.retain,
            repeat: self.repeat,
            repeat_delay: self.repeat_delay,
            in_flight_max: self.max_inflight,
        })
    }

    fn password(&self) -> Option<&str> {
        self.connection.secret()
    }
}

impl Options for SubscribeArguments {
    type Request = SubscribeRequest;

    const WORD: &'static str = "sub";

    // As mosquitto_sub: without -C or -W only a signal ends it.
    const ENDS_BY_SIGNAL: bool = true;

    fn request(self, _: Option<Origin>) -> Result<SubscribeRequest, String> {
        let mut filters = self.topics;
        filters.extend(self.connection.url_topic().map(str::to_owned));
        for (letter, filters) in [
            ("-t", &filters),
            ("-U", &self.unsubscribed),
            ("-T", &self.filtered_out),
        ] {
            for filter in filters {
                topic::check_filter(filter)
                    .map_err(|error| format!("{letter} {filter:?} is not a topic filter: {error}"))?;
            }
        }
        let subscription = self.subscription.choices(self.connection.version())?;
        // [MQTT-3.8.3-4]
        if subscription.no_local && filters.iter().any(|filter| filter.starts_with("$share/")) {
            return Err("--no-local cannot be used with shared subscriptions".to_owned());
        }
        Ok(SubscribeRequest {
            settings: self
                .connection
                .settings("sub", &[Carrier::Connect, Carrier::Will, Carrier::Subscribe])?,
            subscription,
            filters,
            qos: self.qos,
            count: self.count,
            timeout: self.timeout,
            output: self.output.choices(self.watch),
            no_retained: self.no_retained,
            retained_only: self.retained_only,
            remove_retained: self.remove_retained,
            filtered_out: self.filtered_out,
            unsubscribed: self.unsubscribed,
            exit_when_subscribed: self.exit_when_subscribed,
        })
    }

    fn password(&self) -> Option<&str> {
        self.connection.secret()
    }
}

/// The topic of `-t` or of the URL.
fn topic_name(given: Option<String>, connection: &ConnectionArguments) -> Result<String, String> {
    let name = given.or_else(|| connection.url_topic().map(str::to_owned));
    let name = name.ok_or("-t TOPIC is missing")?;
    topic::check_name(&name).map_err(|error| format!("-t {name:?} is not a topic name: {error}"))?;
    Ok(name)
}

#[cfg(test)]
mod tests;
