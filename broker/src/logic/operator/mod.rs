//! What an operator asks of a shard while it serves clients: lists, and a few actions.
//!
//! `lists.rs` makes the lists, `actions.rs` does the rest.
//!
//! Invariants: one question costs a bounded amount of work. A list is given in parts: each looks at a bounded number of
//! places and says where the next part begins, so a shard is never held up by a long list. What is there from the
//! first part to the last one is in the list once; what comes or goes meanwhile may be missing. No payload, password or
//! property is in an answer.

mod actions;
mod lists;

use mqtt::{QoS, ReasonCode};

use crate::logic::Shard;
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
    Retained(ListPart),
    /// End the connection of a client.
    Disconnect {
        /// The identifier of the client.
        client: Box<str>,
        /// What a client of 5.0 is notified of.
        reason: ReasonCode,
    },
    /// End the session of a client, and its connection.
    EndSession(Box<str>),
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
    /// Whether there was what something was to be done with.
    Done(bool),
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
    /// The granted QoS; `None` of a Shared Subscription.
    pub qos: Option<QoS>,
}

/// A retained message, without its payload.
#[derive(Clone, Debug)]
pub struct RetainedEntry {
    /// The topic that it is retained for.
    pub topic: Box<str>,
    /// The QoS that it was published at.
    pub qos: QoS,
    /// How long its payload is.
    pub payload_bytes: usize,
}

impl Shard {
    /// Answers a question of an operator.
    pub fn operate(&mut self, now: Timestamp, question: &Question) -> Answer {
        self.begin(now);
        self.delivery.journal.begin_packet();
        match question {
            Question::Sessions(part) => Answer::Sessions(self.list_sessions(*part)),
            Question::Session(client) => Answer::Sessions(self.list_session(client)),
            Question::Subscriptions { part, client } => {
                Answer::Subscriptions(self.list_subscriptions(*part, client.as_deref()))
            }
            Question::Retained(part) => Answer::Retained(self.list_retained(*part)),
            Question::Disconnect { client, reason } => Answer::Done(self.disconnect_client(client, *reason)),
            Question::EndSession(client) => Answer::Done(self.end_session_of(client)),
            Question::Publish {
                topic,
                payload,
                qos,
                retain,
            } => Answer::Done(self.publish_for_operator(topic, payload, *qos, *retain)),
        }
    }
}
