//! The messages between shards about retained messages, see `retained/`.
//!
//! Invariants: none.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::QoS;

use crate::auth::acl::Access;
use crate::logic::ids::SessionSlot;
use crate::logic::message::StoredMessage;
use crate::logic::retained_quota::Ticket;
use crate::logic::store::PublicationId;
use crate::logic::via::Via;

/// Identifies a request of the shard that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub(super) session: SessionSlot,
    pub(super) number: u64,
}

/// A retained message that an owner found.
#[derive(Clone, Debug)]
pub struct FoundMessage {
    pub(super) ticket: Ticket,
    pub(super) message: StoredMessage,
}

/// A retained message is set, or deleted by one without payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetainedChange<'a> {
    pub(super) message: &'a StoredMessage,
    pub(super) ticket: Ticket,
    /// Its number, if the store keeps it for subscribers.
    pub(super) publication: Option<PublicationId>,
    /// The rights of the publisher, for `check_retain_source`.
    pub(super) source: &'a Access,
}

/// The messages between shards for requests.
#[derive(Debug)]
pub enum RetainedNote {
    /// Asks the receiver to send [`Self::Reached`] after everything that it has sent until now.
    Barrier {
        /// The number among the sender's barriers.
        number: u64,
        /// The shard to notify; all except the sender if `None`.
        to: Option<u16>,
    },
    /// The sender has received that barrier.
    Reached {
        /// The shard that set the barrier.
        of: u16,
        /// The number of the barrier among those of that shard.
        number: u64,
    },
    /// Asks for the messages that match a filter.
    Request {
        /// The number of the request, which each answer repeats.
        id: RequestId,
        /// The sender's barrier that all others have to reach before.
        barrier: u64,
        /// The Topic Filter of the subscription, shared with the shard that asks.
        filter: Arc<str>,
    },
    /// The answer is no longer awaited.
    Cancel(RequestId),
    /// A part of the answer to a request.
    Found {
        /// The request that is answered.
        id: RequestId,
        /// The messages that were found, in the order of the walk.
        messages: Vec<FoundMessage>,
        /// Whether this is the last part.
        done: bool,
    },
}

impl RetainedNote {
    /// The number of messages in it, which count in a batch's room.
    pub(super) fn found(&self) -> usize {
        match self {
            Self::Found { messages, .. } => messages.len(),
            _ => 0,
        }
    }
}

/// A subscription whose retained messages are to be sent.
#[derive(Clone, Debug)]
pub(in crate::logic) struct RetainedRequest {
    pub(in crate::logic) filter: Arc<str>,
    pub(in crate::logic) qos: QoS,
    pub(in crate::logic) no_local: bool,
    pub(in crate::logic) via: Option<Rc<Via>>,
}
