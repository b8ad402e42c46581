//! The command lines of `loadgen pub` and `loadgen sub`: the words are parsed once, into a typed request.
//!
//! `connection.rs` has the options that both share: the broker, TLS, and the identity of the client.
//!
//! Invariant: a letter has the meaning that it has in mosquitto_pub and mosquitto_sub. The command line overrides a
//! file of properties.

mod connection;

use std::ffi::OsString;
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

/// Where and as whom to connect.
#[derive(Debug)]
pub(super) struct ClientSettings {
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
    /// MQTT 5.0; 0: the session ends with the connection, or when the properties end it.
    pub(super) session_expiry_s: u32,
    pub(super) connect_timeout: Duration,
    /// The MQTT 5.0 properties for its packets.
    pub(super) properties: GivenProperties,
    /// What the user should know, whole sentences.
    pub(super) warnings: Vec<String>,
}

/// What `loadgen pub` is to do.
#[derive(Debug)]
pub struct PublishRequest {
    pub(super) settings: ClientSettings,
    pub(super) topic: String,
    pub(super) message: Message,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) repeat: u64,
    pub(super) repeat_delay: Duration,
}

/// The source of the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The text of `-m`; nothing with `-n`.
    Text(Vec<u8>),
    /// The content of a file, as one message.
    File(PathBuf),
    /// The whole standard input, as one message.
    StandardInput,
    /// Standard input, a message for each line.
    Lines,
}

/// What `loadgen sub` is to do.
#[derive(Debug)]
pub struct SubscribeRequest {
    pub(super) settings: ClientSettings,
    pub(super) filters: Vec<String>,
    pub(super) qos: QoS,
    pub(super) count: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) verbose: bool,
    pub(super) no_newline: bool,
    pub(super) no_retained: bool,
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
    #[arg(short, long)]
    topic: String,
    /// Text of the message
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
    /// Publish an empty message
    #[arg(short, long, group = "source")]
    null_message: bool,
    /// QoS of the message
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Publish the message with RETAIN
    #[arg(short, long)]
    retain: bool,
    /// Publish the message so many times
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["stdin_line", "stdin_file"]
    )]
    repeat: u64,
    /// Seconds between two of them
    #[arg(long, value_name = "S", default_value = "0", value_parser = seconds, requires = "repeat")]
    repeat_delay: Duration,
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
    /// Topic filter; several are possible
    #[arg(short, long = "topic", value_name = "FILTER", required = true)]
    topics: Vec<String>,
    /// QoS of the message
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
    /// Print no retained messages
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

impl Options for PublishArguments {
    type Request = PublishRequest;

    const WORD: &'static str = "pub";

    fn request(self, _: Option<Origin>) -> Result<PublishRequest, String> {
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
        Ok(PublishRequest {
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

    fn password(&self) -> Option<&str> {
        self.connection.password.as_deref()
    }
}

impl Options for SubscribeArguments {
    type Request = SubscribeRequest;

    const WORD: &'static str = "sub";

    // As mosquitto_sub: without -C or -W there is no other end.
    const ENDS_BY_SIGNAL: bool = true;

    fn request(self, _: Option<Origin>) -> Result<SubscribeRequest, String> {
        for filter in &self.topics {
            topic::check_filter(filter)
                .map_err(|error| format!("-t {filter:?} is not a topic filter: {error}"))?;
        }
        let subscription = self.subscription.choices(self.connection.protocol_version)?;
        // [MQTT-3.8.3-4]
        if subscription.no_local && self.topics.iter().any(|filter| filter.starts_with("$share/")) {
            return Err("--no-local is not for shared subscriptions".to_owned());
        }
        Ok(SubscribeRequest {
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

    fn password(&self) -> Option<&str> {
        self.connection.password.as_deref()
    }
}

#[cfg(test)]
mod tests;
