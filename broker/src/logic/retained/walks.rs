//! The walks over the messages that this shard owns, for requests of its own sessions and of other shards.
//!
//! A filter may lead through every retained message without matching any, and a SUBSCRIBE may have thousands of such
//! filters. So all walks together visit at most [`limits::RETAINED_NODES_MAX`] topic levels per turn; the rest follows
//! in later turns, and the askers (sessions and shards) take turns. A walk finds the message that is retained when it
//! visits the topic, never an older one.
//!
//! Invariants: `turns` has each asker with walks once. A request of another shard waits until all shards have reached
//! the barrier that was set after it ([`super::barriers`]). Only the first walk of an asker may have begun. A request
//! is found by its number, so cancelling one costs the same however many wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::barriers::Barriers;
use super::{FoundMessage, RequestId};
use crate::limits;
use crate::logic::ids::SessionSlot;
use crate::logic::message::StoredMessage;
use crate::logic::topic_tree::{RemovedNode, Walk};

/// A session with a request, of this shard or of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) shard: u16,
    pub(super) session: SessionSlot,
}

/// The messages that one request asks for.
#[derive(Debug)]
pub(super) struct RetainedWalk {
    pub(super) id: RequestId,
    pub(super) filter: Arc<str>,
    pub(super) walk: Walk,
}

impl RetainedWalk {
    pub(super) fn new(id: RequestId, filter: Arc<str>) -> Self {
        Self {
            id,
            filter,
            walk: Walk::new(),
        }
    }
}

/// A request of another shard that may be answered when all have reached its barrier.
#[derive(Debug)]
struct WaitingRequest {
    barrier: u64,
    id: RequestId,
    filter: Arc<str>,
}

/// The walks of one asker, ordered by the numbers of their requests.
#[derive(Debug)]
struct AskerWalks {
    /// The asker's place in the order of turns.
    turn: u64,
    walks: BTreeMap<u64, RetainedWalk>,
}

#[derive(Debug)]
pub(super) struct Walks {
    by_asker: HashMap<Asker, AskerWalks>,
    turns: BTreeMap<u64, Asker>,
    turn: u64,
    /// Requests of each other shard, ordered by their numbers.
    waiting: Vec<BTreeMap<u64, WaitingRequest>>,
    /// More of them may begin than began in the last turn.
    pub(super) more_ready: bool,
    /// Nodes that may still be visited in this turn.
    pub(super) nodes_left: usize,
    /// The result of a piece of a walk, reused.
    pub(super) found: Vec<FoundMessage>,
    /// Messages that it found but that are not delivered, because the publisher may no longer publish there.
    pub(super) denied: Vec<StoredMessage>,
}

impl Walks {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            by_asker: HashMap::new(),
            turns: BTreeMap::new(),
            turn: 0,
            waiting: (0..shards).map(|_| BTreeMap::new()).collect(),
            more_ready: false,
            nodes_left: limits::RETAINED_NODES_MAX,
            found: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Whether there is no walk now.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The number of askers with walks.
    pub(super) fn askers(&self) -> usize {
        self.turns.len()
    }

    /// Requests that are not answered completely.
    pub(super) fn len(&self) -> usize {
        let walks = self.by_asker.values().map(|asker| asker.walks.len());
        let waiting = self.waiting.iter().map(BTreeMap::len);
        walks.chain(waiting).sum()
    }

    /// Begins a walk, behind those of the same asker; or puts back one that is not finished.
    pub(super) fn push(&mut self, asker: Asker, walk: RetainedWalk) {
        let of_asker = self.by_asker.entry(asker).or_insert_with(|| {
            self.turn += 1;
            self.turns.insert(self.turn, asker);
            AskerWalks {
                turn: self.turn,
                walks: BTreeMap::new(),
            }
        });
        of_asker.walks.insert(walk.id.number, walk);
    }

    /// Another shard asks; it set that barrier after its request.
    pub(super) fn await_barrier(&mut self, shard: u16, barrier: u64, id: RequestId, filter: Arc<str>) {
        if let Some(waiting) = self.waiting.get_mut(usize::from(shard)) {
            waiting.insert(id.number, WaitingRequest { barrier, id, filter });
        }
    }

    /// Begins the walks whose barriers were reached, at most [`limits::RETAINED_BEGUN_MAX`] per shard.
    pub(super) fn begin_ready(&mut self, barriers: &Barriers) {
        self.more_ready = false;
        for shard in (0_u16..).take(self.waiting.len()) {
            let (mut reached, mut begun) = (0, 0);
            while let Some(waiting) = self.waiting.get_mut(usize::from(shard))
                && let Some((_, first)) = waiting.first_key_value()
                && (first.barrier <= reached || barriers.all_reached(shard, first.barrier))
            {
                if begun >= limits::RETAINED_BEGUN_MAX {
                    self.more_ready = true;
                    break;
                }
                begun += 1;
                reached = first.barrier;
                let Some((_, WaitingRequest { id, filter, .. })) = waiting.pop_first() else {
                    break;
                };
                let session = id.session;
                self.push(Asker { shard, session }, RetainedWalk::new(id, filter));
            }
        }
    }

    /// The first walk of the asker whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(Asker, RetainedWalk)> {
        let (_, asker) = self.turns.pop_first()?;
        let of_asker = self.by_asker.get_mut(&asker)?;
        let (_, walk) = of_asker.walks.pop_first()?;
        if of_asker.walks.is_empty() {
            self.by_asker.remove(&asker);
        } else {
            self.turn += 1;
            of_asker.turn = self.turn;
            self.turns.insert(self.turn, asker);
        }
        Some((asker, walk))
    }

    /// The answer is no longer awaited.
    pub(super) fn cancel(&mut self, shard: u16, id: RequestId) {
        let session = id.session;
        let asker = Asker { shard, session };
        if let Some(of_asker) = self.by_asker.get_mut(&asker)
            && of_asker.walks.remove(&id.number).is_some()
            && of_asker.walks.is_empty()
        {
            self.turns.remove(&of_asker.turn);
            self.by_asker.remove(&asker);
        }
        if let Some(waiting) = self.waiting.get_mut(usize::from(shard)) {
            waiting.remove(&id.number);
        }
    }

    /// Nodes were removed from the tree: walks continue behind them.
    pub(super) fn skip(&mut self, removed: &[RemovedNode]) {
        for of_asker in self.by_asker.values_mut() {
            if let Some(mut first) = of_asker.walks.first_entry() {
                first.get_mut().walk.skip(removed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(session: u32, number: u64) -> RequestId {
        RequestId {
            session: SessionSlot::test(session),
            number,
        }
    }

    fn asker(shard: u16, session: u32) -> Asker {
        Asker {
            shard,
            session: SessionSlot::test(session),
        }
    }

    fn walk(id: RequestId) -> RetainedWalk {
        RetainedWalk::new(id, "a".into())
    }

    #[test]
    fn askers_take_turns() {
        let mut walks = Walks::new(2);
        walks.push(asker(0, 1), walk(id(1, 1)));
        walks.push(asker(0, 1), walk(id(1, 2)));
        walks.push(asker(1, 1), walk(id(1, 1)));
        let mut order = Vec::new();
        while let Some((asker, walk)) = walks.pop() {
            order.push((asker.shard, walk.id.number));
            if order.len() == 1 {
                walks.push(asker, walk);
            }
        }
        assert_eq!(order, [(0, 1), (1, 1), (0, 1), (0, 2)]);
        assert!(walks.is_empty());
    }

    #[test]
    fn another_shards_request_waits_for_its_barrier() {
        let (mut walks, mut barriers) = (Walks::new(3), Barriers::new(0, 3));
        walks.await_barrier(1, 1, id(5, 1), "a".into());
        walks.await_barrier(1, 2, id(5, 2), "a".into());
        walks.await_barrier(2, 1, id(5, 1), "a".into());
        walks.begin_ready(&barriers);
        assert!(walks.is_empty());
        barriers.reach(1, 2, 1);
        walks.begin_ready(&barriers);
        let (asker, walk) = walks.pop().unwrap();
        assert_eq!((asker.shard, walk.id.number), (1, 1));
        assert!(walks.is_empty() && walks.len() == 2);
    }

    #[test]
    fn a_cancelled_request_is_gone_wherever_it_waits() {
        let mut walks = Walks::new(3);
        walks.await_barrier(1, 1, id(5, 1), "a".into());
        walks.push(asker(1, 5), walk(id(5, 2)));
        walks.push(asker(2, 5), walk(id(5, 2)));
        walks.cancel(1, id(5, 2));
        walks.cancel(1, id(5, 1));
        assert_eq!((walks.len(), walks.turns.len()), (1, 1));
    }
}
