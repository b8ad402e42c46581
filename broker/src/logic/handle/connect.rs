//! CONNECT.
//!
//! Invariants: nothing of a session is touched before the client was let in; one connection at most is linked to a session,
//! so the older one is ended first [MQTT-3.1.4-3]; the CONNACK stands before anything else in `out` [MQTT-3.2.0-1].
//! Who named an Authentication Method has been through its exchange before it came here.

use std::borrow::Cow;

use mqtt::error::{DecodeError, DecodeErrorKind};
use mqtt::frame::{Frame, PacketType};
use mqtt::packet::{ConnAck, Connect};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, ReasonCode};

use super::super::Shard;
use super::super::aliases::Aliases;
use super::super::connection::{NONE, Peer, Stage};
use super::super::message::{Message, Publisher};
use super::super::mount::whole;
use super::super::reason_string;
use super::super::session::NEVER_EXPIRES;
use super::super::session::will::Will;
use super::super::store::Record;
use super::super::time::Timestamp;
use super::auth::Enhanced;
use super::disconnect::bounded_expiry_s;
use super::publish::is_as_indicated;
use crate::auth::Verdict;
use crate::auth::acl::Access;
use crate::auth::enhanced;
use crate::limits;
use crate::settings::ListenerSettings;

/// A client that may connect.
struct Admitted<'a> {
    client_identifier: &'a str,
    /// The identifier is the broker's.
    assigned: bool,
    /// The user, where it was proved: whose session it is.
    user: Option<Box<str>>,
    /// What the client may do.
    access: Access,
    /// The topic of its Will, as the broker sees it.
    will_topic: Option<Cow<'a, str>>,
}

impl Shard {
    /// The first packet of a connection: CONNECT, or the end [MQTT-3.1.0-1].
    pub(in crate::logic) fn handle_first(&mut self, now: Timestamp, slot: u32, frame: &Frame<'_>) {
        if frame.packet_type != PacketType::Connect {
            return self.protocol_error(
                now,
                slot,
                ReasonCode::ProtocolError,
                "the first packet is not CONNECT",
            );
        }
        match mqtt::decode::connect(frame) {
            Ok(connect) => self.handle_connect(now, slot, &connect),
            Err(error) => self.refuse_malformed(now, slot, frame, error),
        }
    }

    fn handle_connect(&mut self, now: Timestamp, slot: u32, connect: &Connect<'_>) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        connection.version = connect.version;
        connection.packet_bytes_max = connect
            .properties
            .maximum_packet_size()
            .map_or(limits::PACKET_BYTES_MAX, |maximum| maximum.get());
        connection.without_reasons = connect.properties.request_problem_information() == Some(false);
        let peer = connection.rare.take().and_then(|rare| rare.peer);
        let admitted = match self.admit(connect, peer.as_ref()) {
            Ok(admitted) => admitted,
            Err(reason) => {
                let told = match peer.as_ref().map(|peer| peer.verdict) {
                    Some(Verdict::Failed(refusal)) => Some(refusal.why),
                    _ => reason_string::of(PacketType::ConnAck, reason),
                };
                let why = refusal(reason, told, connect, peer.as_ref());
                return self.refuse_connect(now, slot, reason, told, &why);
            }
        };
        let session_present = self.open_session(now, slot, connect, &admitted);
        let authenticated = peer.as_ref().and_then(|peer| peer.authenticated.as_deref());
        self.accept(now, slot, connect, &admitted, session_present, authenticated);
        drop(admitted);
        let authenticated = peer.and_then(|peer| peer.authenticated);
        if let (Some(connection), Some(authenticated)) = (self.clients.connection(slot), authenticated) {
            connection.rare().enhanced = Some(Box::new(Enhanced::new(*authenticated)));
        }
    }

    /// Whether the client may connect; nothing is changed.
    fn admit<'a>(&self, connect: &Connect<'a>, peer: Option<&'a Peer>) -> Result<Admitted<'a>, ReasonCode> {
        let settings = &self.clients.settings;
        let listener = settings.listener(peer.map(|peer| peer.listener).unwrap_or_default());
        let speaks = match connect.version {
            ProtocolVersion::V3_1 => listener.accept_v3_1,
            ProtocolVersion::V3_1_1 => listener.accept_v3_1_1,
            ProtocolVersion::V5 => listener.accept_v5,
        };
        if !speaks {
            return Err(ReasonCode::UnsupportedProtocolVersion);
        }
        let authenticated = peer.and_then(|peer| peer.authenticated.as_deref());
        let named = peer
            .and_then(|peer| peer.certificate_identity.as_deref())
            .or(authenticated.map(|authenticated| &*authenticated.user))
            .or(connect.user_name);
        let proved = match peer.map(|peer| peer.verdict).unwrap_or_default() {
            Verdict::Refused(reason) => return Err(reason),
            Verdict::Failed(refusal) => return Err(refusal.reason),
            Verdict::Proved => true,
            Verdict::Unproved => peer.is_some_and(|peer| peer.certificate_identity.is_some()),
        };
        if connect.properties.authentication_method().is_some() {
            let Some(authenticated) = authenticated else {
                return Err(ReasonCode::BadAuthenticationMethod);
            };
            // One connection is one user's.
            if connect.user_name.is_some_and(|name| name != &*authenticated.user) {
                return Err(ReasonCode::BadUserNameOrPassword);
            }
        }
        if !proved && (listener.certificate_names_user || !listener.allow_anonymous) {
            return Err(ReasonCode::NotAuthorized);
        }
        let user: Option<Box<str>> = named.filter(|_| proved).map(Into::into);
        let assigned = connect.client_identifier.is_empty();
        let client_identifier = client_identifier(connect, peer, listener, named)?;
        if let Some(prefix) = &settings.client_identifier_prefix
            && !client_identifier.starts_with(prefix.as_str())
        {
            return Err(ReasonCode::NotAuthorized);
        }
        if let Some(will) = &connect.will {
            if will.retain && !settings.retain_available {
                return Err(ReasonCode::RetainNotSupported);
            }
            if will.qos > listener.qos_max {
                return Err(ReasonCode::QoSNotSupported);
            }
            if settings.check_payload_format && !is_as_indicated(will.properties, will.payload) {
                return Err(ReasonCode::PayloadFormatInvalid);
            }
        }
        if self.refuses_keep_alive(connect) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        self.check_capacity(client_identifier, user.as_deref())?;
        let mount_point = listener.mount_point.as_deref();
        let will_topic = connect
            .will
            .map(|will| whole(will.topic, mount_point).ok_or(ReasonCode::TopicNameInvalid));
        let will_topic = will_topic.transpose()?;
        let listener = peer.map(|peer| peer.listener).unwrap_or_default();
        let access = self.clients.policy.access(listener, client_identifier, named);
        let will_denied = will_topic.as_ref().is_some_and(|topic| !access.may_write(topic));
        if will_denied && connect.version == ProtocolVersion::V5 {
            return Err(ReasonCode::NotAuthorized);
        }
        Ok(Admitted {
            client_identifier,
            assigned,
            user,
            access,
            will_topic,
        })
    }

    /// Room for one more, and the session is this user's, if there is one.
    fn check_capacity(&self, client_identifier: &str, user: Option<&str>) -> Result<(), ReasonCode> {
        if let Some(session) = self
            .clients
            .sessions
            .find(client_identifier)
            .and_then(|s| self.clients.sessions.get(s))
        {
            return if session.user() == user {
                Ok(())
            } else {
                Err(ReasonCode::NotAuthorized)
            };
        }
        let settings = &self.clients.settings;
        let all = self.clients.all_counters();
        let sessions: u64 = all.iter().map(|shard| shard.sessions.get()).sum();
        let connected: u64 = all.iter().map(|shard| shard.clients_connected.get()).sum();
        let full = self.clients.memory_full
            || sessions >= settings.clients_max
            || connected >= settings.connections_max
            || self.clients.sessions.len() >= limits::SESSIONS_MAX;
        if full {
            Err(ReasonCode::QuotaExceeded)
        } else {
            Ok(())
        }
    }

    /// Ends an older connection of the client, makes or resumes the session, and links it; whether it was there.
    fn open_session(
        &mut self,
        now: Timestamp,
        slot: u32,
        connect: &Connect<'_>,
        admitted: &Admitted<'_>,
    ) -> bool {
        let older = self.clients.sessions.find(admitted.client_identifier);
        let older_link = older.map_or(NONE, |session| self.clients.sessions.link(session));
        if older_link != NONE {
            self.disconnect(
                now,
                older_link,
                ReasonCode::SessionTakenOver,
                "another connection took the session over",
            );
        }
        // The takeover may have ended it.
        let mut known = self.clients.sessions.find(admitted.client_identifier);
        if let Some(session) = known.take_if(|_| connect.clean_start) {
            self.end_session(now, session);
        }
        if let Some(session) = known {
            self.cancel_session_timers(session);
        }
        let session_slot = known.unwrap_or_else(|| {
            self.clients.counters().sessions.add(1);
            self.clients
                .sessions
                .insert(admitted.client_identifier, admitted.user.clone())
        });
        let expiry_s = self.expiry_s(connect);
        let window = connect
            .properties
            .receive_maximum()
            .map_or(u16::MAX, |maximum| maximum.get());
        let window = window.min(self.clients.settings.inflight_messages_max);
        let will = self.will_of(now, connect, admitted);
        self.give_rights(session_slot, &admitted.access);
        let Some(session) = self.clients.sessions.get_mut(session_slot) else {
            return false;
        };
        let outlived = session.outlives_connection();
        session.expiry_s = expiry_s;
        session.window = window;
        // A Will that was held back is discarded [MQTT-3.1.3-9].
        session.set_will(will);
        session.inflight.reconnected();
        let client_identifier = &*session.client_identifier;
        if expiry_s > 0 {
            self.clients.store.append(Record::Session {
                client_identifier,
                expiry_s,
            });
        } else if outlived {
            self.clients
                .store
                .append(Record::SessionEnded { client_identifier });
        }
        let qos0_waits = session.queue.as_ref().is_some_and(|queue| queue.holds_qos0());
        let waits = !session.queue_is_empty() || session.inflight.resends();
        self.clients.sessions.set_link(session_slot, slot);
        if let Some(connection) = self.clients.connection(slot) {
            connection.session = session_slot;
            connection.restricted = !admitted.access.is_unrestricted();
            connection.waits = waits;
            connection.qos0_waits = qos0_waits;
        }
        known.is_some()
    }

    /// Session Expiry Interval: 3.x ends a clean session with its connection and keeps the others.
    fn expiry_s(&self, connect: &Connect<'_>) -> u32 {
        let expiry_s = match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval_s().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => NEVER_EXPIRES,
        };
        bounded_expiry_s(expiry_s, self.clients.settings.persistent_client_expiration_s)
    }

    fn will_of(&self, now: Timestamp, connect: &Connect<'_>, admitted: &Admitted<'_>) -> Option<Box<Will>> {
        let will = connect.will?;
        let mut properties = PropertiesBuf::new();
        let goes_on = |property: &Property<'_>| {
            !matches!(
                property,
                Property::WillDelayInterval(_) | Property::MessageExpiryInterval(_)
            )
        };
        for property in will.properties.iter().filter(goes_on) {
            // What was in one packet fits in another one.
            let _ = properties.push(property);
        }
        let identity = self.clients.sessions.identity(admitted.client_identifier);
        let message = Message {
            topic: admitted.will_topic.as_deref().unwrap_or(will.topic),
            qos: will.qos,
            retain: will.retain,
            properties: properties.as_properties(),
            payload: will.payload,
            publisher: Publisher {
                session: NONE,
                identity,
            },
        };
        Some(Box::new(Will {
            message: self.clients.store_message(now, &message),
            delay_s: will.properties.will_delay_interval_s().unwrap_or(0),
            expiry_s: will.properties.message_expiry_interval_s(),
            access: admitted.access.clone(),
        }))
    }

    /// CONNACK, then what waited for the client.
    fn accept(
        &mut self,
        now: Timestamp,
        slot: u32,
        connect: &Connect<'_>,
        admitted: &Admitted<'_>,
        session_present: bool,
        authenticated: Option<&enhanced::Authenticated>,
    ) {
        let keep_alive_s = self.keep_alive_s(connect.keep_alive_s);
        let mut properties = self.capabilities(slot, connect, admitted, keep_alive_s);
        if let Some(authenticated) = authenticated {
            // [MQTT-4.12.0-5]; both are short.
            let _ = properties.extend_raw(enhanced::properties(&authenticated.data).as_properties());
        }
        let settings = &self.clients.settings;
        let (alias_max_own, seed) = (settings.topic_alias_outbound_max, settings.hash_seed);
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        connection.stage = Stage::Connected;
        connection.keep_alive_s = keep_alive_s;
        let session = connection.session;
        let alias_max = connect.properties.topic_alias_maximum().unwrap_or(0);
        if let Some(aliases) = Aliases::new(alias_max.min(alias_max_own), seed) {
            connection.rare().outbound_aliases = Some(aliases);
            connection.aliased = true;
        }
        // The bit is 3.1.1's and later [MQTT-3.2.2-2].
        let session_present = session_present && connect.version != ProtocolVersion::V3_1;
        let told = self.clients.send(slot, |out, version| {
            let properties = properties.as_properties();
            ConnAck {
                session_present,
                reason: ReasonCode::Success,
                properties,
            }
            .encode(version, out);
        });
        self.watch_keep_alive(slot);
        let counters = self.clients.counters();
        counters.connects_accepted.add(1);
        counters.clients_connected.add(1);
        counters
            .clients_connected_max
            .raise(counters.clients_connected.get());
        if !told {
            // Nothing may stand before a CONNACK, and without one there is no connection.
            return self.close(
                now,
                slot,
                "its Maximum Packet Size has no room for the CONNACK",
                false,
            );
        }
        self.clients.pump(now, session);
    }

    /// Whether `max_keepalive` forbids the keep alive of a client that cannot be told another one; mosquitto answers so.
    fn refuses_keep_alive(&self, connect: &Connect<'_>) -> bool {
        connect.version != ProtocolVersion::V5
            && self.keep_alive_s(connect.keep_alive_s) != connect.keep_alive_s
    }

    /// The keep alive that holds: the client's, or `max_keepalive` if that is shorter.
    fn keep_alive_s(&self, asked_s: u16) -> u16 {
        match self.clients.settings.keep_alive_s_max {
            0 => asked_s,
            keep_alive_s_max if asked_s == 0 => keep_alive_s_max,
            keep_alive_s_max => asked_s.min(keep_alive_s_max),
        }
    }

    /// What a 5.0 client is told of the broker: only what differs from the specification's default.
    fn capabilities(
        &self,
        slot: u32,
        connect: &Connect<'_>,
        admitted: &Admitted<'_>,
        keep_alive_s: u16,
    ) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if connect.version != ProtocolVersion::V5 {
            return properties;
        }
        let settings = &self.clients.settings;
        let connection = self.clients.connections.get(slot);
        let listener = settings.listener(
            connection
                .map(|connection| connection.listener)
                .unwrap_or_default(),
        );
        let mut tell = |property: Property<'_>| {
            // Each is short, and there are few.
            let _ = properties.push(property);
        };
        let expiry_s = self.expiry_s(connect);
        if expiry_s != connect.properties.session_expiry_interval_s().unwrap_or(0) {
            tell(Property::SessionExpiryInterval(expiry_s));
        }
        if let Some(receive_max) =
            std::num::NonZeroU16::new(settings.inflight_messages_max).filter(|m| m.get() < u16::MAX)
        {
            tell(Property::ReceiveMaximum(receive_max));
        }
        if listener.qos_max < mqtt::QoS::ExactlyOnce {
            tell(Property::MaximumQoS(listener.qos_max));
        }
        if !settings.retain_available {
            tell(Property::RetainAvailable(false));
        }
        if let Some(maximum) = std::num::NonZeroU32::new(settings.packet_bytes_max)
            .filter(|m| m.get() < limits::PACKET_BYTES_MAX)
        {
            tell(Property::MaximumPacketSize(maximum));
        }
        if admitted.assigned {
            // [MQTT-3.1.3-7]
            tell(Property::AssignedClientIdentifier(admitted.client_identifier));
        }
        let topic_alias_max = listener.topic_alias_max.min(limits::TOPIC_ALIASES_MAX);
        if topic_alias_max > 0 {
            tell(Property::TopicAliasMaximum(topic_alias_max));
        }
        tell(Property::SharedSubscriptionAvailable(false));
        if keep_alive_s != connect.keep_alive_s {
            // [MQTT-3.1.2-21]
            tell(Property::ServerKeepAlive(keep_alive_s));
        }
        // [MQTT-3.1.2-28]
        if connect.properties.request_response_information() == Some(true)
            && let Some(information) = self.response_information(admitted)
        {
            tell(Property::ResponseInformation(&information));
        }
        properties
    }

    /// `response_information` for a client. None for one whose names would make more or less than a level of a topic.
    fn response_information(&self, admitted: &Admitted<'_>) -> Option<String> {
        let pattern = self.clients.settings.response_information.as_deref()?;
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

    /// A CONNECT that is none: in 5.0, and where 3.x has a return code for it, it is answered before the end.
    fn refuse_malformed(&mut self, now: Timestamp, slot: u32, frame: &Frame<'_>, error: DecodeError) {
        let version = mqtt::decode::connect_version(frame);
        let why = format!("{error} {}", error.statement());
        let answered = match (error.kind, version) {
            // A level that nobody knows gets the answer of 3.1.1 [MQTT-3.1.2-2].
            (DecodeErrorKind::UnsupportedProtocolLevel(_), _) => Some(ProtocolVersion::V3_1_1),
            (DecodeErrorKind::ClientIdentifierEmpty, version) => version,
            (_, Some(ProtocolVersion::V5)) => version,
            _ => None,
        };
        let (Some(version), Some(connection)) = (answered, self.clients.connection(slot)) else {
            return self.protocol_error(now, slot, error.reason(), &why);
        };
        connection.version = version;
        let reason = Some(error.reason()).filter(|reason| reason.belongs_to(PacketType::ConnAck));
        self.clients.counters().protocol_errors.add(1);
        let reason = reason.unwrap_or(ReasonCode::MalformedPacket);
        self.refuse_connect(now, slot, reason, Some(&why), &why);
    }

    /// CONNACK with an error, and the end [MQTT-3.2.2-7]. The client is told less than the log.
    fn refuse_connect(
        &mut self,
        now: Timestamp,
        slot: u32,
        reason: ReasonCode,
        told: Option<&str>,
        why: &str,
    ) {
        self.clients.counters().connects_refused.add(1);
        self.clients
            .send_explained(slot, told, |out, version, properties| {
                ConnAck {
                    session_present: false,
                    reason,
                    properties,
                }
                .encode(version, out);
            });
        self.close(now, slot, why, false);
    }
}

/// Who was refused and why, for the log.
fn refusal(reason: ReasonCode, told: Option<&str>, connect: &Connect<'_>, peer: Option<&Peer>) -> String {
    let named = peer.and_then(|peer| peer.certificate_identity.as_deref());
    let user = match named.or(connect.user_name) {
        Some(user) => format!("user {user}"),
        None => "no user".to_owned(),
    };
    let address = peer.map_or_else(String::new, |peer| format!(", from {}", peer.address));
    let method = match (connect.properties.authentication_method(), told) {
        (Some(method), Some(told)) => format!(", method {method:?}: {told}"),
        _ => String::new(),
    };
    format!(
        "{reason}: client identifier {:?}, {user}{address}{method}",
        connect.client_identifier
    )
}

/// What the session is found by: the client's own identifier, the broker's, or the user name.
fn client_identifier<'a>(
    connect: &Connect<'a>,
    peer: Option<&'a Peer>,
    listener: &ListenerSettings,
    named: Option<&'a str>,
) -> Result<&'a str, ReasonCode> {
    if listener.user_name_is_client_identifier {
        let name = named.filter(|name| !name.is_empty());
        return name.ok_or(ReasonCode::NotAuthorized);
    }
    if !connect.client_identifier.is_empty() {
        return Ok(connect.client_identifier);
    }
    // Where the session is to outlive the connection, 3.1.1 has the client name itself [MQTT-3.1.3-8].
    let may = match connect.version {
        ProtocolVersion::V3_1 => false,
        ProtocolVersion::V3_1_1 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    let may = may && listener.allow_zero_length_client_identifier;
    let identifier = peer.and_then(|peer| peer.assigned_client_identifier.as_deref());
    identifier
        .filter(|_| may)
        .ok_or(ReasonCode::ClientIdentifierNotValid)
}
