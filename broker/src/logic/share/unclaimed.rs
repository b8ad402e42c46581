//! Messages of groups that had no member when they came: they wait for a turn, as one may come by what is on its way.
//!
//! Invariants: the messages of a group stay in their order. So a walk over them that takes more than one turn keeps
//! each that finds nobody again at its place, and a message that comes while older ones of its group wait stands behind
//! them.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt::QoS;

use crate::limits;
use crate::logic::message::{Message, StoredMessage};
use crate::logic::share::Sharing;
use crate::logic::store::PublicationId;
use crate::logic::timer::Timer;

/// The messages, and how far a walk over them is.
#[derive(Debug, Default)]
pub(in crate::logic) struct UnclaimedMessages {
    messages: Vec<Unclaimed>,
    /// So many of the first ones had their turn in the present walk.
    looked_at: usize,
    /// How many there are of each group.
    counts: HashMap<Arc<str>, usize>,
    /// A timer is set, or a walk goes on that will set one.
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

    /// One of a group is taken out.
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
    /// Messages that found no member have waited: those for whom nobody has come are dropped.
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
            // Nobody took it again.
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

    /// No shard has a member: one may come by what is on its way.
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
