//! The retained messages that a new subscription brings, found a piece at a time.
//!
//! A filter may lead through every retained message and match none of them, and a SUBSCRIBE may have thousands of such filters.
//! So a turn walks over [`limits::REPLAY_NODES_MAX`] topic levels at most, for all sessions together: what is left goes on in
//! the next turn, one session after the other. A message that is retained while a walk goes on comes to the subscriber as
//! it is published, and perhaps once more as retained: a walk finds what is retained when it comes by, never anything older.
//!
//! Invariants: `turns` names each session that has walks once; walks end with their session or their subscription. The walks of
//! a session hold at most [`limits::REPLAY_FILTER_BYTES_MAX`] of filters.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use mqtt::QoS;

use crate::limits;
use crate::logic::Shard;
use crate::logic::message::StoredMessage;
use crate::logic::routing::subscription::group::Via;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;
use crate::logic::topic_tree::{RemovedNode, Walk};
use crate::time::Timestamp;

/// A subscription whose retained messages are to be sent.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: Box<str>,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) via: Option<Rc<Via>>,
    walk: Walk,
}

impl Replay {
    pub(super) fn new(filter: &str, qos: QoS, no_local: bool, via: Option<Rc<Via>>) -> Self {
        Self {
            filter: filter.into(),
            qos,
            no_local,
            via,
            walk: Walk::new(),
        }
    }
}

/// The walks of one session.
#[derive(Debug, Default)]
struct Waiting {
    replays: VecDeque<Replay>,
    filter_bytes: usize,
}

/// All walks that are not finished.
#[derive(Debug)]
pub(super) struct Replays {
    by_session: HashMap<SessionSlot, Waiting>,
    turns: VecDeque<SessionSlot>,
    /// Nodes that may still be walked over in this turn.
    nodes_left: usize,
    found: Vec<StoredMessage>,
}

impl Default for Replays {
    fn default() -> Self {
        Self {
            by_session: HashMap::new(),
            turns: VecDeque::new(),
            nodes_left: limits::REPLAY_NODES_MAX,
            found: Vec::new(),
        }
    }
}

impl Replays {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Takes one in; false if the session has too many.
    fn push(&mut self, session: SessionSlot, replay: Replay) -> bool {
        let waiting = self.by_session.entry(session).or_default();
        if waiting.replays.is_empty() {
            self.turns.push_back(session);
        }
        let filter_bytes = waiting.filter_bytes + replay.filter.len() + size_of::<Replay>();
        if filter_bytes > limits::REPLAY_FILTER_BYTES_MAX && !waiting.replays.is_empty() {
            return false;
        }
        waiting.filter_bytes = filter_bytes;
        waiting.replays.push_back(replay);
        true
    }

    /// The first one of the session whose turn it is.
    fn pop(&mut self) -> Option<(SessionSlot, Replay)> {
        let session = self.turns.pop_front()?;
        let waiting = self.by_session.get_mut(&session)?;
        let replay = waiting.replays.pop_front()?;
        waiting.filter_bytes -= replay.filter.len() + size_of::<Replay>();
        if waiting.replays.is_empty() {
            self.by_session.remove(&session);
        } else {
            self.turns.push_back(session);
        }
        Some((session, replay))
    }

    /// One that is not finished goes back to the front of its session's.
    fn put_back(&mut self, session: SessionSlot, replay: Replay) {
        let waiting = self.by_session.entry(session).or_default();
        if waiting.replays.is_empty() {
            self.turns.push_back(session);
        }
        waiting.filter_bytes += replay.filter.len() + size_of::<Replay>();
        waiting.replays.push_front(replay);
    }

    /// The session has ended.
    pub(super) fn forget(&mut self, session: SessionSlot) {
        if !self.is_empty() && self.by_session.remove(&session).is_some() {
            self.turns.retain(|&other| other != session);
        }
    }

    /// Nodes that were taken out of the tree: walks go on behind them.
    fn skip(&mut self, removed: &[RemovedNode]) {
        let waiting = self.by_session.values_mut();
        for replay in waiting.flat_map(|waiting| &mut waiting.replays) {
            replay.walk.skip(removed);
        }
    }
}

impl Shard {
    /// Begins to send the retained messages that a new subscription matches [MQTT-3.3.1-9]; the caller goes on with
    /// [`Self::walk_replays`].
    pub(super) fn begin_replay(&mut self, session: SessionSlot, replay: Replay) {
        if !self.replays.push(session, replay) {
            self.delivery.counters().publishes_dropped.add(1);
        }
    }

    /// Whether retained messages are still being looked for.
    #[must_use]
    pub fn has_replays(&self) -> bool {
        !self.replays.is_empty()
    }

    /// A turn of the shard begins: goes on where the last one ended.
    pub fn continue_replays(&mut self, now: Timestamp) {
        self.begin(now);
        self.replays.nodes_left = limits::REPLAY_NODES_MAX;
        if self.has_replays() {
            self.walk_replays(now);
        }
    }

    /// Goes on as far as this turn may.
    pub(super) fn walk_replays(&mut self, now: Timestamp) {
        let removed = self.retained.take_removed();
        if !removed.is_empty() {
            self.replays.skip(&removed);
        }
        while self.replays.nodes_left > 0
            && let Some((session, mut replay)) = self.replays.pop()
        {
            if self.is_wanted(session, &replay) && !self.walk(now, session, &mut replay) {
                self.replays.put_back(session, replay);
            }
            self.delivery.send_waiting(session);
        }
        self.retained.watch_removals(self.has_replays());
    }

    /// Whether the subscription is there still, and its session has room.
    fn is_wanted(&self, session: SessionSlot, replay: &Replay) -> bool {
        let filter = self.routing.find(&replay.filter);
        if filter.and_then(|filter| self.listed(session, filter)).is_none() {
            return false;
        }
        let session = self.delivery.session(session);
        let queue = session.and_then(|session| session.queue.as_ref());
        let is_full = queue.is_some_and(|queue| queue.is_full_of_replays());
        if is_full {
            self.delivery.counters().publishes_dropped.add(1);
        }
        !is_full
    }

    /// Queues what the next piece of the walk finds; true at its end.
    fn walk(&mut self, now: Timestamp, session: SessionSlot, replay: &mut Replay) -> bool {
        let mut found = std::mem::take(&mut self.replays.found);
        let settings = self.delivery.settings();
        let policy = settings.check_retain_source.then_some(self.delivery.policy());
        let upgrade = settings.upgrade_outgoing_qos;
        let Replay { filter, walk, .. } = replay;
        let nodes_left = &mut self.replays.nodes_left;
        let done = self
            .retained
            .matching(now, filter, policy, walk, nodes_left, &mut found);
        let own = self.delivery.session(session);
        let own = own.map_or(0, |s| self.delivery.sessions().identity(&s.client_identifier));
        for message in found.drain(..) {
            if replay.no_local && message.publisher() == own {
                continue;
            }
            let qos = if upgrade {
                replay.qos
            } else {
                replay.qos.min(message.qos())
            };
            let via = replay.via.clone();
            self.delivery.replay(
                session,
                Queued {
                    message,
                    via,
                    qos,
                    retain: true,
                    replay: true,
                    is_overrun: false,
                },
            );
        }
        self.replays.found = found;
        done
    }
}
