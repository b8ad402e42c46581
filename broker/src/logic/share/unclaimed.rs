//! Messages of groups that had no member when they arrived: they wait for a turn, because a member may be announced by
//! batches that are on their way.
//!
//! Invariants: the messages of a group stay in order. So a walk over them that takes more than one turn keeps each
//! message that again finds no member at its place, and a message that arrives while older ones of its group wait is
//! queued behind them.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt::QoS;

use crate::limits;
use crate::logic::message::{Message, StoredMessage};
use crate::logic::share::Sharing;
use crate::logic::store::PublicationId;
use crate::logic::timer::Timer;

/// The messages, and the progress of a walk over them.
#[derive(Debug, Default)]
pub(in crate::logic) struct UnclaimedMessages {
    messages: Vec<Unclaimed>,
    /// Number of messages at the front that the current walk has tried.
    looked_at: usize,
    /// Number of messages of each group.
    counts: HashMap<Arc<str>, usize>,
    /// A timer is set, or a walk is in progress that will set one.
    is_timed: bool,
}

/// A message of a group that had no member.
#[derive(Debug)]
struct Unclaimed {
    group: Arc<str>,
    message: StoredMessage,
    /// Its number, if the store keeps it.
    publication: Option<PublicationId>,
}

impl UnclaimedMessages {
    pub(in crate::logic) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether a message of a group has to wait behind older ones.
    #[inline]
    pub(super) fn wait_for(&self, group: &str) -> bool {
        !self.counts.is_empty()
            && self.messages.len() < limits::UNCLAIMED_MAX
            && self.counts.contains_key(group)
    }

    fn push(&mut self, unclaimed: Unclaimed) {
        *self.counts.entry(Arc::clone(&unclaimed.group)).or_default() += 1;
        self.messages.push(unclaimed);
    }

    /// A message of a group is removed.
    fn forget(&mut self, group: &Arc<str>) {
        if let Some(count) = self.counts.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(group);
            }
        }
    }
}

impl Sharing<'_> {
    /// Messages that found no member have waited: those for which there still is none are dropped.
    pub(in crate::logic) fn place_unclaimed(&mut self) {
        let mut messages = std::mem::take(&mut self.unclaimed.messages);
        let mut waiting = messages.split_off(self.unclaimed.looked_at).into_iter();
        while !self.work.is_spent()
            && let Some(unclaimed) = waiting.next()
        {
            self.work.spend(limits::GROUP_WORK);
            self.unclaimed.forget(&unclaimed.group);
            let Unclaimed {
                group,
                message,
                publication,
            } = unclaimed;
            if self.routing.find_group(&group).is_some() {
                self.place_stored(&group, &message, publication);
            } else {
                self.delivery.begin_stored(&message);
                self.delivery.journal.begin(publication);
                self.delivery.note_delivered_to_all();
                self.delivery.drop_for_group(&group, message.topic());
            }
            // No member took it.
            messages.append(&mut self.unclaimed.messages);
        }
        let looked_at = messages.len();
        messages.extend(waiting);
        let is_over = looked_at == messages.len();
        let unclaimed = &mut *self.unclaimed;
        unclaimed.is_timed = !messages.is_empty();
        if unclaimed.is_timed {
            let delay_ns = u64::from(is_over);
            self.timers
                .set(self.delivery.now().plus_ns(delay_ns), Timer::Unclaimed);
        }
        unclaimed.looked_at = if is_over { 0 } else { looked_at };
        unclaimed.messages = messages;
    }

    /// No shard has a member: one may be announced by batches that are on their way.
    pub(super) fn keep_unclaimed(&mut self, group: Arc<str>, message: &Message<'_>) {
        if message.qos == QoS::AtMostOnce {
            return;
        }
        if self.unclaimed.len() >= limits::UNCLAIMED_MAX {
            self.delivery.drop_for_group(&group, message.topic);
            return;
        }
        if !std::mem::replace(&mut self.unclaimed.is_timed, true) {
            self.timers.set(self.delivery.now().plus_ns(1), Timer::Unclaimed);
        }
        let publication = self
            .delivery
            .publish_for_member(self.outboxes.index(), &group, message);
        let message = self.delivery.stored_copy(message);
        self.unclaimed.push(Unclaimed {
            group,
            message,
            publication,
        });
    }
}
