//! What a CONNECT grants to the client: Keep Alive, Session Expiry Interval, and the limits of the broker in a CONNACK
//! of MQTT 5.0.
//!
//! Invariants: none.

use std::borrow::Cow;

use mqtt::ProtocolVersion;
use mqtt::property::{PropertiesBuf, Property};

use crate::auth::acl::Access;
use crate::limits;
use crate::logic::connect_request::ConnectRequest;
use crate::logic::handle::disconnect::bounded_expiry_s;
use crate::logic::session::NEVER_EXPIRES;
use crate::settings::{ListenerSettings, Settings};
use crate::time::Timestamp;

/// An admitted client, and what it was granted.
pub(super) struct Admitted<'a> {
    pub(super) client_identifier: &'a str,
    /// Whether the broker chose the client identifier.
    pub(super) assigned: bool,
    /// The user, if it was authenticated: the owner of the session.
    pub(super) user: Option<Box<str>>,
    /// What the client may publish and read.
    pub(super) access: Access,
    /// When its connection ends, where its token says so.
    pub(super) ends_at: Option<Timestamp>,
    /// The topic of its Will, as the broker sees it.
    pub(super) will_topic: Option<Cow<'a, str>>,
}

/// The results of a CONNECT and the settings alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted<'a> {
    settings: &'a Settings,
    connect: &'a ConnectRequest,
}

impl<'a> Granted<'a> {
    pub(super) fn new(settings: &'a Settings, connect: &'a ConnectRequest) -> Self {
        Self { settings, connect }
    }

    /// Session Expiry Interval: 3.x ends a clean session with its connection and keeps the others.
    pub(super) fn expiry_s(&self) -> u32 {
        let connect = self.connect;
        let expiry_s = match connect.version {
            ProtocolVersion::V5 => connect.session_expiry_s,
            _ if connect.clean_start => 0,
            _ => NEVER_EXPIRES,
        };
        bounded_expiry_s(expiry_s, self.settings.persistent_client_expiration_s)
    }

    /// Whether `max_keepalive` forbids the Keep Alive of a client that cannot be given another one; mosquitto answers
    /// in the same way.
    pub(super) fn refuses_keep_alive(&self) -> bool {
        self.connect.version != ProtocolVersion::V5 && self.keep_alive_s() != self.connect.keep_alive_s
    }

    /// The Keep Alive in effect: the client's, or `max_keepalive` if that is shorter.
    ///
    /// [MQTT-3.2.2-22]
    pub(super) fn keep_alive_s(&self) -> u16 {
        let asked_s = self.connect.keep_alive_s;
        match self.settings.keep_alive_s_max {
            0 => asked_s,
            keep_alive_s_max if asked_s == 0 => keep_alive_s_max,
            keep_alive_s_max => asked_s.min(keep_alive_s_max),
        }
    }

    /// The broker's limits for a 5.0 client: only those that differ from the specification's default.
    ///
    /// [MQTT-3.2.2-9], [MQTT-3.2.2-16], [MQTT-3.2.2-20], [MQTT-3.3.2-12]
    pub(super) fn properties(&self, listener: &ListenerSettings, admitted: &Admitted<'_>) -> PropertiesBuf {
        let Self { settings, connect } = *self;
        let mut properties = PropertiesBuf::new();
        if connect.version != ProtocolVersion::V5 {
            return properties;
        }
        let mut add = |property: Property<'_>| {
            // Each is short, and there are few.
            let _ = properties.push(property);
        };
        let expiry_s = self.expiry_s();
        if expiry_s != connect.session_expiry_s {
            add(Property::SessionExpiryInterval(expiry_s));
        }
        if let Some(receive_max) =
            std::num::NonZeroU16::new(settings.inflight_messages_max).filter(|m| m.get() < u16::MAX)
        {
            add(Property::ReceiveMaximum(receive_max));
        }
        if listener.qos_max < mqtt::QoS::ExactlyOnce {
            add(Property::MaximumQoS(listener.qos_max));
        }
        if !settings.retain_available {
            add(Property::RetainAvailable(false));
        }
        if let Some(maximum) = std::num::NonZeroU32::new(settings.packet_bytes_max)
            .filter(|m| m.get() < limits::PACKET_BYTES_MAX)
        {
            add(Property::MaximumPacketSize(maximum));
        }
        if admitted.assigned {
            // [MQTT-3.1.3-7]
            add(Property::AssignedClientIdentifier(admitted.client_identifier));
        }
        let topic_alias_max = listener.topic_alias_max.min(limits::TOPIC_ALIASES_MAX);
        if topic_alias_max > 0 {
            add(Property::TopicAliasMaximum(topic_alias_max));
        }
        let keep_alive_s = self.keep_alive_s();
        if keep_alive_s != connect.keep_alive_s {
            // [MQTT-3.1.2-21]
            add(Property::ServerKeepAlive(keep_alive_s));
        }
        // [MQTT-3.1.2-28]
        if connect.wants_response_information
            && let Some(information) = self.response_information(admitted)
        {
            add(Property::ResponseInformation(&information));
        }
        properties
    }

    /// `response_information` for a client. `None` for one whose names would be more or less than one level of a
    /// topic.
    fn response_information(&self, admitted: &Admitted<'_>) -> Option<String> {
        let pattern = self.settings.response_information.as_deref()?;
        let level = |name: &'_ str| !name.is_empty() && !name.contains(['/', '+', '#']);
        let mut information = pattern.to_owned();
        let user = admitted.user.as_deref().unwrap_or_default();
        for (place, name) in [("%c", admitted.client_identifier), ("%u", user)] {
            if pattern.contains(place) {
                Some(name).filter(|name| level(name))?;
                information = information.replace(place, name);
            }
        }
        Some(information)
    }
}
