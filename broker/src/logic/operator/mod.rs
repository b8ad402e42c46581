//! Operators' questions to a shard while it serves clients: lists, and a few actions.
//!
//! `lists.rs` makes the lists, `client_times.rs` measures CPU time by client, `actions.rs` does the rest.
//!
//! Invariants: one question costs a bounded amount of work. A list is returned in parts: each visits a bounded number
//! of places and says where the next part begins, so a long list never delays a shard. An entry that exists from the
//! first part to the last one is in the list once; one that is added or removed in the meantime may be missing. No
//! password or property is in an answer, and no payload that was not requested.

mod actions;
mod client_times;
mod lists;

use std::ops::Range;

use mqtt::{QoS, ReasonCode};

pub use self::client_times::ClientTimes;

use crate::client_address::ClientAddress;
use crate::logic::connection::ConnectionId;
use crate::logic::unpublishable::Unpublishable;
use crate::logic::{Shard, SysFigures};
use crate::time::Timestamp;

/// A question, or an action.
#[derive(Clone, Debug)]
pub enum Question {
    /// Sessions with their connections.
    Sessions(ListPart),
    /// The session of one client identifier.
    Session(Box<str>),
    /// Subscriptions: all, or those of one client.
    Subscriptions {
        /// Which part of the list.
        part: ListPart,
        /// The client whose subscriptions are listed; all if there is none.
        client: Option<Box<str>>,
    },
    /// Retained messages that the shard owns.
    Retained {
        /// Which part of the list.
        part: ListPart,
        /// Whether the payloads are requested too.
        payloads: bool,
    },
    /// This many clients that used the most CPU time in these seconds.
    Busiest(usize, MeasuredSeconds),
    /// The figures of `$SYS`, which shard 0 has.
    System,
    /// End the connection of a client.
    Disconnect {
        /// The identifier of the client.
        client: Box<str>,
        /// The reason for a 5.0 client.
        reason: ReasonCode,
        /// The operator who asks.
        operator: Box<str>,
    },
    /// End the session of a client, and its connection.
    EndSession {
        /// The identifier of the client.
        client: Box<str>,
        /// The operator who asks.
        operator: Box<str>,
    },
    /// Publish a message of the operator.
    Publish {
        /// A Topic Name that is not the broker's own.
        topic: Box<str>,
        /// The content of the message.
        payload: Box<[u8]>,
        /// The quality of service of the message.
        qos: QoS,
        /// It is retained; without payload the retained message is deleted.
        retain: bool,
    },
    /// Delete the retained message of a topic that the shard owns.
    DeleteRetained(Box<str>),
}

/// A part of a list: where it begins, and its largest number of entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListPart {
    /// The first place to visit: [`Listed::next`] of the previous part.
    pub from: ListPlace,
    /// The largest number of entries.
    pub entries_max: usize,
}

/// A place in a list: the number of a slot, and an entry within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPlace {
    /// The number of the slot.
    pub slot: u32,
    /// The entry within the slot.
    pub entry: u32,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The answer to [`Question::Sessions`] and [`Question::Session`].
    Sessions(Listed<SessionEntry>),
    /// The answer to [`Question::Subscriptions`].
    Subscriptions(Listed<SubscriptionEntry>),
    /// The answer to [`Question::Retained`].
    Retained(Listed<RetainedEntry>),
    /// The answer to [`Question::Busiest`].
    Busiest(BusyClients),
    /// The answer to [`Question::System`].
    System(SysFigures),
    /// The answer to [`Question::Publish`].
    Published(Result<(), NotPublished>),
    /// Whether the object of the action existed.
    Done(bool),
}

/// Why a message of an operator was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// Only the broker may publish there.
    #[error("topic: it is reserved for the broker: choose one that does not begin with $SYS/")]
    OwnToBroker,
    /// The topic has more slashes than `topic_levels_max`.
    #[error("topic: it has too many topic levels: choose a shorter one, or raise max_topic_levels")]
    TooDeep,
    /// It is to be retained, but `retain_available` is false.
    #[error("retain: retained messages are not available: remove it, or set retain_available to true")]
    NoRetained,
    /// Nobody may publish it, or there is no room to retain it.
    #[error("the message is not published: {0}: {fix}", fix = .0.fix())]
    Unpublishable(#[from] Unpublishable),
    /// The store is full and cannot keep it.
    #[error(
        "the message is not published: the store has no space for it: free space on its disk, or raise \
        store_size_max"
    )]
    NoSpace,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The entries that were found.
    pub entries: Vec<T>,
    /// Where the next part begins; `None` after the last one.
    pub next: Option<ListPlace>,
}

/// A session, with its connection if it has one.
#[derive(Clone, Debug)]
pub struct SessionEntry {
    /// The client identifier of the session.
    pub client_identifier: Box<str>,
    /// The user, if it was authenticated.
    pub user: Option<Box<str>>,
    /// The connection of the client.
    pub connection: Option<ConnectionEntry>,
    /// The Session Expiry Interval in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// Seconds since the client disconnected, if it is not connected.
    pub away_s: Option<u64>,
    /// Subscriptions, including Shared Subscriptions.
    pub subscriptions: usize,
    /// Messages that wait in the queue.
    pub queued_messages: u64,
    /// Topic and payload bytes of those.
    pub queued_bytes: u64,
    /// Messages at QoS 1 and 2 that await acknowledgement.
    pub inflight: u16,
}

/// The connection of a session.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEntry {
    /// Its name for the shell.
    pub id: ConnectionId,
    /// The address of its client, which the shell adds.
    pub address: Option<ClientAddress>,
    /// When its CONNECT was accepted.
    pub since: Timestamp,
    /// 3, 4 or 5, as in CONNECT.
    pub protocol_level: u8,
    /// The keep alive in seconds.
    pub keep_alive_s: u16,
    /// The number of the listener.
    pub listener: u16,
    /// Bytes that wait for the socket.
    pub output_bytes: usize,
    /// It does not keep up, so that no publisher waits for it.
    pub is_slow: bool,
    /// It is paused because of slower consumers.
    pub is_paused: bool,
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub struct SubscriptionEntry {
    /// The client identifier of the session.
    pub client_identifier: Box<str>,
    /// The Topic Filter; the whole text if it is shared.
    pub filter: Box<str>,
    /// The QoS that was granted to the client.
    pub qos: QoS,
    /// The client does not get its own messages.
    pub no_local: bool,
    /// Messages keep the RETAIN flag with which they were published.
    pub retain_as_published: bool,
    /// The Subscription Identifier, if there is one.
    pub identifier: Option<u32>,
}

/// A retained message, with its payload if that is requested.
#[derive(Clone, Debug)]
pub struct RetainedEntry {
    /// The topic that it is retained for.
    pub topic: Box<str>,
    /// The QoS at which it was published.
    pub qos: QoS,
    /// The length of its payload.
    pub payload_bytes: usize,
    /// The payload, if it is requested.
    pub payload: Option<Box<[u8]>>,
}

/// Complete seconds of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredSeconds {
    /// When the measurement began.
    pub since: Timestamp,
    /// The number of the first second.
    pub first: u64,
    /// The number of seconds.
    pub count: u64,
}

impl MeasuredSeconds {
    /// The last `most` complete seconds.
    #[must_use]
    pub fn last(since: Timestamp, now: Timestamp, most: u64) -> Self {
        let over = now.since_s(since);
        let count = over.min(most);
        let first = over - count;
        Self { since, first, count }
    }

    /// The beginning of the first second.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        self.since.plus_s(self.first)
    }

    /// The end of the last second.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.since.plus_s(self.first + self.count)
    }

    fn numbers(self) -> Range<u64> {
        self.first..self.first + self.count
    }
}

/// Clients that used the most CPU time, in descending order; empty if it is not measured.
#[derive(Clone, Debug, Default)]
pub struct BusyClients {
    /// The clients, including those that have disconnected since.
    pub clients: Vec<BusyClient>,
    /// CPU time of all clients of the shard together.
    pub cpu_ns: u64,
}

/// A client, and its CPU time.
#[derive(Clone, Debug)]
pub struct BusyClient {
    /// The name under which it connected.
    pub client_identifier: Box<str>,
    /// The user, if it was authenticated.
    pub user: Option<Box<str>>,
    /// Whether it is connected now.
    pub is_connected: bool,
    /// Its CPU time in those seconds.
    pub cpu_ns: u64,
}

impl Shard {
    /// Answers a question of an operator.
    pub fn operate(&mut self, now: Timestamp, question: &Question) -> Answer {
        self.begin(now);
        self.delivery.journal.begin_packet();
        let (clients, work) = (&self.delivery.clients, &mut self.work);
        match question {
            Question::Sessions(part) => Answer::Sessions(clients.list_sessions(now, work, *part)),
            Question::Session(client) => Answer::Sessions(clients.list_session(now, client)),
            Question::Subscriptions { part, client } => Answer::Subscriptions(
                self.routing
                    .list_subscriptions(clients, work, *part, client.as_deref()),
            ),
            Question::Retained { part, payloads } => {
                Answer::Retained(self.retained.list(work, *part, *payloads))
            }
            Question::Busiest(count, asked) => {
                Answer::Busiest(self.client_times.busiest(clients, work, *count, *asked))
            }
            Question::System => Answer::System(self.sys.figures(self.delivery.all_counters())),
            Question::Disconnect {
                client,
                reason,
                operator,
            } => Answer::Done(self.disconnect_client(client, *reason, operator)),
            Question::EndSession { client, operator } => Answer::Done(self.end_session_of(client, operator)),
            Question::Publish {
                topic,
                payload,
                qos,
                retain,
            } => Answer::Published(self.publish_for_operator(topic, payload, *qos, *retain)),
            Question::DeleteRetained(topic) => Answer::Done(self.delete_retained(topic)),
        }
    }
}
