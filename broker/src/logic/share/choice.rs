//! Which shard a message of a group goes to, by the counts that the shards told one another.
//!
//! Invariant: members that are ready come before those that are busy, and those before the ones that are away; in each part
//! every member has the same share of the messages of a shard's publishers.

use mqtt::QoS;

use crate::logic::Shard;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::subscription::group::{Group, GroupSlot, Part};
use crate::settings::SharedSubscriptionStrategy;

/// Where a message goes that is here first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Here,
    Shard(u16),
    Nobody,
}

impl Shard {
    /// To whom in the broker a message goes that is here first.
    pub(super) fn choose(&mut self, group: GroupSlot, qos: QoS) -> Choice {
        let (index, strategy) = (self.index, self.delivery.settings().shared_subscription_strategy);
        let waits_away = self.delivery.waits_away(qos);
        let Some(group) = self.routing.group_mut(group) else {
            unreachable_state("a group that is gone");
            return Choice::Nobody;
        };
        if group.elsewhere().is_empty() {
            return Choice::Here;
        }
        if strategy == SharedSubscriptionStrategy::Sticky
            && let Some(shard) = shard_of_oldest(group, index)
        {
            return Choice::of(shard, index);
        }
        let parts = [Part::Ready, Part::Connected, Part::All];
        let parts = if waits_away { &parts[..] } else { &parts[..2] };
        let shard = parts
            .iter()
            .find_map(|&part| shard_in_turn(group, index, part, true));
        shard.map_or(Choice::Nobody, |shard| Choice::of(shard, index))
    }
}

impl Choice {
    fn of(shard: u16, here: u16) -> Self {
        if shard == here {
            Self::Here
        } else {
            Self::Shard(shard)
        }
    }
}

/// The shard of the member whose turn it is in that part of the group; among the other shards alone, or this one too.
pub(super) fn shard_in_turn(group: &mut Group, here: u16, part: Part, or_here: bool) -> Option<u16> {
    let own = if or_here { group.here().of(part) } else { 0 };
    let others = group.elsewhere().iter().map(|(_, counts)| counts.of(part));
    let among = others.fold(own, u32::saturating_add);
    if among == 0 {
        return None;
    }
    let mut turn = group.next_of_all(among);
    if turn < own {
        return Some(here);
    }
    turn -= own;
    for &(shard, counts) in group.elsewhere() {
        let members = counts.of(part);
        if turn < members {
            return Some(shard);
        }
        turn -= members;
    }
    None
}

/// The shard of the member that has been connected longest.
fn shard_of_oldest(group: &Group, here: u16) -> Option<u16> {
    let elsewhere = group.elsewhere().iter().copied();
    let all = elsewhere.chain(std::iter::once((here, group.here())));
    let connected = all.filter(|(_, counts)| counts.connected > 0);
    let oldest = connected.min_by_key(|(shard, counts)| (counts.oldest, *shard));
    oldest.map(|(shard, _)| shard)
}
