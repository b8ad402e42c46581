//! Decides whether a client that sent CONNECT is accepted.
//!
//! Invariant: nothing is changed here, so a client that is refused has not affected any session.

use mqtt::{ProtocolVersion, ReasonCode};

use crate::auth::Verdict;
use crate::auth::enhanced::Refusal;
use crate::limits;
use crate::logic::connect_request::{ConnectRequest, WillRequest};
use crate::logic::connection::Peer;
use crate::logic::delivery::Delivery;
use crate::logic::handle::granted::{Admitted, Granted};
use crate::logic::handle::publish::is_as_indicated;
use crate::logic::mount_point::with_mount_point;
use crate::logic::reason_string;
use crate::logic::session::Session;
use crate::settings::{ListenerId, ListenerSettings, UNLIMITED};

/// A client that asks for admission, and the data for the decision.
#[derive(Debug)]
pub(super) struct ConnectCheck<'d, 'a> {
    pub(super) delivery: &'d Delivery,
    /// The broker shuts down, so nobody may connect any more.
    pub(super) shuts_down: bool,
    pub(super) connect: &'a ConnectRequest,
    pub(super) peer: &'a Peer,
}

impl<'a> ConnectCheck<'_, 'a> {
    /// Whether the client may connect; nothing is changed.
    ///
    /// [MQTT3-3.1.3-5], [MQTT-3.1.3-5], [MQTT-3.1.4-2], [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    pub(super) fn decide(&self) -> Result<Admitted<'a>, Refusal> {
        let (connect, peer) = (self.connect, self.peer);
        let settings = self.delivery.settings();
        let listener = settings.listener(peer.listener);
        self.check_available(listener).map_err(reason_string::refusal)?;
        let (named, proved) = client_identity(connect, peer, listener)?;
        if !proved && (listener.certificate_names_user || !listener.allow_anonymous) {
            return Err(not_authorized(reason_string::ANONYMOUS));
        }
        let user: Option<Box<str>> = named.filter(|_| proved).map(Into::into);
        let assigned = connect.client_identifier.is_empty();
        let client_identifier = client_identifier(connect, peer, listener).map_err(reason_string::refusal)?;
        if let Some(prefix) = &settings.client_identifier_prefix
            && peer.listener != ListenerId::BRIDGES
            && !client_identifier.starts_with(prefix.as_str())
        {
            // A rejected identifier, not a rejected user [MQTT3-3.1.3-9], [MQTT-3.1.3-8].
            return Err(Refusal {
                reason: ReasonCode::ClientIdentifierNotValid,
                why: reason_string::CLIENT_IDENTIFIER_PREFIX,
            });
        }
        let is_of_bridge = |other: &String| *other == client_identifier;
        if peer.listener != ListenerId::BRIDGES && settings.bridge_clients.iter().any(is_of_bridge) {
            return Err(Refusal {
                reason: ReasonCode::ClientIdentifierNotValid,
                why: reason_string::BRIDGE_CLIENT,
            });
        }
        if let Some(will) = &connect.will {
            self.check_will(will, listener).map_err(reason_string::refusal)?;
        }
        if Granted::new(settings, connect).refuses_keep_alive() {
            return Err(reason_string::refusal(ReasonCode::ClientIdentifierNotValid));
        }
        self.check_capacity(client_identifier, user.as_deref())?;
        if Granted::new(settings, connect).expiry_s() > 0 {
            self.check_space(client_identifier)?;
        }
        let mount_point = listener.mount_point.as_deref();
        let will_topic = connect.will.as_ref().map(|will| {
            with_mount_point(&will.topic, mount_point)
                .ok_or(reason_string::refusal(ReasonCode::TopicNameInvalid))
        });
        let will_topic = will_topic.transpose()?;
        let policy = self.delivery.policy();
        let access = match peer.grant() {
            Some(grant) => policy.access_by(grant, peer.listener, client_identifier),
            None => policy.access(peer.listener, client_identifier, named),
        };
        let will_denied = will_topic.as_ref().is_some_and(|topic| !access.may_write(topic));
        if will_denied && connect.version == ProtocolVersion::V5 {
            return Err(not_authorized(reason_string::WILL_DENIED));
        }
        Ok(Admitted {
            client_identifier,
            assigned,
            user,
            access,
            ends_at: peer.grant().map(|grant| grant.ends_at),
            will_topic,
        })
    }

    /// Checks that the listener accepts the client's version, and that the broker accepts clients at all.
    fn check_available(&self, listener: &ListenerSettings) -> Result<(), ReasonCode> {
        let is_accepted = match self.connect.version {
            ProtocolVersion::V3_1 => listener.accept_v3_1,
            ProtocolVersion::V3_1_1 => listener.accept_v3_1_1,
            ProtocolVersion::V5 => listener.accept_v5,
        };
        if !is_accepted {
            return Err(ReasonCode::UnsupportedProtocolVersion);
        }
        if self.shuts_down {
            // 0x8B is not allowed in a CONNACK, nor is a DISCONNECT before it [MQTT-3.14.0-1].
            return Err(ReasonCode::ServerUnavailable);
        }
        Ok(())
    }

    /// Checks that there is room for one more client, and that an existing session belongs to this user.
    fn check_capacity(&self, client_identifier: &str, user: Option<&str>) -> Result<(), Refusal> {
        let clients = &self.delivery.clients;
        if let Some(session) = clients.session(clients.sessions().find(client_identifier)) {
            return if session.user() == user {
                Ok(())
            } else {
                Err(not_authorized(reason_string::OTHERS_SESSION))
            };
        }
        let settings = self.delivery.settings();
        let all = self.delivery.all_counters();
        let sessions: u64 = all.iter().map(|shard| shard.sessions.get()).sum();
        let connected: u64 = all.iter().map(|shard| shard.clients_connected.get()).sum();
        let too_many = sessions >= settings.clients_max || clients.sessions().len() >= limits::SESSIONS_MAX;
        let why = if self.delivery.is_memory_full() {
            reason_string::NO_MEMORY
        } else if too_many {
            reason_string::TOO_MANY_CLIENTS
        } else if connected >= settings.connections_max {
            reason_string::TOO_MANY_CONNECTIONS
        } else if user.is_some_and(|user| self.user_is_full(user)) {
            reason_string::TOO_MANY_SESSIONS_OF_USER
        } else {
            return Ok(());
        };
        let reason = ReasonCode::QuotaExceeded;
        Err(Refusal { reason, why })
    }

    /// A Will that the broker could not publish is refused at once [MQTT-3.2.2-12], [MQTT-3.2.2-13].
    fn check_will(&self, will: &WillRequest, listener: &ListenerSettings) -> Result<(), ReasonCode> {
        let settings = self.delivery.settings();
        if will.retain && !settings.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        if will.qos > listener.qos_max {
            return Err(ReasonCode::QoSNotSupported);
        }
        if will.payload.len() > settings.payload_bytes_max as usize {
            return Err(ReasonCode::PacketTooLarge);
        }
        if settings.check_payload_format && !is_as_indicated(will.properties.as_properties(), &will.payload) {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Checks that there is space for a session that is not in the store yet: the space reserved on a full disk is for
    /// acknowledgements.
    fn check_space(&self, client_identifier: &str) -> Result<(), Refusal> {
        let session = self.delivery.clients.sessions().find(client_identifier);
        let is_stored = self
            .delivery
            .clients
            .session(session)
            .is_some_and(Session::is_stored);
        if self.delivery.journal.is_full() && !is_stored {
            return Err(Refusal {
                reason: ReasonCode::QuotaExceeded,
                why: reason_string::NO_SPACE,
            });
        }
        Ok(())
    }

    /// Whether `max_sessions_per_user` is reached. Shards that check at the same time may each admit one.
    fn user_is_full(&self, user: &str) -> bool {
        let sessions_max = self.delivery.settings().user_sessions_max;
        let all = self.delivery.all_counters().iter();
        sessions_max < UNLIMITED && all.map(|shard| shard.sessions_of(user)).sum::<u64>() >= sessions_max
    }
}

/// The user whom the client names, and whether it is authenticated.
fn client_identity<'a>(
    connect: &'a ConnectRequest,
    peer: &'a Peer,
    listener: &ListenerSettings,
) -> Result<(Option<&'a str>, bool), Refusal> {
    if listener.scram_required && connect.authentication.is_none() {
        return Err(not_authorized(
            "this listener accepts no passwords: use SCRAM-SHA-256 with MQTT 5.0",
        ));
    }
    let proved = match &peer.verdict {
        Verdict::Refused(reason) => return Err(reason_string::refusal(*reason)),
        Verdict::Failed(refusal) => return Err(*refusal),
        Verdict::Proved | Verdict::Granted(_) => true,
        Verdict::Unproved => peer.certificate_identity.is_some(),
    };
    if connect.authentication.is_some() {
        let Some(authenticated) = &peer.authenticated else {
            return Err(reason_string::refusal(ReasonCode::BadAuthenticationMethod));
        };
        // A connection belongs to one user.
        if connect
            .user_name
            .as_ref()
            .is_some_and(|name| *name != authenticated.user)
        {
            return Err(reason_string::refusal(ReasonCode::BadUserNameOrPassword));
        }
    }
    Ok((peer.user(connect), proved))
}

fn not_authorized(why: &'static str) -> Refusal {
    let reason = ReasonCode::NotAuthorized;
    Refusal { reason, why }
}

/// The refused client and the reason, for the log.
pub(super) fn refusal(refusal: Refusal, connect: &ConnectRequest, peer: &Peer) -> String {
    let named = peer.certificate_identity.as_deref();
    let user = match named.or(connect.user_name.as_deref()) {
        Some(user) => format!("user {user}"),
        None => "no user".to_owned(),
    };
    let Refusal { reason, why } = refusal;
    format!(
        "{reason}: client identifier {:?}, {user}, from {}: {why}",
        connect.client_identifier, peer.address
    )
}

/// The name of the session: the client's own identifier, the broker's, or the user name.
///
/// [MQTT3-3.1.3-6], [MQTT3-3.1.3-8], [MQTT-3.1.3-6]
fn client_identifier<'a>(
    connect: &'a ConnectRequest,
    peer: &'a Peer,
    listener: &ListenerSettings,
) -> Result<&'a str, ReasonCode> {
    let name = Some(peer.session_name(connect, listener)).filter(|name| !name.is_empty());
    if listener.user_name_is_client_identifier {
        return name.ok_or(ReasonCode::NotAuthorized);
    }
    // If the session is to outlive the connection, 3.1.1 requires an identifier from the client [MQTT-3.1.3-8].
    let may = match connect.version {
        _ if !connect.client_identifier.is_empty() => true,
        _ if !listener.allow_zero_length_client_identifier => false,
        ProtocolVersion::V3_1 => false,
        ProtocolVersion::V3_1_1 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    name.filter(|_| may).ok_or(ReasonCode::ClientIdentifierNotValid)
}
