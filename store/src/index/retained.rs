//! Which retained message of a topic stands.
//!
//! Shards append changes of one topic each for itself, so an older ticket may stand behind a newer one in the log.
//!
//! Invariants: the highest ticket stands, of equal ones the last. A cleared topic is kept until its record is
//! reclaimed, and once more if an older ticket came after it: else that one would stand after the next recovery.

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
    /// Its record is to be appended again: an older ticket lies behind it, or could still come.
    outlived: bool,
}

/// What a record changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It stands; the one before it lies here.
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
            outlived: cleared,
        };
        let Some(entry) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.into(), new);
            return Change::Stands(None);
        };
        if ticket < entry.ticket {
            entry.outlived = true;
            return Change::TooOld;
        }
        let is_copy = ticket == entry.ticket && cleared == entry.cleared;
        let old = std::mem::replace(entry, new);
        entry.outlived &= !is_copy;
        Change::Stands(Some(old.place))
    }

    pub(super) fn get(&self, topic: &str) -> Option<&RetainedEntry> {
        self.topics.get(topic)
    }

    /// Whether the record of a cleared topic is still needed when its segment is reclaimed; if not it is forgotten.
    pub(super) fn keep_cleared(&mut self, topic: &str) -> bool {
        let needed = self.topics.get(topic).is_some_and(|entry| entry.outlived);
        if !needed {
            self.topics.remove(topic);
        }
        needed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RetainedEntry)> {
        self.topics.iter().map(|(topic, entry)| (topic.as_ref(), entry))
    }
}
