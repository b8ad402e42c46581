//! The command line of `loadgen rr`: a request, and the topic of its response.
//!
//! Invariants: as in the folder's header.

use std::time::Duration;

use mqtt::packet::QoS;
use mqtt::topic;
use mqtt::version::ProtocolVersion;

use super::connection::ConnectionArguments;
use super::message::MessageArguments;
use super::output::PrintArguments;
use super::{Message, SubscribeRequest};
use crate::options::words::{qos, seconds};
use crate::options::{HELP_COLUMNS, Options};
use crate::scenario::Origin;
use crate::scenario::properties::{Carrier, RESPONSE_TOPIC};
use crate::scenario::subscription::SubscriptionChoices;

/// The request of `loadgen rr`.
#[derive(Debug)]
pub struct RequestResponse {
    /// The topic of the request.
    pub(in crate::client) topic: String,
    /// The source of its payload.
    pub(in crate::client) message: Message,
    /// How to wait for the response, with the settings of the connection and of the request.
    pub(in crate::client) response: SubscribeRequest,
}

/// Publish a request and print its response, as mosquitto_rr does.
#[derive(Clone, Debug, clap::Args)]
#[command(
    display_name = "loadgen rr",
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = HELP_COLUMNS
)]
pub struct RequestArguments {
    /// Topic of the request
    #[arg(short, long, required_unless_present = "url")]
    topic: Option<String>,
    /// Topic of the response, which is subscribed to
    #[arg(short = 'e', long, value_name = "TOPIC")]
    response_topic: String,
    #[command(flatten)]
    source: MessageArguments,
    /// QoS of both messages
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Wait this many seconds for the response, then exit with code 27
    #[arg(short = 'W', value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Ignore retained messages while waiting
    #[arg(short = 'R')]
    no_retained: bool,
    #[command(flatten)]
    output: PrintArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Options for RequestArguments {
    type Request = RequestResponse;

    const WORD: &'static str = "rr";

    fn request(self, _: Option<Origin>) -> Result<RequestResponse, String> {
        let connection = self.connection.with_default_version(ProtocolVersion::V5);
        let topic = super::topic_name(self.topic, &connection)?;
        topic::check_name(&self.response_topic)
            .map_err(|error| format!("-e {:?} is not a topic name: {error}", self.response_topic))?;
        let message = self
            .source
            .given()
            .ok_or("nothing to request: give -m TEXT, -f FILE, -s or -n")?;
        let carriers = [
            Carrier::Connect,
            Carrier::Will,
            Carrier::Publish,
            Carrier::Subscribe,
        ];
        let mut settings = connection.settings("rr", &carriers)?;
        if settings.version == ProtocolVersion::V5
            && !settings.properties.has(Carrier::Publish, RESPONSE_TOPIC)
        {
            let words = ["publish", RESPONSE_TOPIC, &self.response_topic].map(str::to_owned);
            settings.properties.add(&words, &carriers)?;
        }
        Ok(RequestResponse {
            topic,
            message,
            response: SubscribeRequest {
                settings,
                filters: vec![self.response_topic],
                qos: self.qos,
                count: Some(1),
                timeout: self.timeout,
                output: self.output.choices(false),
                no_retained: self.no_retained,
                retained_only: false,
                remove_retained: false,
                filtered_out: Vec::new(),
                unsubscribed: Vec::new(),
                exit_when_subscribed: false,
                subscription: SubscriptionChoices::default(),
            },
        })
    }

    fn password(&self) -> Option<&str> {
        self.connection.secret()
    }
}
