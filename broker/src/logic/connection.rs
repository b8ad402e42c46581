//! The logic's state of one network connection: protocol version, output buffer, session, and what flow control counts
//! for it.
//!
//! Invariants: `session` is set from the accepted CONNECT until the connection begins to close; during that time the
//! session's link points back to this connection. `output` names the list of connections with output that the
//! connection is in. The fields that a delivery uses come first, so that they share one cache line.

use std::net::SocketAddr;

use mqtt::ProtocolVersion;

use crate::auth::Verdict;
use crate::auth::enhanced::Authenticated;
use crate::limits;
use crate::logic::aliases::Aliases;
use crate::logic::connect_request::ConnectRequest;
use crate::logic::consumer::State;
use crate::logic::filters_begun::FiltersBegun;
use crate::logic::ids::RouteSlot;
use crate::logic::ids::SessionSlot;
pub use crate::logic::ids::{ConnectionId, ConnectionSlot};
use crate::logic::reauthentication::Enhanced;
use crate::settings::{ListenerId, ListenerSettings};
use crate::time::Timestamp;

/// Where a connection comes from, and what was found out of its client before the session's owner got it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address, or what a PROXY header has.
    pub address: SocketAddr,
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// The client identifier for a client that sends an empty one.
    pub assigned_client_identifier: Option<Box<str>>,
    /// The user that its certificate names, where the listener takes the user from there.
    pub certificate_identity: Option<Box<str>>,
    /// What became of its user name and password.
    pub verdict: Verdict,
    /// Who it proved to be in an exchange of AUTH packets.
    pub authenticated: Option<Box<Authenticated>>,
}

impl Peer {
    /// The user that the client is, or says it is.
    #[must_use]
    pub fn user<'a>(&'a self, connect: &'a ConnectRequest) -> Option<&'a str> {
        let authenticated = self.authenticated.as_deref();
        let authenticated = authenticated.map(|authenticated| &*authenticated.user);
        let proved = self.certificate_identity.as_deref().or(authenticated);
        proved.or(connect.user_name.as_deref())
    }

    /// What its session is found by: the user name where the listener has it so, else the client's own identifier, else
    /// the one that was assigned. Empty if there is none (yet).
    #[must_use]
    pub fn session_name<'a>(&'a self, connect: &'a ConnectRequest, listener: &ListenerSettings) -> &'a str {
        if listener.user_name_is_client_identifier {
            return self.user(connect).unwrap_or_default();
        }
        match &*connect.client_identifier {
            "" => self.assigned_client_identifier.as_deref().unwrap_or_default(),
            own => own,
        }
    }
}

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// From the CONNECT until it begins to close.
    Connected,
    /// What is in `out` goes out, then the shell closes.
    Closing,
}

/// What of a connection waits for the store, see `delivery/deferred.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deferring {
    Nothing,
    /// Acknowledgements, or messages at QoS 2: others of these kinds wait behind them.
    Acknowledgements,
    /// The CONNACK, and so everything. The shell does not have the connection in its list meanwhile.
    Everything,
}

/// In which list for the shell a connection is, because of what waits in its `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// In none: nothing waits.
    Flushed,
    /// In that of connections whose output depends on no other shard: it may be sent at any time.
    Independent,
    /// In that of connections whose output is sent when the other shards have what was for them.
    Dependent,
}

/// Whether the broker reads a client's bytes, and whether its keep alive is suspended: it is if at any time since it
/// was last looked at the client was not read from for the sake of others. It stays so if the client falls behind
/// itself after that, or is read again, as what it sent meanwhile may come only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    OpenSuspended,
    Paused,
    PausedSuspended,
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Connection {
    pub(super) out: Vec<u8>,
    /// Bytes with the shell and the kernel that the socket has not taken.
    pub(super) unsent_bytes: u32,
    /// Largest packet that the client takes.
    pub(super) packet_bytes_max: u32,
    pub(super) generation: u32,
    pub(super) session: Option<SessionSlot>,
    /// The route of the last PUBLISH: the next one is likely to have the same topic.
    pub(super) route: Option<RouteSlot>,
    /// Its bytes in the sums over the shard, see flow/output.rs.
    pub(super) counted_bytes: u32,
    pub(super) listener: ListenerId,
    pub(super) keep_alive_s: u16,
    pub(super) version: ProtocolVersion,
    pub(super) stage: Stage,
    pub(super) output: Output,
    /// Whether the session's queue has messages.
    pub(super) waits: bool,
    /// The session's queue holds QoS 0 messages (retained ones on their way): newer ones must not overtake them.
    pub(super) qos0_waits: bool,
    reading: Reading,
    /// How it takes what it is sent.
    pub(super) flow: State,
    /// The session has rules to be asked before a message is published.
    pub(super) restricted: bool,
    /// Its listener has a mount point.
    pub(super) mounted: bool,
    /// A group counts its session as busy.
    pub(super) busy_in_group: bool,
    /// It has Topic Aliases for what it is sent.
    pub(super) aliased: bool,
    /// What of it waits for the store.
    pub(super) deferring: Deferring,
    // What follows is touched once for each read or flush.
    /// When it last sent a whole packet, or a good piece of a large one.
    pub(super) last_received: Timestamp,
    /// When it last took something of what waits for it, or when something began to wait.
    pub(super) progress_at: Timestamp,
    /// What the timer of its grace period or quarantine is set to.
    pub(super) flow_timer: Timestamp,
    /// What the keep alive's timer is set to.
    pub(super) watched_until: Timestamp,
    /// The beginning of a packet whose rest has not come.
    pub(super) partial: Vec<u8>,
    pub(super) rare: Option<Box<RareConnection>>,
}

/// What most connections have only after their end.
#[derive(Debug, Default)]
pub(super) struct RareConnection {
    /// Inbound topic aliases (5.0); empty until the first is set.
    pub(super) aliases: Vec<Option<Box<str>>>,
    pub(super) why_closing: Option<Box<str>>,
    /// Whose connection it was, once it begins to close.
    pub(super) client_identifier: Option<Box<str>>,
    /// Outbound topic aliases (5.0), if the client takes some.
    pub(super) outbound_aliases: Option<Box<Aliases>>,
    /// It is a bridge of another broker.
    pub(super) is_bridge: bool,
    /// Of a connection that named an Authentication Method.
    pub(super) enhanced: Option<Box<Enhanced>>,
    /// Request Problem Information is 0: no Reason Strings.
    pub(super) without_reasons: bool,
    /// How many of its packets wait for the store.
    deferred: u32,
    /// Bytes of its packets that wait for space on the disk.
    pub(super) unstored_bytes: u32,
    /// A packet with so many filters that it takes more than one turn.
    pub(super) filters_begun: Option<Box<FiltersBegun>>,
}

impl Connection {
    pub(super) fn new(now: Timestamp, generation: u32, listener: ListenerId) -> Self {
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
            flow: State::default(),
            mounted: false,
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

    /// The rare state, made if there is none.
    pub(super) fn rare(&mut self) -> &mut RareConnection {
        self.rare.get_or_insert_default()
    }

    /// One more of its packets waits for the store.
    pub(super) fn begin_deferring(&mut self, what: Deferring) {
        self.rare().deferred += 1;
        self.deferring = self.deferring.max(what);
        // As if it were in the shell's list: so it is not put there.
        if what == Deferring::Everything {
            self.output = Output::Dependent;
        }
    }

    /// One of its packets waits no more.
    pub(super) fn end_deferring(&mut self) {
        let rare = self.rare();
        rare.deferred = rare.deferred.saturating_sub(1);
        if rare.deferred == 0 && self.deferring == Deferring::Acknowledgements {
            self.deferring = Deferring::Nothing;
        }
    }

    /// The CONNACK does not wait for the store any more, so later packets may be sent.
    pub(super) fn end_deferring_output(&mut self) {
        if self.deferring == Deferring::Everything {
            self.deferring = Deferring::Acknowledgements;
            self.output = Output::Flushed;
        }
        self.end_deferring();
    }

    /// Its Topic Aliases: a look at a flag for those that have none.
    #[inline]
    pub(super) fn outbound_aliases(&mut self) -> Option<&mut Aliases> {
        if !self.aliased {
            return None;
        }
        self.rare.as_mut()?.outbound_aliases.as_deref_mut()
    }

    /// The connection by the name that the shell has for it.
    pub(super) fn id(&self, slot: ConnectionSlot) -> ConnectionId {
        let generation = self.generation;
        ConnectionId { slot, generation }
    }

    /// Whether it is not read from.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.reading, Reading::Paused | Reading::PausedSuspended)
    }

    /// Whether flow control has to know that less waits for it: it is not read from, or does not keep up.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.is_paused() || self.flow != State::Flowing
    }

    /// From now on it is not read from, or again. With more than `high` bytes waiting for it that is its own doing.
    pub(super) fn set_paused(&mut self, paused: bool, high: usize) {
        self.reading = match (paused, self.keep_alive_is_suspended()) {
            (false, false) => Reading::Open,
            (false, true) => Reading::OpenSuspended,
            (true, false) => Reading::Paused,
            (true, true) => Reading::PausedSuspended,
        };
        self.suspend_keep_alive(high);
    }

    /// To be called whenever less may wait for it: if it is not read from all the same, that is for the sake of others.
    #[inline]
    pub(super) fn suspend_keep_alive(&mut self, high: usize) {
        if self.reading == Reading::Paused && self.waiting_bytes() <= high {
            self.reading = Reading::PausedSuspended;
        }
    }

    /// Whether its silence is not its own.
    pub(super) fn keep_alive_is_suspended(&self) -> bool {
        matches!(self.reading, Reading::OpenSuspended | Reading::PausedSuspended)
    }

    /// Its keep alive is looked at: whether its silence until now was not its own.
    pub(super) fn take_suspended(&mut self, high: usize) -> bool {
        let suspended = self.keep_alive_is_suspended();
        self.reading = if self.is_paused() {
            Reading::Paused
        } else {
            Reading::Open
        };
        self.suspend_keep_alive(high);
        suspended
    }

    /// So many bytes are with the shell and the kernel.
    #[inline]
    pub(super) fn set_unsent(&mut self, now: Timestamp, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes < self.unsent_bytes || self.unsent_bytes == 0 {
            self.progress_at = now;
        }
        self.unsent_bytes = bytes;
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.out.len().saturating_add(self.unsent_bytes as usize)
    }

    /// When the client must have sent something: one and a half times the keep alive [MQTT-3.1.2-22], [MQTT3-3.1.2-24].
    pub(super) fn keep_alive_deadline(&self) -> Timestamp {
        if self.keep_alive_s == 0 {
            return Timestamp::NEVER;
        }
        self.last_received
            .plus_ns(u64::from(self.keep_alive_s) * 1_500_000_000)
    }
}

const _: () = assert!(
    size_of::<Connection>() <= 128,
    "an idle connection is to stay small"
);
