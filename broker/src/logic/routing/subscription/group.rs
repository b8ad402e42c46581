//! Groups of Shared Subscriptions: their members in this shard, and the member counts of the other shards.
//!
//! Invariants: the list of a group's members has three parts: ready, busy, and away. A session is in it once, at the
//! position that the session's own list has. A group is kept while any shard has a member. A shard announces its counts
//! whenever they change, so the counts of other shards are as old as the batches on their way. A member in the ready
//! part may turn out not to be ready: the code that picks it checks that, and moves it.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{FilterSlot, Position, Subscriber};
pub(in crate::logic) use crate::logic::ids::GroupSlot;
use crate::logic::ids::SessionSlot;
use crate::logic::slots::Slots;
use crate::logic::via::Via;
use crate::time::Timestamp;

/// Member counts of a group in a shard, as announced to the others. Each number includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberCounts {
    /// Members that accept a message at once, as far as is known.
    pub ready: u32,
    /// Members with a connection, ready or busy.
    pub connected: u32,
    /// Members, with or without a connection.
    pub all: u32,
    /// When the member connected that has been connected longest; [`Timestamp::NEVER`] if none is connected.
    pub oldest: Timestamp,
}

impl MemberCounts {
    pub(in crate::logic) const NONE: Self = Self {
        ready: 0,
        connected: 0,
        all: 0,
        oldest: Timestamp::NEVER,
    };

    pub(in crate::logic) fn of(&self, part: Part) -> u32 {
        match part {
            Part::Ready => self.ready,
            Part::Connected => self.connected,
            Part::All => self.all,
        }
    }
}

/// The members of a group among which a message is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Part {
    Ready,
    Connected,
    All,
}

/// The standing of a member: ready, busy or away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Standing {
    /// It accepts messages, as far as is known.
    Ready,
    /// It is connected, and messages would wait for it.
    Busy,
    /// It has a session but no connection.
    Away,
}

/// A session as a member of a group.
#[derive(Debug)]
pub(in crate::logic) struct Member {
    pub(in crate::logic) subscriber: Subscriber,
    pub(in crate::logic) via: Rc<Via>,
    /// When it was connected and in the group first.
    since: Timestamp,
}

/// All members that share one filter under one Share Name.
#[derive(Debug)]
pub(in crate::logic) struct Group {
    /// The whole text: `$share/{ShareName}/{filter}`.
    pub(in crate::logic) name: Arc<str>,
    filter: FilterSlot,
    members: Vec<Member>,
    /// The indices of the first busy member, and of the first that is away.
    ready: usize,
    connected: usize,
    /// The session that has been connected longest, and the time of its connection.
    oldest: Option<(Timestamp, SessionSlot)>,
    remote: Vec<(u16, MemberCounts)>,
    announced: MemberCounts,
    /// Counters of messages, for taking turns among shards and among the members here.
    shard_turn: u32,
    member_turn: u32,
}

/// A session was moved within its group: the session, the position of the group in its list, its new position.
pub(in crate::logic) type OnMoved<'a> = &'a mut dyn FnMut(&Member, Position);

impl Group {
    fn new(name: &str, filter: FilterSlot) -> Self {
        Self {
            name: name.into(),
            filter,
            members: Vec::new(),
            ready: 0,
            connected: 0,
            oldest: None,
            remote: Vec::new(),
            announced: MemberCounts::NONE,
            shard_turn: 0,
            member_turn: 0,
        }
    }

    pub(in crate::logic) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(in crate::logic) fn member(&self, position: Position) -> Option<&Member> {
        self.members.get(position.index())
    }

    pub(in crate::logic) fn member_mut(&mut self, position: Position) -> Option<&mut Member> {
        self.members.get_mut(position.index())
    }

    /// The counts of this shard's members.
    pub(in crate::logic) fn here(&self) -> MemberCounts {
        let count = |members: usize| u32::try_from(members).unwrap_or(u32::MAX);
        MemberCounts {
            ready: count(self.ready),
            connected: count(self.connected),
            all: count(self.members.len()),
            oldest: self.oldest.map_or(Timestamp::NEVER, |(since, _)| since),
        }
    }

    /// The counts of this shard's members, if they have changed since the last announcement.
    pub(in crate::logic) fn take_changed_counts(&mut self) -> Option<MemberCounts> {
        let here = self.here();
        let before = std::mem::replace(&mut self.announced, here);
        (before != here).then_some(here)
    }

    /// The counts announced by other shards, each with members.
    pub(in crate::logic) fn remote(&self) -> &[(u16, MemberCounts)] {
        &self.remote
    }

    /// The session that has been connected longest.
    pub(in crate::logic) fn oldest(&self) -> Option<SessionSlot> {
        self.oldest.map(|(_, session)| session)
    }

    /// Another shard announced its member counts.
    pub(in crate::logic) fn set_remote(&mut self, shard: u16, counts: MemberCounts) {
        self.remote.retain(|(other, _)| *other != shard);
        if counts.all > 0 {
            self.remote.push((shard, counts));
            self.remote.sort_unstable_by_key(|(shard, _)| *shard);
        }
    }

    /// The next one of the first `among`, in rotation over the whole broker.
    pub(in crate::logic) fn next_round_robin(&mut self, among: u32) -> u32 {
        self.shard_turn = self.shard_turn.wrapping_add(1);
        self.shard_turn.wrapping_sub(1) % among.max(1)
    }

    /// The position of the next member with a standing, in rotation; `None` if there are none.
    pub(in crate::logic) fn next(&mut self, standing: Standing) -> Option<Position> {
        let part = self.part(standing);
        let among = u32::try_from(part.len()).ok().filter(|&among| among > 0)?;
        let turn = self.member_turn % among;
        self.member_turn = self.member_turn.wrapping_add(1);
        Some(Position::from_index(part.start + turn as usize))
    }

    /// The number of this shard's members with a standing.
    pub(in crate::logic) fn count(&self, standing: Standing) -> usize {
        self.part(standing).len()
    }

    fn part(&self, standing: Standing) -> std::ops::Range<usize> {
        match standing {
            Standing::Ready => 0..self.ready,
            Standing::Busy => self.ready..self.connected,
            Standing::Away => self.connected..self.members.len(),
        }
    }

    pub(in crate::logic) fn standing(&self, position: Position) -> Standing {
        match position.index() {
            position if position < self.ready => Standing::Ready,
            position if position < self.connected => Standing::Busy,
            _ => Standing::Away,
        }
    }

    /// Adds a session that is not in the group, as away; returns its position.
    pub(in crate::logic) fn add(&mut self, subscriber: Subscriber, via: Rc<Via>) -> Position {
        self.members.push(Member {
            subscriber,
            via,
            since: Timestamp::NEVER,
        });
        Position::from_index(self.members.len() - 1)
    }

    /// Removes the member at a position; `moved` is called for members whose position changes.
    pub(in crate::logic) fn remove(&mut self, position: Position, moved: OnMoved<'_>) {
        let position = self.set_standing(Timestamp::NEVER, position, Standing::Away, moved);
        if position.index() < self.members.len() {
            self.members.swap_remove(position.index());
            if let Some(member) = self.member(position) {
                moved(member, position);
            }
        }
    }

    /// Moves a member to the part of its standing, in a fixed number of steps; returns its new position.
    pub(in crate::logic) fn set_standing(
        &mut self,
        now: Timestamp,
        position: Position,
        standing: Standing,
        moved: OnMoved<'_>,
    ) -> Position {
        let before = self.standing(position);
        let mut at = position.index();
        if before == Standing::Away && standing < Standing::Away {
            at = self.swap(at, self.connected, moved);
            self.connected += 1;
            self.member_connected(now, at);
        }
        if before > Standing::Ready && standing == Standing::Ready {
            at = self.swap(at, self.ready, moved);
            self.ready += 1;
        }
        if before == Standing::Ready && standing > Standing::Ready {
            self.ready -= 1;
            at = self.swap(at, self.ready, moved);
        }
        if before < Standing::Away && standing == Standing::Away {
            self.connected -= 1;
            at = self.swap(at, self.connected, moved);
            self.member_disconnected(at);
        }
        Position::from_index(at)
    }

    /// Swaps two members; returns the new position of the first.
    fn swap(&mut self, first: usize, second: usize, moved: OnMoved<'_>) -> usize {
        if first == second || first.max(second) >= self.members.len() {
            return first;
        }
        self.members.swap(first, second);
        for position in [first, second] {
            if let Some(member) = self.members.get(position) {
                moved(member, Position::from_index(position));
            }
        }
        second
    }

    fn member_connected(&mut self, now: Timestamp, at: usize) {
        if let Some(member) = self.members.get_mut(at) {
            member.since = now;
            self.oldest.get_or_insert((now, member.subscriber.session));
        }
    }

    fn member_disconnected(&mut self, at: usize) {
        let gone = self.members.get(at).map(|member| member.subscriber.session);
        if gone.is_some() && self.oldest() == gone {
            let connected = self.members.iter().take(self.connected);
            self.oldest = connected
                .map(|member| (member.since, member.subscriber.session))
                .min();
        }
    }
}

/// All groups of a shard.
#[derive(Debug)]
pub(in crate::logic) struct Groups {
    slots: Slots<GroupSlot, Group>,
    by_name: HashTable<GroupSlot>,
    hasher: FixedState,
}

impl Groups {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Slots::new(),
            by_name: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(in crate::logic) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(in crate::logic) fn get(&self, group: GroupSlot) -> Option<&Group> {
        self.slots.get(group)
    }

    #[inline]
    pub(in crate::logic) fn get_mut(&mut self, group: GroupSlot) -> Option<&mut Group> {
        self.slots.get_mut(group)
    }

    /// The group with that whole text.
    pub(in crate::logic) fn find(&self, name: &str) -> Option<GroupSlot> {
        let is_it = |&slot: &GroupSlot| self.get(slot).is_some_and(|group| &*group.name == name);
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    pub(super) fn insert(&mut self, name: &str, filter: FilterSlot) -> GroupSlot {
        let slot = self.slots.insert(Group::new(name, filter));
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |&slot: &GroupSlot| slots.get(slot).map_or(0, |group| hasher.hash_one(&*group.name));
        self.by_name.insert_unique(hasher.hash_one(name), slot, hash);
        slot
    }

    /// Removes a group without members in any shard; returns its filter.
    pub(super) fn remove_unused(&mut self, slot: GroupSlot) -> Option<FilterSlot> {
        let group = self.get(slot)?;
        if !group.members.is_empty() || !group.remote.is_empty() {
            return None;
        }
        let (hash, filter) = (self.hasher.hash_one(&*group.name), group.filter);
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        self.slots.remove(slot);
        Some(filter)
    }
}
