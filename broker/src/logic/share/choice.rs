//! Chooses the shard for a message of a group by the member counts that the shards announce.
//!
//! Invariant: ready members are chosen before busy ones, and busy ones before those that are away. Within each of
//! these parts, every member gets the same share of the messages that this shard's clients publish.

use crate::logic::routing::subscription::group::{Group, Part};
use crate::settings::SharedSubscriptionStrategy;

/// Where a message goes that was published here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Here,
    Shard(u16),
    Nobody,
}

/// Chooses for a message that was published here; `waits_away` if it would wait for a member without a connection.
pub(super) fn choose(
    group: &mut Group,
    here: u16,
    strategy: SharedSubscriptionStrategy,
    waits_away: bool,
) -> Choice {
    if group.remote().is_empty() {
        return Choice::Here;
    }
    if strategy == SharedSubscriptionStrategy::Sticky
        && let Some(shard) = shard_of_oldest(group, here)
    {
        return Choice::of(shard, here);
    }
    let parts = [Part::Ready, Part::Connected, Part::All];
    let parts = if waits_away { &parts[..] } else { &parts[..2] };
    let shard = parts
        .iter()
        .find_map(|&part| shard_in_turn(group, here, part, true));
    shard.map_or(Choice::Nobody, |shard| Choice::of(shard, here))
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

/// The shard of the next member in that part of the group, in rotation; among the other shards only, or including this
/// one.
pub(super) fn shard_in_turn(group: &mut Group, here: u16, part: Part, or_here: bool) -> Option<u16> {
    let own = if or_here { group.here().of(part) } else { 0 };
    let others = group.remote().iter().map(|(_, counts)| counts.of(part));
    let among = others.fold(own, u32::saturating_add);
    if among == 0 {
        return None;
    }
    let mut turn = group.next_round_robin(among);
    if turn < own {
        return Some(here);
    }
    turn -= own;
    for &(shard, counts) in group.remote() {
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
    let remote = group.remote().iter().copied();
    let all = remote.chain(std::iter::once((here, group.here())));
    let connected = all.filter(|(_, counts)| counts.connected > 0);
    let oldest = connected.min_by_key(|(shard, counts)| (counts.oldest, *shard));
    oldest.map(|(shard, _)| shard)
}
