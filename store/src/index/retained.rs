//! Which retained message of a topic is valid.
//!
//! Each shard appends its changes of a topic independently, so an older ticket may come after a newer one in the log.
//!
//! Invariants: the highest ticket wins; of equal tickets, the last one. A cleared topic is kept until its record was
//! appended again several times without an older ticket arriving, because a late shard must not restore an older
//! message. A shard that appends a change after the log was written four times over since it drew its ticket would
//! break this.

use hashbrown::HashMap;

use super::Place;

#[derive(Debug, Default)]
pub(super) struct RetainedTopics {
    topics: HashMap<Box<str>, RetainedEntry, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RetainedEntry {
    pub(super) ticket: u64,
    pub(super) place: Place,
    pub(super) cleared: bool,
    /// How often its record was appended again since an older ticket arrived.
    copies: u8,
}

/// The effect of a record on the retained message of its topic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It is valid; this is the place of the previous one.
    Stands(Option<Place>),
    /// A newer one was there before.
    TooOld,
}

impl RetainedTopics {
    pub(super) fn apply(&mut self, ticket: u64, topic: &str, cleared: bool, place: Place) -> Change {
        let new = RetainedEntry {
            ticket,
            place,
            cleared,
            copies: 0,
        };
        let Some(entry) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.into(), new);
            return Change::Stands(None);
        };
        if ticket < entry.ticket {
            entry.copies = 0;
            return Change::TooOld;
        }
        let is_copy = ticket == entry.ticket && cleared == entry.cleared;
        let old = std::mem::replace(entry, new);
        if is_copy {
            entry.copies = old.copies.saturating_add(1);
        }
        Change::Stands(Some(old.place))
    }

    pub(super) fn get(&self, topic: &str) -> Option<&RetainedEntry> {
        self.topics.get(topic)
    }

    /// Whether the record of a cleared topic is still needed when its segment is reclaimed; if not, the topic is
    /// removed.
    pub(super) fn keep_cleared(&mut self, topic: &str) -> bool {
        let needed = self
            .topics
            .get(topic)
            .is_some_and(|entry| entry.copies < COPIES_OF_CLEARED);
        if !needed {
            self.topics.remove(topic);
        }
        needed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RetainedEntry)> {
        self.topics.iter().map(|(topic, entry)| (topic.as_ref(), entry))
    }
}

/// How often the record of a cleared topic is appended again.
const COPIES_OF_CLEARED: u8 = 4;
