//! The address of the broker, on one host or several, and the layers (TLS, WebSocket) above TCP.
//!
//! Invariant: the client with the number n, publisher or subscriber, connects to host n modulo the number of hosts,
//! so publisher n and subscriber n are on the same host. A publisher and its subscriber with different numbers break
//! this, which [`crate::scenario::topics::TopicPlan::crosses`] detects.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use transport::stream::{SecureStream, StreamError};
use transport::websocket::client::Resource;

/// The address of the broker and the protocols to reach it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    first: Host,
    others: Vec<Host>,
    tls: Option<ClientConfigs>,
    /// Whether MQTT is carried in WebSocket frames.
    pub web_socket: bool,
}

/// One host of the broker.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its address.
    pub address: SocketAddr,
    /// The name that its certificate must contain.
    pub server_name: String,
    /// The resource that a WebSocket client requests.
    pub resource: Option<Resource>,
}

/// The TLS configurations of the clients: one for all, or one for each number.
#[derive(Clone, Debug)]
pub struct ClientConfigs(Arc<[Arc<ClientConfig>]>);

impl ClientConfigs {
    /// Client number i has the configuration i, or the only one.
    pub fn new(configs: Vec<Arc<ClientConfig>>) -> ClientConfigs {
        ClientConfigs(configs.into())
    }

    /// The configuration of the clients with this number.
    pub fn of(&self, number: u32) -> Option<&Arc<ClientConfig>> {
        self.0.get(number as usize).or(self.0.first())
    }
}

impl Endpoint {
    /// An endpoint with one host, over TCP or TLS.
    pub fn one(address: SocketAddr, server_name: &str, tls: Option<ClientConfigs>) -> Endpoint {
        let host = Host {
            address,
            server_name: server_name.to_owned(),
            resource: None,
        };
        Endpoint::new(host, Vec::new(), tls)
    }

    /// An endpoint whose hosts all use the same protocols.
    pub fn new(first: Host, others: Vec<Host>, tls: Option<ClientConfigs>) -> Endpoint {
        Endpoint {
            web_socket: first.resource.is_some(),
            first,
            others,
            tls,
        }
    }

    /// The number of hosts.
    pub fn hosts(&self) -> u32 {
        u32::try_from(self.others.len()).map_or(u32::MAX, |others| others.saturating_add(1))
    }

    /// The host of the clients with this number.
    pub fn host(&self, number: u32) -> &Host {
        let place = (number % self.hosts()) as usize;
        let other = place.checked_sub(1).and_then(|place| self.others.get(place));
        other.unwrap_or(&self.first)
    }

    /// Whether clients use TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The addresses of all hosts, for people.
    pub fn addresses(&self) -> String {
        let mut addresses = self.first.address.to_string();
        for host in &self.others {
            // Writing to a String cannot fail.
            let _ = write!(addresses, ", {}", host.address);
        }
        addresses
    }

    /// The stream (plain, TLS, WebSocket) between the socket and the packets of the client with this number.
    ///
    /// # Errors The host's name is not valid for TLS.
    pub fn stream(&self, number: u32) -> Result<SecureStream, StreamError> {
        let host = self.host(number);
        let tls = self.tls.as_ref().and_then(|tls| tls.of(number));
        let stream = SecureStream::client(tls, &host.server_name)?;
        Ok(match &host.resource {
            Some(resource) => stream.upgrading(resource),
            None => stream,
        })
    }
}

/// For people: the name as it was given, with the address that was found for it.
impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = self.address;
        if self.server_name == address.ip().to_string() {
            write!(formatter, "{address}")
        } else {
            write!(formatter, "{} ({address})", self.server_name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(port: u16) -> Host {
        Host {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            server_name: "localhost".to_owned(),
            resource: None,
        }
    }

    #[test]
    fn clients_take_the_hosts_in_turns_by_their_number() {
        let endpoint = Endpoint::new(host(1), vec![host(2), host(3)], None);
        let ports: Vec<u16> = (0..7)
            .map(|number| endpoint.host(number).address.port())
            .collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(endpoint.addresses(), "127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3");
        let one = Endpoint::one(host(9).address, "x", None);
        assert_eq!((one.hosts(), one.host(u32::MAX).address.port()), (1, 9));
    }

    #[test]
    fn a_host_is_shown_by_its_name_and_its_address() {
        assert_eq!(host(5).to_string(), "localhost (127.0.0.1:5)");
        let bare = Endpoint::one(host(5).address, "127.0.0.1", None);
        assert_eq!(bare.host(0).to_string(), "127.0.0.1:5");
    }
}
