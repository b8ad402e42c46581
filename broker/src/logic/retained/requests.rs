//! The requests of this shard's new subscriptions that the owners have not fully answered.
//!
//! While a request is open at another shard, the ticket of each retained message that is published to subscribers here
//! is remembered. A message of the answer that is older than such a ticket of its topic is dropped. So a subscriber
//! never gets an older retained message after a newer one.
//!
//! Invariants: a request ends with its last owner's answer, with its session, or when it is cancelled; an answer to a
//! request that has ended is ignored. The requests of a session have at most [`limits::RETAINED_FILTER_BYTES_MAX`]
//! bytes of filters. Tickets are remembered for at most [`limits::RETAINED_NEWER_MAX`] topics, by their hashes, and for
//! none while no request is open at another shard.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{FoundMessage, Owners, RequestId, Ticket};
use crate::limits;
use crate::logic::ids::SessionSlot;
use crate::logic::retained_note::RetainedRequest;

impl RetainedRequest {
    fn bytes(&self) -> usize {
        self.filter.len() + size_of::<OpenRequest>()
    }
}

#[derive(Debug)]
struct OpenRequest {
    request: RetainedRequest,
    owners: Owners,
    /// Number of owners that have not answered completely.
    left: u16,
}

#[derive(Debug)]
pub(super) struct Requests {
    open: BTreeMap<RequestId, OpenRequest>,
    /// Bytes of the filters of each session that has requests.
    filter_bytes: HashMap<SessionSlot, usize>,
    numbers: u64,
    hasher: FixedState,
    /// The latest ticket of messages published to a topic since a request was open.
    newer: HashMap<u64, Ticket, FixedState>,
}

impl Requests {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            open: BTreeMap::new(),
            filter_bytes: HashMap::new(),
            numbers: 0,
            newer: HashMap::with_hasher(hasher.clone()),
            hasher,
        }
    }

    /// Adds a request; `None` if the session has too many.
    pub(super) fn open(
        &mut self,
        session: SessionSlot,
        request: RetainedRequest,
        owners: Owners,
        left: u16,
    ) -> Option<RequestId> {
        let taken = self.filter_bytes.entry(session).or_insert(0);
        let bytes = request.bytes();
        if *taken > 0 && *taken + bytes > limits::RETAINED_FILTER_BYTES_MAX {
            return None;
        }
        *taken += bytes;
        self.numbers += 1;
        let id = RequestId {
            session,
            number: self.numbers,
        };
        let open = OpenRequest {
            request,
            owners,
            left,
        };
        self.open.insert(id, open);
        Some(id)
    }

    /// The open request with this number, if there is one.
    pub(super) fn get(&self, id: RequestId) -> Option<&RetainedRequest> {
        Some(&self.open.get(&id)?.request)
    }

    /// An owner has answered completely.
    pub(super) fn answered(&mut self, id: RequestId) {
        let Some(open) = self.open.get_mut(&id) else {
            // It was cancelled in the meantime.
            return;
        };
        open.left = open.left.saturating_sub(1);
        if open.left == 0 {
            self.drop_one(id);
        }
    }

    /// The answer is no longer awaited. Returns the shards that were asked.
    pub(super) fn drop_one(&mut self, id: RequestId) -> Option<Owners> {
        let open = self.open.remove(&id)?;
        if let Some(bytes) = self.filter_bytes.get_mut(&id.session) {
            *bytes = bytes.saturating_sub(open.request.bytes());
            if *bytes == 0 {
                self.filter_bytes.remove(&id.session);
            }
        }
        if self.open.is_empty() {
            self.newer = HashMap::with_hasher(self.hasher.clone());
        }
        Some(open.owners)
    }

    /// The open requests of a session.
    pub(super) fn of_session(&self, session: SessionSlot) -> Vec<RequestId> {
        if !self.filter_bytes.contains_key(&session) {
            return Vec::new();
        }
        let first = RequestId { session, number: 0 };
        let last = RequestId {
            session,
            number: u64::MAX,
        };
        self.open.range(first..=last).map(|(&id, _)| id).collect()
    }

    /// One of the open requests of a session.
    pub(super) fn first_of_session(&self, session: SessionSlot) -> Option<RequestId> {
        if !self.filter_bytes.contains_key(&session) {
            return None;
        }
        let first = RequestId { session, number: 0 };
        let (&id, _) = self.open.range(first..).next()?;
        Some(id).filter(|id| id.session == session)
    }

    /// A retained message of another owner's topic was published to the subscribers here.
    #[inline]
    pub(super) fn published(&mut self, topic: &str, ticket: Ticket) {
        if self.open.is_empty() || self.newer.len() >= limits::RETAINED_NEWER_MAX {
            return;
        }
        let latest = self.newer.entry(self.hasher.hash_one(topic)).or_insert(ticket);
        *latest = ticket.max(*latest);
    }

    /// Whether a newer message was published to the topic since.
    pub(super) fn is_outdated(&self, found: &FoundMessage) -> bool {
        if self.newer.is_empty() {
            return false;
        }
        let newer = self.newer.get(&self.hasher.hash_one(found.message.topic()));
        newer.is_some_and(|&newer| newer > found.ticket)
    }

    /// The number of open requests.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use mqtt::QoS;

    use super::*;
    use crate::logic::retained::tests::message;

    fn request(filter: &str) -> RetainedRequest {
        RetainedRequest {
            filter: filter.into(),
            qos: QoS::AtMostOnce,
            no_local: false,
            via: None,
        }
    }

    #[test]
    fn a_request_ends_with_its_last_answer_or_its_session() {
        let mut requests = Requests::new(1);
        let (one, two) = (SessionSlot::test(1), SessionSlot::test(2));
        let mut open = |session, left| {
            let id = requests.open(session, request("a/+"), Owners::All, left);
            id.unwrap()
        };
        let (first, second, third) = (open(one, 2), open(two, 1), open(one, 1));
        assert_eq!(requests.of_session(one), [first, third]);
        requests.answered(first);
        assert!(requests.get(first).is_some());
        requests.answered(first);
        assert!(requests.get(first).is_none());
        requests.answered(first);
        assert_eq!(requests.drop_one(third), Some(Owners::All));
        assert_eq!((requests.of_session(one), requests.len()), (Vec::new(), 1));
        requests.answered(second);
        assert!(requests.filter_bytes.is_empty() && requests.len() == 0);
    }

    #[test]
    fn what_is_older_than_what_was_published_since_is_outdated() {
        let mut requests = Requests::new(1);
        let found = |topic, ticket| FoundMessage {
            ticket: Ticket(ticket),
            message: message(topic, "x"),
        };
        requests.published("a", Ticket(9));
        assert!(!requests.is_outdated(&found("a", 1)), "no request was open");
        let session = SessionSlot::test(1);
        let id = requests.open(session, request("a"), Owners::One(1), 1).unwrap();
        requests.published("a", Ticket(9));
        requests.published("a", Ticket(7));
        assert!(requests.is_outdated(&found("a", 8)) && !requests.is_outdated(&found("a", 9)));
        assert!(!requests.is_outdated(&found("b", 8)));
        requests.answered(id);
        assert!(!requests.is_outdated(&found("a", 8)));
    }

    #[test]
    fn the_filters_of_a_session_are_bounded() {
        let mut requests = Requests::new(1);
        let long = "x".repeat(65_535);
        let session = SessionSlot::test(1);
        let mut taken = 0;
        while requests
            .open(session, request(&long), Owners::One(0), 1)
            .is_some()
        {
            taken += 1;
        }
        assert!((1..=limits::RETAINED_FILTER_BYTES_MAX / long.len()).contains(&taken));
        let other = SessionSlot::test(2);
        assert!(requests.open(other, request(&long), Owners::One(0), 1).is_some());
    }
}
