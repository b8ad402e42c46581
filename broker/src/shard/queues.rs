//! State shared by shards: a bounded queue for each ordered pair of shards, a return path for emptied batches, and
//! wakes.
//!
//! Invariants: a queue is full of messages or of work, so that the work that a shard takes in one turn is bounded. A
//! full queue never blocks: the sender keeps what does not fit and tries again in its next turn (policy of the queue:
//! back-pressure on the sender's publishers). Only the shard that takes a batch knows what it costs, because it has
//! the subscribers: the sender uses what earlier batches have cost there. No wake is missed: the sender pushes before
//! it reads `asleep`, and the sleeper sets `asleep` before it checks its queues once more (all SeqCst).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam::queue::ArrayQueue;
use transport::ring::{RingHandle, Waker};

use crate::limits;
use crate::logic::{Batch, COST_BASE, COST_MAX};
use crate::shard::transfer::ConnectionTransfer;

/// A message from one shard to another.
pub(crate) enum ShardMessage {
    /// Publishes, and changes in the interest of the sender's clients.
    Batch(Batch),
    /// A connection, for the shard that owns its session.
    Connection(Box<ConnectionTransfer>),
}

impl ShardMessage {
    /// Approximate cost for the shard that takes it, in units of work.
    fn work(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.work(),
            Self::Connection(_) => limits::CONNECTION_WORK,
        }
    }
}

/// The queues between all shards.
pub(crate) struct ShardQueues {
    inboxes: Vec<Inbox>,
    /// Units of work above which a queue has no room.
    work_max: u64,
}

/// A message, with the work that it was counted as.
struct CountedMessage {
    units: u64,
    message: ShardMessage,
}

struct Inbox {
    /// Messages from other shards, by the number of the sender.
    messages: Vec<ArrayQueue<CountedMessage>>,
    /// The work of these messages, by the number of the sender.
    work: Vec<AtomicU64>,
    /// Recent cost of batches, for each [`COST_BASE`] units that their sender knew of, by its number.
    cost: Vec<AtomicU64>,
    /// Emptied batches on their way back, by the shard that emptied them.
    returned: Vec<ArrayQueue<Batch>>,
    asleep: AtomicBool,
    /// The shard ends, and sends nothing more to others.
    has_left: AtomicBool,
    /// It has ended: messages for it are dropped.
    gone: AtomicBool,
    ring: OnceLock<(RingHandle, Waker)>,
}

impl ShardQueues {
    pub(crate) fn new(count: u16) -> ShardQueues {
        let queues = || {
            (0..count)
                .map(|_| ArrayQueue::new(limits::SHARD_QUEUE_MESSAGES_MAX))
                .collect()
        };
        let returns = || {
            (0..count)
                .map(|_| ArrayQueue::new(limits::SHARD_QUEUE_MESSAGES_MAX))
                .collect()
        };
        let inbox = || Inbox {
            messages: queues(),
            work: (0..count).map(|_| AtomicU64::new(0)).collect(),
            cost: (0..count).map(|_| AtomicU64::new(COST_BASE)).collect(),
            returned: returns(),
            asleep: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            ring: OnceLock::new(),
        };
        ShardQueues {
            inboxes: (0..count).map(|_| inbox()).collect(),
            work_max: limits::queue_work(count),
        }
    }

    /// Registers how a shard's ring is woken; until then it cannot be found asleep. The shard reads from now on what
    /// was changed before a [`Self::wake_all`] that came too early for it.
    pub(crate) fn register(&self, shard: u16, handle: RingHandle, waker: Waker) {
        if let Some(inbox) = self.inboxes.get(usize::from(shard)) {
            let _ = inbox.ring.set((handle, waker));
            fence(Ordering::SeqCst);
        }
    }

    /// Puts a message into the queue, or returns it if the queue is full.
    pub(crate) fn push(&self, from: u16, to: u16, message: ShardMessage) -> Result<(), ShardMessage> {
        let Some((queue, work)) = self.queue(to, from) else {
            return Err(message);
        };
        let units = message.work().saturating_mul(self.cost(from, to)) / COST_BASE;
        // Counted before it can be taken.
        work.fetch_add(units, Ordering::Relaxed);
        queue.push(CountedMessage { units, message }).map_err(|queued| {
            work.fetch_sub(units, Ordering::Relaxed);
            queued.message
        })
    }

    /// Recent cost of the batches from one shard to another, for each [`COST_BASE`] units that the sender knew of.
    pub(crate) fn cost(&self, from: u16, to: u16) -> u64 {
        let inbox = self.inboxes.get(usize::from(to));
        let cost = inbox.and_then(|inbox| inbox.cost.get(usize::from(from)));
        cost.map_or(COST_BASE, |cost| cost.load(Ordering::Relaxed))
    }

    /// Records the cost of a batch from another shard, of which the sender knew of `known` units. A higher cost than
    /// before counts at once, a lower one gradually.
    pub(crate) fn note_cost(&self, shard: u16, from: u16, known: u64, spent: u64) {
        let inbox = self.inboxes.get(usize::from(shard));
        if let Some(cost) = inbox.and_then(|inbox| inbox.cost.get(usize::from(from))) {
            let before = cost.load(Ordering::Relaxed);
            let now = spent.saturating_mul(COST_BASE) / known.max(1);
            let now = now.clamp(COST_BASE, COST_MAX).max(before - before / 8);
            if now != before {
                cost.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Whether the next push succeeds and the batches in the queue are not too much work. Only the sender of the queue
    /// may rely on the answer.
    pub(crate) fn has_room(&self, from: u16, to: u16) -> bool {
        let has_room = |(queue, work): (&ArrayQueue<CountedMessage>, &AtomicU64)| {
            !queue.is_full() && (work.load(Ordering::Relaxed) < self.work_max || queue.is_empty())
        };
        self.queue(to, from).is_some_and(has_room) || self.is_gone(to)
    }

    /// The queue to a shard from another one, and the work in it.
    fn queue(&self, shard: u16, from: u16) -> Option<(&ArrayQueue<CountedMessage>, &AtomicU64)> {
        let inbox = self.inboxes.get(usize::from(shard))?;
        let from = usize::from(from);
        Some((inbox.messages.get(from)?, inbox.work.get(from)?))
    }

    /// The shard ends, and sends nothing more to others.
    pub(crate) fn leave(&self, shard: u16) {
        if let Some(inbox) = self.inboxes.get(usize::from(shard)) {
            inbox.has_left.store(true, Ordering::Release);
        }
        self.wake_all();
    }

    /// Whether all shards have stopped sending.
    pub(crate) fn all_left(&self) -> bool {
        let mut shards = self.inboxes.iter();
        shards.all(|inbox| inbox.has_left.load(Ordering::Acquire))
    }

    /// Records that the shard has ended, so that nothing is sent to it any more.
    pub(crate) fn end(&self, shard: u16) {
        if let Some(inbox) = self.inboxes.get(usize::from(shard)) {
            inbox.gone.store(true, Ordering::Release);
        }
        self.leave(shard);
    }

    fn is_gone(&self, shard: u16) -> bool {
        let inbox = self.inboxes.get(usize::from(shard));
        inbox.is_some_and(|inbox| inbox.gone.load(Ordering::Acquire))
    }

    /// Messages in the queue from another shard.
    pub(crate) fn waiting(&self, shard: u16, from: u16) -> usize {
        let inbox = self.inboxes.get(usize::from(shard));
        inbox
            .and_then(|inbox| inbox.messages.get(usize::from(from)))
            .map_or(0, ArrayQueue::len)
    }

    /// Messages in the queue from each shard to each other one, by their numbers.
    pub(crate) fn lengths(&self) -> Vec<(u16, u16, usize)> {
        let to_all = (0..).zip(&self.inboxes);
        let all = to_all.flat_map(|(to, inbox)| {
            let from_all = (0..).zip(&inbox.messages);
            from_all.map(move |(from, queue)| (from, to, queue.len()))
        });
        all.filter(|(from, to, _)| from != to).collect()
    }

    pub(crate) fn pop(&self, shard: u16, from: u16) -> Option<ShardMessage> {
        let (queue, work) = self.queue(shard, from)?;
        let CountedMessage { units, message } = queue.pop()?;
        work.fetch_sub(units, Ordering::Relaxed);
        Some(message)
    }

    /// Returns an emptied batch to the shard that filled it; if the return path is full, its memory is freed.
    pub(crate) fn give_back(&self, emptied_by: u16, owner: u16, batch: Batch) {
        if let Some(inbox) = self.inboxes.get(usize::from(owner))
            && let Some(queue) = inbox.returned.get(usize::from(emptied_by))
        {
            let _ = queue.push(batch);
        }
    }

    pub(crate) fn take_spare_batch(&self, owner: u16, emptied_by: u16) -> Option<Batch> {
        self.inboxes
            .get(usize::from(owner))?
            .returned
            .get(usize::from(emptied_by))?
            .pop()
    }

    /// The ring to wake, if that shard was asleep: only one sender gets it.
    pub(crate) fn wake_needed(&self, shard: u16) -> Option<&RingHandle> {
        let inbox = self.inboxes.get(usize::from(shard))?;
        let (handle, _) = inbox.ring.get()?;
        inbox.asleep.swap(false, Ordering::SeqCst).then_some(handle)
    }

    /// Whether `shard` may sleep: announces it to the others, then checks its queues once more.
    pub(crate) fn may_sleep(&self, shard: u16) -> bool {
        let Some(inbox) = self.inboxes.get(usize::from(shard)) else {
            return true;
        };
        inbox.asleep.store(true, Ordering::SeqCst);
        let empty = inbox.messages.iter().all(ArrayQueue::is_empty);
        if !empty {
            inbox.asleep.store(false, Ordering::SeqCst);
        }
        empty
    }

    pub(crate) fn awake(&self, shard: u16) {
        if let Some(inbox) = self.inboxes.get(usize::from(shard)) {
            inbox.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// Wakes a shard that is registered: for threads without a ring.
    pub(crate) fn wake(&self, shard: u16) {
        if let Some((_, waker)) = self
            .inboxes
            .get(usize::from(shard))
            .and_then(|inbox| inbox.ring.get())
        {
            waker.wake();
        }
    }

    /// Wakes every registered shard: for threads without a ring.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        for (_, waker) in self.inboxes.iter().filter_map(|inbox| inbox.ring.get()) {
            waker.wake();
        }
    }
}
