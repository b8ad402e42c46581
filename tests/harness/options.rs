//! What a client of the tests connects with: the fields of its CONNECT, and what lies below MQTT.

use std::sync::Arc;

use mqtt::packet::{Connect, Will};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS};
use rustls::ClientConfig;

/// What a CONNECT has, and over what it goes.
#[derive(Clone)]
pub(crate) struct Options {
    pub(super) client_identifier: String,
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    pub(super) keep_alive_s: u16,
    pub(super) session_expiry_s: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) will: Option<(String, Vec<u8>, QoS, bool)>,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) web_socket: bool,
    /// More properties of the CONNECT.
    pub(super) properties: PropertiesBuf,
    pub(super) will_properties: PropertiesBuf,
}

impl Options {
    /// MQTT 3.1.1, a clean session, no keep alive.
    pub(crate) fn new(client_identifier: &str) -> Self {
        Self {
            client_identifier: client_identifier.to_owned(),
            version: ProtocolVersion::V3_1_1,
            clean_start: true,
            keep_alive_s: 0,
            session_expiry_s: None,
            receive_maximum: None,
            will: None,
            user_name: None,
            password: None,
            tls: None,
            web_socket: false,
            properties: PropertiesBuf::new(),
            will_properties: PropertiesBuf::new(),
        }
    }

    /// The same for another client.
    pub(crate) fn named(mut self, client_identifier: &str) -> Self {
        client_identifier.clone_into(&mut self.client_identifier);
        self
    }

    /// A property of the CONNECT.
    pub(crate) fn property(mut self, property: Property<'_>) -> Self {
        self.properties.push(property).unwrap();
        self
    }

    /// Adds to what the CONNECT has about its Will.
    pub(crate) fn will_property(mut self, property: Property<'_>) -> Self {
        self.will_properties.push(property).unwrap();
        self
    }

    /// The Session Expiry Interval of a 5.0 client.
    pub(crate) fn session_expiry_s(mut self, expiry_s: u32) -> Self {
        self.session_expiry_s = Some(expiry_s);
        self
    }

    pub(crate) fn version(mut self, version: ProtocolVersion) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn v5(self) -> Self {
        self.version(ProtocolVersion::V5)
    }

    /// A session that outlives the connection, and goes on where it was.
    pub(crate) fn persistent(mut self) -> Self {
        self.clean_start = false;
        self.session_expiry_s = (self.version == ProtocolVersion::V5).then_some(3600);
        self
    }

    pub(crate) fn keep_alive_s(mut self, keep_alive_s: u16) -> Self {
        self.keep_alive_s = keep_alive_s;
        self
    }

    pub(crate) fn receive_maximum(mut self, receive_maximum: u16) -> Self {
        self.receive_maximum = Some(receive_maximum);
        self
    }

    pub(crate) fn will(mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Self {
        self.will = Some((topic.to_owned(), payload.to_vec(), qos, retain));
        self
    }

    pub(crate) fn user(mut self, user_name: &str, password: &str) -> Self {
        self.user_name = Some(user_name.to_owned());
        self.password = Some(password.as_bytes().to_vec());
        self
    }

    pub(crate) fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Speaks WebSocket below MQTT.
    pub(crate) fn web_socket(mut self) -> Self {
        self.web_socket = true;
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut properties = self.properties.clone();
        if let Some(expiry_s) = self.session_expiry_s {
            properties
                .push(Property::SessionExpiryInterval(expiry_s))
                .unwrap();
        }
        if let Some(maximum) = self.receive_maximum {
            properties
                .push(Property::ReceiveMaximum(maximum.try_into().unwrap()))
                .unwrap();
        }
        let will = self.will.as_ref().map(|(topic, payload, qos, retain)| Will {
            qos: *qos,
            retain: *retain,
            properties: self.will_properties.as_properties(),
            topic,
            payload,
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            properties: properties.as_properties(),
            client_identifier: &self.client_identifier,
            will,
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
        };
        let mut out = Vec::new();
        connect.encode(&mut out).unwrap();
        out
    }
}
