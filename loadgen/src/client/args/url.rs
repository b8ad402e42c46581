//! The URL of `-L`: address, credentials and topic, as in mosquitto_pub.
//!
//! Invariants: none.

use std::fmt;
use std::str::FromStr;

/// The parts of `mqtt(s)://[NAME[:PASSWORD]@]HOST[:PORT]/TOPIC`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BrokerUrl {
    /// The URL as it was given.
    pub(super) text: String,
    pub(super) tls: bool,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) topic: String,
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<BrokerUrl, String> {
        let form =
            || "a URL is mqtt://[NAME[:PASSWORD]@]HOST[:PORT]/TOPIC, or mqtts://... with TLS".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(form()),
        };
        let (authority, topic) = rest.split_once('/').ok_or_else(form)?;
        // A password may contain an @.
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user_name, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((name, password))) => (Some(name), Some(password)),
            Some(Err(name)) => (Some(name), None),
        };
        let (host, port) = host_and_port(place).ok_or_else(form)?;
        if host.is_empty() || topic.is_empty() {
            return Err(form());
        }
        Ok(BrokerUrl {
            text: text.to_owned(),
            tls,
            user_name: user_name.map(str::to_owned),
            password: password.map(str::to_owned),
            host: host.to_owned(),
            port,
            topic: topic.to_owned(),
        })
    }
}

/// Without the password.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(formatter, "{scheme}://{}/{}", self.host, self.topic)
    }
}

/// `HOST`, `HOST:PORT`, or an IPv6 address in brackets.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    match port {
        "" => Some((host, None)),
        port => Some((host, Some(port.parse().ok().filter(|&port| port > 0)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_url() {
        let url: BrokerUrl = "mqtts://ann:p@ss:w@h.example:1/a/b".parse().unwrap();
        assert_eq!(
            (url.tls, url.user_name.as_deref(), url.password.as_deref()),
            (true, Some("ann"), Some("p@ss:w"))
        );
        assert_eq!(
            (url.host.as_str(), url.port, url.topic.as_str()),
            ("h.example", Some(1), "a/b")
        );
        assert!(!format!("{url:?}").contains("ss:w"));
        let url: BrokerUrl = "mqtt://[::1]/t".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", None));
        let url: BrokerUrl = "MQTT://ann@h/t".parse().unwrap();
        assert_eq!((url.user_name.as_deref(), url.password), (Some("ann"), None));
        for wrong in [
            "h/t",
            "http://h/t",
            "mqtt://h",
            "mqtt:///t",
            "mqtt://h/",
            "mqtt://h:x/t",
            "mqtt://h:0/t",
            "mqtt://[::1/t",
        ] {
            assert!(wrong.parse::<BrokerUrl>().is_err(), "{wrong}");
        }
    }
}
