//! The batches that wait for one other shard, and their expected cost.
//!
//! Invariant: `work` is the work of the batches in `full`, in the units that are counted here; `cost` converts it to
//! what the other shard is going to spend.

use std::collections::VecDeque;

use super::batch::Batch;

/// The batches that wait for one other shard.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) full: VecDeque<Batch>,
    pub(super) current: Batch,
    /// The shard asked to pause its publishers.
    pub(super) paused: bool,
    /// The work of the batches in `full`, in units.
    pub(super) work: u64,
    /// Publishers wait until it is empty.
    pub(super) was_full: bool,
    /// The cost of a batch for that shard, for each [`COST_BASE`] units of the work that is counted here.
    pub(super) cost: u64,
}

/// With this cost a batch takes the other shard as much work as is counted here, see `Outboxes::set_cost`.
pub const COST_BASE: u64 = 16;

/// The highest cost that is used: a batch then has few messages.
pub const COST_MAX: u64 = COST_BASE * 256;

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            full: VecDeque::new(),
            current: Batch::default(),
            paused: false,
            work: 0,
            was_full: false,
            cost: COST_BASE,
        }
    }

    /// The cost of this many units for the shard that takes them.
    #[inline]
    pub(super) fn costs(&self, units: u64) -> u64 {
        units.saturating_mul(self.cost) / COST_BASE
    }

    pub(super) fn len(&self) -> usize {
        self.full.len() + usize::from(!self.current.is_empty())
    }

    /// Frees the memory of an empty batch.
    pub(super) fn drop_spare(&mut self) {
        if self.current.is_empty() {
            self.current = Batch::default();
        }
    }

    /// The batch that takes the next record.
    #[inline]
    pub(super) fn open(&mut self, batch_bytes: usize, batch_work: u64, spare: &mut Vec<Batch>) -> &mut Batch {
        let is_full = if self.cost == COST_BASE {
            self.current.is_full(batch_bytes, batch_work)
        } else {
            self.current
                .is_full(batch_bytes, batch_work * COST_BASE / self.cost)
        };
        if is_full {
            let next = spare.pop().unwrap_or_default();
            self.work += self.current.work();
            self.full.push_back(std::mem::replace(&mut self.current, next));
        }
        &mut self.current
    }

    pub(super) fn pop(&mut self, spare: &mut Vec<Batch>) -> Option<Batch> {
        if let Some(batch) = self.full.pop_front() {
            self.work -= batch.work();
            return Some(batch);
        }
        if self.current.is_empty() {
            return None;
        }
        let next = spare.pop().unwrap_or_default();
        Some(std::mem::replace(&mut self.current, next))
    }
}
