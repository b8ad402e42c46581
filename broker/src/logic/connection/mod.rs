//! The logic's state of one network connection: protocol version, output buffer, session, and what flow control counts
//! for it.
//!
//! `peer.rs` is its origin, `output.rs` what waits to be sent on it, `reading.rs` whether its client is read and when
//! it must have sent something, `consumer_account.rs` what flow control keeps about it, `rare.rs` what most
//! connections have only after their end.
//!
//! Invariants: `session` is set from the accepted CONNECT until the connection begins to close; during that time the
//! session's link points back to this connection. The fields that a delivery uses come first, so that they share one
//! cache line. The fields are private to this folder.

mod consumer_account;
mod output;
mod peer;
mod rare;
mod reading;

use mqtt::{ProtocolVersion, QoS};

pub(super) use self::output::Deferring;
use self::output::Output;
pub use self::peer::Peer;
pub(in crate::logic) use self::rare::FormerClient;
use self::rare::RareConnection;
use self::reading::Reading;
use crate::limits;
use crate::logic::consumer_state::State;
use crate::logic::ids::RouteSlot;
pub use crate::logic::ids::{ConnectionId, ConnectionSlot};
use crate::logic::session::{Session, SessionSlot};
use crate::settings::{ListenerId, ListenerSettings};
use crate::time::Timestamp;

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// From the CONNECT until it begins to close.
    Connected,
    /// The content of `out` is sent, then the shell closes it.
    Closing,
}

/// One network connection whose CONNECT has been received.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Connection {
    out: Vec<u8>,
    /// Bytes in the shell and the kernel that the socket has not accepted.
    unsent_bytes: u32,
    /// Largest packet that the client accepts.
    packet_bytes_max: u32,
    generation: u32,
    session: Option<SessionSlot>,
    /// The route of the last PUBLISH: the next one is likely to have the same topic.
    route: Option<RouteSlot>,
    /// Its part of the sums over the shard in bytes, see flow/output_bytes.rs.
    counted_bytes: u32,
    listener: ListenerId,
    keep_alive_s: u16,
    version: ProtocolVersion,
    stage: Stage,
    output: Output,
    /// Whether the session's queue has messages.
    waits: bool,
    /// The session's queue holds QoS 0 messages (retained ones on their way): newer ones must not overtake them.
    qos0_waits: bool,
    reading: Reading,
    /// Its state as a consumer.
    consumer: State,
    /// The session has rules that must be checked before a message is published.
    restricted: bool,
    /// Its listener has a mount point.
    mounted: bool,
    /// A group counts its session as busy.
    busy_in_group: bool,
    /// It has Topic Aliases for outgoing messages.
    aliased: bool,
    /// Which of its packets wait for the store.
    deferring: Deferring,
    // What follows is accessed once for each read or flush.
    /// When it last sent a complete packet, or a large enough piece of one.
    last_received: Timestamp,
    /// When it last made progress with its output, or when it last got output after having none.
    progress_at: Timestamp,
    /// The time of the timer of its grace period or quarantine.
    flow_timer: Timestamp,
    /// The time of the Keep Alive timer.
    watched_until: Timestamp,
    /// The beginning of an incomplete packet.
    partial: Vec<u8>,
    rare: Option<Box<RareConnection>>,
}

impl Connection {
    pub(super) fn new(
        now: Timestamp,
        generation: u32,
        listener: ListenerId,
        settings: &ListenerSettings,
    ) -> Self {
        Self {
            out: Vec::new(),
            unsent_bytes: 0,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            generation,
            session: None,
            route: None,
            version: ProtocolVersion::V3_1_1,
            stage: Stage::Connected,
            output: Output::Flushed,
            waits: false,
            qos0_waits: false,
            reading: Reading::Open,
            restricted: false,
            consumer: State::default(),
            mounted: settings.mount_point.is_some(),
            busy_in_group: false,
            aliased: false,
            progress_at: now,
            flow_timer: Timestamp::NEVER,
            keep_alive_s: 0,
            last_received: now,
            watched_until: Timestamp::NEVER,
            partial: Vec::new(),
            counted_bytes: 0,
            listener,
            deferring: Deferring::Nothing,
            rare: None,
        }
    }

    /// The name of the connection for the shell.
    pub(super) fn id(&self, slot: ConnectionSlot) -> ConnectionId {
        let generation = self.generation;
        ConnectionId { slot, generation }
    }

    /// Whether it is the connection of that name; the slot may have had another one before, or have it now.
    #[inline]
    pub(super) fn is_of(&self, id: ConnectionId) -> bool {
        self.generation == id.generation
    }

    /// The protocol version of its CONNECT; 3.1.1 until that is known.
    #[inline]
    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Sets the protocol version of its packets.
    pub(super) fn set_version(&mut self, version: ProtocolVersion) {
        self.version = version;
    }

    /// The size of the largest packet that the client accepts, in bytes [MQTT-3.1.2-24].
    #[inline]
    pub(super) fn packet_bytes_max(&self) -> u32 {
        self.packet_bytes_max
    }

    /// Sets the size of the largest packet that the client accepts.
    pub(super) fn bound_packets(&mut self, bytes_max: u32) {
        self.packet_bytes_max = bytes_max;
    }

    /// The listener that accepted it.
    #[inline]
    pub(super) fn listener(&self) -> ListenerId {
        self.listener
    }

    /// Whether its listener has a mount point.
    #[inline]
    pub(super) fn is_mounted(&self) -> bool {
        self.mounted
    }

    /// Its session, from the accepted CONNECT until it begins to close.
    #[inline]
    pub(super) fn session(&self) -> Option<SessionSlot> {
        self.session
    }

    /// Makes it the connection of that session.
    pub(super) fn attach(&mut self, slot: SessionSlot, session: &Session) {
        self.session = Some(slot);
        self.restricted = session.rights().is_some();
        self.waits = session.has_waiting();
        self.qos0_waits = session.queue_has_qos0();
    }

    /// Removes its session, and everything that an exchange with the client would need; returns the session.
    pub(super) fn detach(&mut self) -> Option<SessionSlot> {
        if let Some(rare) = &mut self.rare {
            rare.end_exchange();
        }
        self.session.take()
    }

    /// Whether its CONNECT has been received and it is not closing.
    #[inline]
    pub(super) fn is_connected(&self) -> bool {
        self.stage == Stage::Connected
    }

    /// Whether it only sends its pending output before it closes.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.stage == Stage::Closing
    }

    /// Nothing more is read from it or written to it.
    pub(super) fn begin_closing(&mut self) {
        self.stage = Stage::Closing;
    }

    /// The route of its last PUBLISH.
    #[inline]
    pub(super) fn last_route(&self) -> Option<RouteSlot> {
        self.route
    }

    /// Its last PUBLISH took that route.
    #[inline]
    pub(super) fn set_last_route(&mut self, route: RouteSlot) {
        self.route = Some(route);
    }

    /// Whether its session has rules that must be checked before a message is published.
    #[inline]
    pub(super) fn is_restricted(&self) -> bool {
        self.restricted
    }

    /// Whether its session's queue has messages.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether messages at QoS 0 are in its session's queue: newer ones must not overtake them.
    #[inline]
    pub(super) fn qos0_waits(&self) -> bool {
        self.qos0_waits
    }

    /// A message was queued in its session.
    #[inline]
    pub(super) fn begin_waiting(&mut self, qos: QoS) {
        self.waits = true;
        self.qos0_waits |= qos == QoS::AtMostOnce;
    }

    /// Its session's queue is empty; `resends` if messages still have to be resent.
    #[inline]
    pub(super) fn end_waiting(&mut self, resends: bool) {
        self.waits = resends;
        self.qos0_waits = false;
    }

    /// Whether a group counts its session as busy.
    #[inline]
    pub(super) fn is_busy_in_group(&self) -> bool {
        self.busy_in_group
    }

    /// Sets whether groups count its session as busy.
    pub(super) fn set_busy_in_group(&mut self, is_busy: bool) {
        self.busy_in_group = is_busy;
    }
}

const _: () = assert!(
    size_of::<Connection>() <= 128,
    "an idle connection is to stay small"
);
