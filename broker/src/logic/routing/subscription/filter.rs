//! A Topic Filter with its subscribers, groups and interested shards.
//!
//! Invariants: most filters have one session, which is stored in the filter itself, and need no memory beside their
//! text. A list that has become short releases its memory.

use super::{Position, Subscriber};
use crate::logic::routing::subscription::group::GroupSlot;
use crate::logic::slots::shrink_list;

#[derive(Debug)]
pub(in crate::logic) struct TopicFilter {
    pub(in crate::logic) name: Box<str>,
    wanted: SubscriberSet,
}

/// The subscribers of a filter.
#[derive(Debug)]
enum SubscriberSet {
    Nobody,
    /// One session and nothing else, without separate memory.
    Session(Subscriber),
    /// One other shard and no session.
    Shard(u16),
    Lists(Box<Lists>),
}

#[derive(Debug, Default)]
struct Lists {
    subscribers: Vec<Subscriber>,
    /// Other shards with an interest; only for filters with wildcards.
    shards: Vec<u16>,
    /// The groups of Shared Subscriptions with this filter.
    groups: Vec<GroupSlot>,
}

impl TopicFilter {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            wanted: SubscriberSet::Nobody,
        }
    }

    #[inline]
    pub(in crate::logic) fn subscribers(&self) -> &[Subscriber] {
        match &self.wanted {
            SubscriberSet::Session(subscriber) => std::slice::from_ref(subscriber),
            SubscriberSet::Lists(lists) => &lists.subscribers,
            SubscriberSet::Nobody | SubscriberSet::Shard(_) => &[],
        }
    }

    /// Other shards with an interest in a filter with wildcards.
    pub(in crate::logic) fn shards(&self) -> &[u16] {
        match &self.wanted {
            SubscriberSet::Shard(shard) => std::slice::from_ref(shard),
            SubscriberSet::Lists(lists) => &lists.shards,
            SubscriberSet::Nobody | SubscriberSet::Session(_) => &[],
        }
    }

    /// The groups of Shared Subscriptions with this filter.
    pub(in crate::logic) fn groups(&self) -> &[GroupSlot] {
        match &self.wanted {
            SubscriberSet::Lists(lists) => &lists.groups,
            _ => &[],
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.wanted, SubscriberSet::Nobody)
    }

    pub(super) fn subscriber_mut(&mut self, position: Position) -> Option<&mut Subscriber> {
        match &mut self.wanted {
            SubscriberSet::Session(subscriber) if position.index() == 0 => Some(subscriber),
            SubscriberSet::Lists(lists) => lists.subscribers.get_mut(position.index()),
            _ => None,
        }
    }

    /// Adds a session at the end of the list.
    pub(super) fn push(&mut self, subscriber: Subscriber) {
        if self.is_wanted() {
            self.change_lists(|lists| lists.subscribers.push(subscriber));
        } else {
            self.wanted = SubscriberSet::Session(subscriber);
        }
    }

    /// Removes the session at `position`; the last one takes its place. Returns whether there was one.
    pub(super) fn swap_remove(&mut self, position: Position) -> bool {
        let position = position.index();
        if position >= self.subscribers().len() {
            return false;
        }
        if matches!(self.wanted, SubscriberSet::Session(_)) {
            self.wanted = SubscriberSet::Nobody;
            return true;
        }
        self.change_lists(|lists| {
            lists.subscribers.swap_remove(position);
            shrink_list(&mut lists.subscribers);
        });
        true
    }

    pub(super) fn add_shard(&mut self, shard: u16) {
        if !self.shards().contains(&shard) {
            self.change_lists(|lists| lists.shards.push(shard));
        }
    }

    pub(super) fn remove_shard(&mut self, shard: u16) {
        self.change_lists(|lists| lists.shards.retain(|&other| other != shard));
    }

    pub(super) fn add_group(&mut self, group: GroupSlot) {
        self.change_lists(|lists| lists.groups.push(group));
    }

    pub(super) fn remove_group(&mut self, group: GroupSlot) {
        self.change_lists(|lists| lists.groups.retain(|&other| other != group));
    }

    /// Changes the lists, and keeps them only if they have more than one session or one shard.
    fn change_lists(&mut self, change: impl FnOnce(&mut Lists)) {
        let mut lists = match std::mem::replace(&mut self.wanted, SubscriberSet::Nobody) {
            SubscriberSet::Nobody => Box::default(),
            SubscriberSet::Session(subscriber) => Box::new(Lists {
                subscribers: vec![subscriber],
                ..Lists::default()
            }),
            SubscriberSet::Shard(shard) => Box::new(Lists {
                shards: vec![shard],
                ..Lists::default()
            }),
            SubscriberSet::Lists(lists) => lists,
        };
        change(&mut lists);
        let all = (
            lists.subscribers.as_slice(),
            lists.shards.as_slice(),
            lists.groups.as_slice(),
        );
        self.wanted = match all {
            ([], [], []) => SubscriberSet::Nobody,
            (&[subscriber], [], []) => SubscriberSet::Session(subscriber),
            ([], &[shard], []) => SubscriberSet::Shard(shard),
            _ => SubscriberSet::Lists(lists),
        };
    }
}

const _: () = assert!(
    size_of::<Option<TopicFilter>>() <= 32,
    "a filter is to stay small"
);

#[cfg(test)]
mod tests {
    use mqtt::QoS;
    use mqtt::packet::{RetainHandling, SubscriptionOptions};

    use super::*;
    use crate::logic::ids::SessionSlot;
    use crate::logic::routing::subscription::SessionPosition;

    fn subscriber(session: u32) -> Subscriber {
        let (session, listed_at) = (SessionSlot::test(session + 1), SessionPosition::from_index(0));
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        Subscriber::new(session, listed_at, options, None)
    }

    #[test]
    fn the_list_is_that_of_a_vector_whatever_comes_and_goes() {
        let (mut filter, mut list) = (TopicFilter::new("a"), Vec::new());
        let mut rng = fastrand::Rng::with_seed(1);
        for step in 0..10_000 {
            let at = rng.usize(0..4);
            match rng.u32(0..6) {
                0 | 1 if list.len() < 4 => {
                    filter.push(subscriber(step));
                    list.push(subscriber(step));
                }
                2 | 3 => {
                    let is_there = at < list.len();
                    assert_eq!(filter.swap_remove(Position::from_index(at)), is_there);
                    if is_there {
                        list.swap_remove(at);
                    }
                }
                4 => filter.add_shard(3),
                _ => filter.remove_shard(3),
            }
            assert_eq!(filter.subscribers(), list);
            assert_eq!(
                filter.subscriber_mut(Position::from_index(at)).copied(),
                list.get(at).copied()
            );
            assert_eq!(filter.is_wanted(), !list.is_empty() || filter.shards() == [3]);
            let has_lists = matches!(filter.wanted, SubscriberSet::Lists(_));
            assert_eq!(has_lists, list.len() + filter.shards().len() > 1);
        }
    }

    #[test]
    fn a_list_gives_its_memory_back() {
        let mut filter = TopicFilter::new("a");
        (0..1000).for_each(|session| filter.push(subscriber(session)));
        while filter.subscribers().len() > 2 {
            filter.swap_remove(Position::from_index(0));
            let SubscriberSet::Lists(lists) = &filter.wanted else {
                panic!("two are more than one");
            };
            assert!(lists.subscribers.capacity() <= 4 * lists.subscribers.len());
        }
    }
}
