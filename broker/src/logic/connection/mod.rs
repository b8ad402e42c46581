//! The logic's state of one network connection: protocol version, output buffer, session, and what flow control counts
//! for it.
//!
//! `peer.rs` is where it comes from, `output.rs` what waits to be sent on it, `reading.rs` whether its client is read
//! from and when it must have sent something, `consumer_account.rs` what flow control keeps of it, `rare.rs` what most
//! connections have only after their end.
//!
//! Invariants: `session` is set from the accepted CONNECT until the connection begins to close; during that time the
//! session's link points back to this connection. The fields that a delivery uses come first, so that they share one
//! cache line. Nobody outside of this folder sees a field.

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
    /// What is in `out` goes out, then the shell closes.
    Closing,
}

/// One network connection whose CONNECT has come.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Connection {
    out: Vec<u8>,
    /// Bytes with the shell and the kernel that the socket has not taken.
    unsent_bytes: u32,
    /// Largest packet that the client takes.
    packet_bytes_max: u32,
    generation: u32,
    session: Option<SessionSlot>,
    /// The route of the last PUBLISH: the next one is likely to have the same topic.
    route: Option<RouteSlot>,
    /// Its bytes in the sums over the shard, see flow/output_bytes.rs.
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
    /// How it takes what it is sent.
    consumer: State,
    /// The session has rules to be asked before a message is published.
    restricted: bool,
    /// Its listener has a mount point.
    mounted: bool,
    /// A group counts its session as busy.
    busy_in_group: bool,
    /// It has Topic Aliases for what it is sent.
    aliased: bool,
    /// What of it waits for the store.
    deferring: Deferring,
    // What follows is touched once for each read or flush.
    /// When it last sent a whole packet, or a good piece of a large one.
    last_received: Timestamp,
    /// When it last took something of what waits for it, or when something began to wait.
    progress_at: Timestamp,
    /// What the timer of its grace period or quarantine is set to.
    flow_timer: Timestamp,
    /// What the keep alive's timer is set to.
    watched_until: Timestamp,
    /// The beginning of a packet whose rest has not come.
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

    /// The connection by the name that the shell has for it.
    pub(super) fn id(&self, slot: ConnectionSlot) -> ConnectionId {
        let generation = self.generation;
        ConnectionId { slot, generation }
    }

    /// Whether it is the connection of that name; another one had the slot before, or has it now.
    #[inline]
    pub(super) fn is_of(&self, id: ConnectionId) -> bool {
        self.generation == id.generation
    }

    /// The version that its CONNECT has, 3.1.1 until that is known.
    #[inline]
    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Its packets have this form from now on.
    pub(super) fn set_version(&mut self, version: ProtocolVersion) {
        self.version = version;
    }

    /// Bytes of the largest packet that the client takes [MQTT-3.1.2-24].
    #[inline]
    pub(super) fn packet_bytes_max(&self) -> u32 {
        self.packet_bytes_max
    }

    /// The client takes no packets that are larger.
    pub(super) fn bound_packets(&mut self, bytes_max: u32) {
        self.packet_bytes_max = bytes_max;
    }

    /// The listener that it came by.
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

    /// From now on it is the connection of that session.
    pub(super) fn attach(&mut self, slot: SessionSlot, session: &Session) {
        self.session = Some(slot);
        self.restricted = session.rights().is_some();
        self.waits = session.has_waiting();
        self.qos0_waits = session.queue_has_qos0();
    }

    /// It has no session any more, and nothing that an exchange with the client would need; which one it had.
    pub(super) fn detach(&mut self) -> Option<SessionSlot> {
        if let Some(rare) = &mut self.rare {
            rare.end_exchange();
        }
        self.session.take()
    }

    /// Whether its CONNECT has come and it does not close.
    #[inline]
    pub(super) fn is_connected(&self) -> bool {
        self.stage == Stage::Connected
    }

    /// Whether it only sends what waits, and closes then.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.stage == Stage::Closing
    }

    /// Nothing more is read from it, or written to it.
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

    /// Whether its session has rules to be asked before a message is published.
    #[inline]
    pub(super) fn is_restricted(&self) -> bool {
        self.restricted
    }

    /// Whether its session has messages that wait for it.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether messages at QoS 0 wait in its session's queue: newer ones must not overtake them.
    #[inline]
    pub(super) fn qos0_waits(&self) -> bool {
        self.qos0_waits
    }

    /// A message was put into its session's queue.
    #[inline]
    pub(super) fn begin_waiting(&mut self, qos: QoS) {
        self.waits = true;
        self.qos0_waits |= qos == QoS::AtMostOnce;
    }

    /// Its session's queue is empty; `resends` if something is to be sent again all the same.
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

    /// Whether groups count its session as busy from now on.
    pub(super) fn set_busy_in_group(&mut self, is_busy: bool) {
        self.busy_in_group = is_busy;
    }
}

const _: () = assert!(
    size_of::<Connection>() <= 128,
    "an idle connection is to stay small"
);
