//! Parses single values of the command line.
//!
//! Invariants: none.

use std::time::Duration;

use mqtt::packet::QoS;
use mqtt::version::ProtocolVersion;
use transport::websocket::client::Resource;

use crate::scenario::topics::Topics;

/// A rate of messages, by a number or a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// This many messages per second.
    PerSecond(f64),
    /// As fast as possible.
    Max,
    /// As fast as the sockets accept.
    Flood,
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(word: &str) -> Result<Rate, String> {
        match word {
            "max" => Ok(Rate::Max),
            "flood" => Ok(Rate::Flood),
            _ => word
                .parse()
                .map(Rate::PerSecond)
                .map_err(|_| "a number, `max` or `flood`".to_owned()),
        }
    }
}

/// Parses a QoS number.
pub(crate) fn qos(word: &str) -> Result<QoS, String> {
    match word {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err("0, 1 or 2".to_owned()),
    }
}

/// A protocol version by its number or mosquitto's name.
pub(crate) fn version(word: &str) -> Result<ProtocolVersion, String> {
    match word {
        "3" | "31" | "3.1" | "mqttv31" => Ok(ProtocolVersion::V3_1),
        "4" | "311" | "3.1.1" | "mqttv311" => Ok(ProtocolVersion::V3_1_1),
        "5" | "5.0" | "mqttv5" => Ok(ProtocolVersion::V5),
        _ => Err("3, 4, 5, mqttv31, mqttv311 or mqttv5".to_owned()),
    }
}

/// Parses the path of a WebSocket upgrade.
pub(crate) fn web_socket_path(word: &str) -> Result<String, &'static str> {
    Resource::new("localhost", word).map(|_| word.to_owned())
}

/// The default port; for WebSocket there is no convention except EMQX's.
pub(crate) fn default_port(tls: bool, web_socket: bool) -> u16 {
    match (tls, web_socket) {
        (false, false) => 1883,
        (true, false) => 8883,
        (false, true) => 8083,
        (true, true) => 8084,
    }
}

/// A shape of topics, or a topic.
pub(crate) fn topics(word: &str) -> Result<Topics, String> {
    match word {
        "pairs" => Ok(Topics::Pairs),
        "fan-out" => Ok(Topics::FanOut),
        "fan-in" => Ok(Topics::FanIn),
        "" => Err("pairs, fan-out, fan-in, or a topic".to_owned()),
        _ => Ok(Topics::Pattern(word.to_owned())),
    }
}

/// Parses a number of seconds, which may have a fraction.
pub(crate) fn seconds(word: &str) -> Result<Duration, String> {
    seconds_of(
        word.trim_end_matches('s')
            .parse()
            .map_err(|_| "a number of seconds".to_owned())?,
    )
}

/// This many seconds, if a duration can represent them.
pub(crate) fn seconds_of(number: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}
