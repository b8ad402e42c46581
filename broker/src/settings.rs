//! The operator's settings, typed: the shards' logic reads nothing else.
//!
//! Invariants: every value is usable as it is. mosquitto's "0 means no limit" is resolved where the file is read (to
//! [`UNLIMITED`] or the type's maximum), so no other code has to. `Default` is mosquitto's default, except for the
//! bytes of a session's queue and of the retained messages, which are bounded here.

use std::sync::OnceLock;

use mqtt::QoS;

use crate::limits;
use crate::limits::{LoadedQueue, Watermarks};
use crate::turn::WorkLimits;

/// The value of a count or size that is not limited.
pub const UNLIMITED: u64 = u64::MAX;

/// Settings of the whole broker; shared read-only by all shards.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One for each listener, at the index of its [`ListenerId`].
    pub listeners: Vec<ListenerSettings>,
    /// `max_packet_size`: largest packet that a client may send, fixed header included, in bytes. Announced to 5.0
    /// clients. Never above 268,435,460.
    pub packet_bytes_max: u32,
    /// `message_size_limit`: largest payload of a PUBLISH, in bytes; a larger one is acknowledged (5.0: with 0x83) and
    /// dropped.
    pub payload_bytes_max: u32,
    /// `max_inflight_messages`: QoS 1 and 2 messages in flight to one client (outbound window), and the Receive Maximum
    /// announced to 5.0 clients (inbound window). mosquitto's 0 is 65,535 here.
    pub inflight_messages_max: u16,
    /// `max_inflight_bytes`: payload bytes in flight to one client.
    pub inflight_bytes_max: u64,
    /// `max_queued_messages`: QoS 1 and 2 messages queued for one session above those in flight.
    pub queued_messages_max: u64,
    /// `max_queued_bytes`: payload and topic bytes queued for one session above those in flight.
    pub queued_bytes_max: u64,
    /// `queue_qos0_messages`: QoS 0 messages are queued for sessions without a connection too.
    pub queue_qos0_messages: bool,
    /// `max_keepalive`: the longest Keep Alive of a 5.0 client (announced as Server Keep Alive). For 3.x, which has no
    /// such announcement, it bounds the time that the broker waits. 0 accepts any value, also none.
    pub keep_alive_s_max: u16,
    /// `connect_timeout` in seconds: from accept until the client is authenticated (TLS handshake, CONNECT, password).
    /// Over: the connection is closed.
    pub connect_timeout_s: u16,
    /// `retain_available`: retained messages are accepted.
    pub retain_available: bool,
    /// `check_retain_source`: the access of a retained message's publisher is checked again on delivery.
    pub check_retain_source: bool,
    /// `persistent_client_expiration` in seconds: a 3.x session without Clean Session, or a 5.0 session that never
    /// expires, ends this long after its connection. `None`: never.
    pub persistent_client_expiration_s: Option<u64>,
    /// `retained_persistence`: retained messages are stored, if there is a store.
    pub retained_persistence: bool,
    /// `sys_interval` in seconds: how often `$SYS` is published; 0 turns it off.
    pub sys_interval_s: u32,
    /// `max_topic_alias_broker`: topic aliases that the broker uses towards one 5.0 client that takes some; bounded by
    /// [`crate::limits::TOPIC_ALIASES_MAX`].
    pub topic_alias_outbound_max: u16,
    /// `response_information`: the Response Information for a 5.0 client that requests it; `%c` stands for its client
    /// identifier and `%u` for its user.
    pub response_information: Option<String>,
    /// `check_payload_format`: payloads that claim to be UTF-8 are checked.
    pub check_payload_format: bool,
    /// `upgrade_outgoing_qos`: messages are sent at the QoS of the subscription even if they were published at a lower
    /// one.
    pub upgrade_outgoing_qos: bool,
    /// `global_max_clients`: sessions, connected or not, in the whole broker.
    pub clients_max: u64,
    /// `global_max_connections`: connections in the whole broker.
    pub connections_max: u64,
    /// `clientid_prefixes`: a client identifier must begin with it.
    pub client_identifier_prefix: Option<String>,
    /// `max_retained_messages`: retained messages; one for a further topic is refused with 0x97.
    pub retained_messages_max: u64,
    /// `max_retained_bytes`: topic and payload bytes of the retained messages; a message that would exceed it is
    /// refused with 0x97.
    pub retained_bytes_max: u64,
    /// `max_subscriptions`: subscriptions of one session. Never above
    /// [`crate::limits::SUBSCRIPTIONS_PER_SESSION_MAX`].
    pub subscriptions_max: usize,
    /// `max_sessions_per_user`: sessions, connected or not, of one user whose password or certificate was checked.
    pub user_sessions_max: u64,
    /// Watermarks of what waits for one client's socket. No key of the configuration.
    pub client_output: Watermarks,
    /// Watermarks of what waits for all sockets of a shard. No key of the configuration.
    pub shard_output: Watermarks,
    /// How much work a turn of a shard may hold. No key of the configuration.
    pub work: WorkLimits,
    /// How much of a stored queue is in memory. No key of the configuration.
    pub loaded_queue: LoadedQueue,
    /// `memory_limit` in bytes: above it messages for queues are refused.
    pub memory_bytes_max: u64,
    /// `client_events`: connects and disconnects are published below `$SYS/broker/clients`.
    pub client_events: bool,
    /// Slashes of a topic name or filter at most; more are refused.
    pub topic_levels_max: u16,
    /// `shared_subscription_strategy`: which member of a group gets a message.
    pub shared_subscription_strategy: SharedSubscriptionStrategy,
    /// `local_clientid` of each bridge: clients that are not bridges may not have them.
    pub bridge_clients: Vec<String>,
    /// `flapping_connects` and its like: who comes and goes so often is banned for a while; nobody, if there is none.
    pub flapping: Option<Flapping>,
    /// Seed of the hash tables that are keyed by what clients send: random at the start of the process, so that nobody
    /// can prepare collisions; not in the configuration.
    pub hash_seed: u64,
}

/// Which member of a Shared Subscription gets a message, among those that are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedSubscriptionStrategy {
    /// The members of a group take turns.
    #[default]
    Fair,
    /// The member that has been connected longest, until it disconnects.
    Sticky,
}

/// From when on a client comes and goes too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// `flapping_connects`: connections in a window.
    pub connects_max: u32,
    /// `flapping_window`: so many seconds.
    pub window_s: u32,
    /// `flapping_ban`: so many seconds.
    pub ban_s: u32,
}

impl Flapping {
    /// So many connections in a minute; five minutes.
    #[must_use]
    pub fn of(connects_max: u32) -> Self {
        Self {
            connects_max,
            window_s: 60,
            ban_s: 300,
        }
    }
}

/// How much a client may send; `None` is as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// `max_messages_per_second`: PUBLISH packets in a second.
    pub messages_per_second: Option<u64>,
    /// `max_bytes_per_second`: bytes of all packets in a second.
    pub bytes_per_second: Option<u64>,
}

/// The listener of a connection: its index in [`Settings::listeners`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

impl ListenerId {
    /// The listener of the connections of the broker's bridges, which has no socket.
    pub const BRIDGES: Self = Self(u16::MAX);
}

/// The part of a listener that the logic needs; sockets and TLS belong to the shell.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// `allow_anonymous`: clients without a user name are accepted.
    pub allow_anonymous: bool,
    /// `max_connections`; counted for each shard's share by the shell, enforced at CONNECT.
    pub connections_max: u64,
    /// `max_qos`: highest QoS that a client may publish at; announced to 5.0 clients.
    pub qos_max: QoS,
    /// `max_topic_alias`: topic aliases that a 5.0 client may use; announced.
    pub topic_alias_max: u16,
    /// `allow_zero_length_clientid`: an empty client identifier gets one assigned.
    pub allow_zero_length_client_identifier: bool,
    /// `auto_id_prefix`: the beginning of an assigned client identifier.
    pub assigned_client_identifier_prefix: String,
    /// `mount_point`: prepended to every topic of this listener's clients.
    pub mount_point: Option<String>,
    /// `accept_protocol_versions`: MQTT 3.1 is accepted.
    pub accept_v3_1: bool,
    /// `accept_protocol_versions`: MQTT 3.1.1 is accepted.
    pub accept_v3_1_1: bool,
    /// `accept_protocol_versions`: MQTT 5.0 is accepted.
    pub accept_v5: bool,
    /// `use_identity_as_username` or `use_subject_as_username`: the certificate names the user.
    pub certificate_names_user: bool,
    /// `use_username_as_clientid`: the user name replaces the client identifier.
    pub user_name_is_client_identifier: bool,
    /// How much each client may send.
    pub rates: RateLimits,
    /// `require_scram`: only clients that authenticate with AUTH packets are accepted.
    pub scram_required: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: vec![ListenerSettings::default()],
            packet_bytes_max: 2_000_000,
            payload_bytes_max: u32::MAX,
            inflight_messages_max: 20,
            inflight_bytes_max: UNLIMITED,
            queued_messages_max: 1000,
            queued_bytes_max: 64 << 20,
            client_output: limits::CLIENT_OUTPUT,
            shard_output: limits::SHARD_OUTPUT,
            work: limits::WORK,
            loaded_queue: limits::LOADED_QUEUE,
            queue_qos0_messages: false,
            keep_alive_s_max: 0,
            connect_timeout_s: 15,
            retain_available: true,
            check_retain_source: true,
            persistent_client_expiration_s: None,
            retained_persistence: true,
            sys_interval_s: 10,
            topic_alias_outbound_max: 10,
            response_information: None,
            check_payload_format: false,
            upgrade_outgoing_qos: false,
            clients_max: UNLIMITED,
            connections_max: UNLIMITED,
            client_identifier_prefix: None,
            retained_messages_max: UNLIMITED,
            retained_bytes_max: 1 << 30,
            subscriptions_max: 200_000,
            user_sessions_max: UNLIMITED,
            memory_bytes_max: UNLIMITED,
            client_events: false,
            topic_levels_max: 200,
            shared_subscription_strategy: SharedSubscriptionStrategy::Fair,
            bridge_clients: Vec::new(),
            flapping: None,
            hash_seed: 0,
        }
    }
}

impl Default for ListenerSettings {
    /// The listener of a broker without a configuration file: anonymous clients, everything allowed.
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            connections_max: UNLIMITED,
            qos_max: QoS::ExactlyOnce,
            topic_alias_max: 10,
            allow_zero_length_client_identifier: true,
            assigned_client_identifier_prefix: "auto-".to_owned(),
            mount_point: None,
            accept_v3_1: true,
            accept_v3_1_1: true,
            accept_v5: true,
            certificate_names_user: false,
            user_name_is_client_identifier: false,
            rates: RateLimits::default(),
            scram_required: false,
        }
    }
}

impl Settings {
    /// The settings of a connection's listener; those of a default listener if there is none with that index.
    #[must_use]
    pub fn listener(&self, listener: ListenerId) -> &ListenerSettings {
        static FALLBACK: OnceLock<ListenerSettings> = OnceLock::new();
        static BRIDGES: OnceLock<ListenerSettings> = OnceLock::new();
        self.listeners.get(usize::from(listener.0)).unwrap_or_else(|| {
            if listener == ListenerId::BRIDGES {
                return BRIDGES.get_or_init(ListenerSettings::default);
            }
            FALLBACK.get_or_init(|| ListenerSettings {
                allow_anonymous: false,
                ..ListenerSettings::default()
            })
        })
    }
}
