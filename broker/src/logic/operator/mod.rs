//! What an operator asks of a shard while it serves clients: lists, and a few actions.
//!
//! `lists.rs` makes the lists, `client_times.rs` knows who costs the most, `actions.rs` does the rest.
//!
//! Invariants: one question costs a bounded amount of work. A list is given in parts: each looks at a bounded number of
//! places and says where the next part begins, so a shard is never held up by a long list. What is there from the
//! first part to the last one is in the list once; what comes or goes meanwhile may be missing. No password or property
//! is in an answer, and no payload that was not asked for.

mod actions;
mod client_times;
mod lists;

use std::net::SocketAddr;
use std::ops::Range;

use mqtt::{QoS, ReasonCode};

pub use self::client_times::ClientTimes;

use crate::logic::connection::ConnectionId;
use crate::logic::unpublishable::Unpublishable;
use crate::logic::{Shard, SysFigures};
use crate::time::Timestamp;

/// A question, or something to be done.
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
        /// Whether the payloads are wanted too.
        payloads: bool,
    },
    /// So many clients that cost the most CPU time in these seconds.
    Busiest(usize, MeasuredSeconds),
    /// The figures of `$SYS`, which shard 0 has.
    System,
    /// End the connection of a client.
    Disconnect {
        /// What the client calls itself.
        client: Box<str>,
        /// What a client of 5.0 is notified of.
        reason: ReasonCode,
        /// Who asks for it.
        operator: Box<str>,
    },
    /// End the session of a client, and its connection.
    EndSession {
        /// What the client calls itself.
        client: Box<str>,
        /// Who asks for it.
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

/// A part of a list: where it begins, and how many entries it has at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListPart {
    /// The first place that is looked at, as [`Listed::next`] of the part before.
    pub from: ListPlace,
    /// So many entries at most.
    pub entries_max: usize,
}

/// A place in a list: the number of a slot, and an entry within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPlace {
    /// The number of the slot.
    pub slot: u32,
    /// The entry of what is in the slot.
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
    /// Whether there was what something was to be done with.
    Done(bool),
}

/// Why a message of an operator was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// Nobody else may publish there.
    #[error(
        "topic: it is the broker's own, which nobody else may change: choose one that does not begin with $SYS/"
    )]
    OwnToBroker,
    /// The topic has more slashes than `topic_levels_max`.
    #[error("topic: it has too many topic levels: choose a shorter one, or raise max_topic_levels")]
    TooDeep,
    /// It is to be retained, and `retain_available` is false.
    #[error("retain: retained messages are not available: leave it out, or set retain_available to true")]
    NoRetained,
    /// It is one that nobody may publish, or there is no room to retain it.
    #[error("the message is not published: {0}: {fix}", fix = .0.fix())]
    Unpublishable(#[from] Unpublishable),
    /// A store that is full cannot keep it.
    #[error(
        "the message is not published: the store has no space to keep it: make room on its disk, or raise \
         store_size_max"
    )]
    NoSpace,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The entries that were found.
    pub entries: Vec<T>,
    /// Where the next part begins; `None` behind the last one.
    pub next: Option<ListPlace>,
}

/// A session, with its connection if it has one.
#[derive(Clone, Debug)]
pub struct SessionEntry {
    /// Whose session it is.
    pub client_identifier: Box<str>,
    /// The user, where it was proved.
    pub user: Option<Box<str>>,
    /// The connection of the client.
    pub connection: Option<ConnectionEntry>,
    /// The Session Expiry Interval in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// Seconds since the client left, if it is away.
    pub away_s: Option<u64>,
    /// Subscriptions, those that are shared included.
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
    /// By which the shell knows it.
    pub id: ConnectionId,
    /// Where its client is, which the shell knows.
    pub address: Option<SocketAddr>,
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
    /// It is not read from, for the sake of slower ones.
    pub is_paused: bool,
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub struct SubscriptionEntry {
    /// Whose session it is.
    pub client_identifier: Box<str>,
    /// The Topic Filter, whole if it is shared.
    pub filter: Box<str>,
    /// The QoS that was granted to the client.
    pub qos: QoS,
    /// What the client publishes itself does not come to it.
    pub no_local: bool,
    /// Messages keep the RETAIN flag with which they were published.
    pub retain_as_published: bool,
    /// The Subscription Identifier, if there is one.
    pub identifier: Option<u32>,
}

/// A retained message, with its payload if that is wanted.
#[derive(Clone, Debug)]
pub struct RetainedEntry {
    /// The topic that it is retained for.
    pub topic: Box<str>,
    /// The QoS that it was published at.
    pub qos: QoS,
    /// How long its payload is.
    pub payload_bytes: usize,
    /// The payload, if it is wanted.
    pub payload: Option<Box<[u8]>>,
}

/// Seconds of a measurement that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredSeconds {
    /// When the measurement began.
    pub since: Timestamp,
    /// The number of the first one.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

impl MeasuredSeconds {
    /// The last `most` of those that are over.
    #[must_use]
    pub fn last(since: Timestamp, now: Timestamp, most: u64) -> Self {
        let over = now.since_s(since);
        let count = over.min(most);
        let first = over - count;
        Self { since, first, count }
    }

    /// When the first one began.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        self.since.plus_s(self.first)
    }

    /// When the last one ended.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.since.plus_s(self.first + self.count)
    }

    fn numbers(self) -> Range<u64> {
        self.first..self.first + self.count
    }
}

/// Clients that cost the most, the most first; nothing if it is not measured.
#[derive(Clone, Debug, Default)]
pub struct BusyClients {
    /// The clients, also those that have left since.
    pub clients: Vec<BusyClient>,
    /// CPU time that all clients of the shard cost together.
    pub cpu_ns: u64,
}

/// A client, and what it costs.
#[derive(Clone, Debug)]
pub struct BusyClient {
    /// What the client calls itself.
    pub client_identifier: Box<str>,
    /// The user, where it was proved.
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
