//! The cost of a message on a route, in units of work (see [`crate::turn::WorkBudget`]).
//!
//! Invariants: none.

use crate::limits;
use crate::logic::routing::Routing;
use crate::logic::routing::route::{Route, RouteSlot};

impl Route {
    /// Approximate cost for this shard of a message with this many bytes on the route, in units of work.
    #[inline]
    pub(in crate::logic) fn work(&self, bytes: usize) -> u64 {
        let sessions = self.sessions;
        sessions + sessions.saturating_mul(bytes as u64) / limits::COPIED_BYTES
    }

    /// Approximate cost of messages with this many bytes together that this shard delivers to its sessions and to
    /// groups.
    #[inline]
    pub(in crate::logic) fn work_with_groups(&self, messages: u32, bytes: usize) -> u64 {
        let shared = self.groups.len() as u64 * u64::from(messages);
        self.work(bytes) + shared * limits::GROUP_WORK
    }

    /// Approximate cost for another shard to find it, in nodes.
    #[inline]
    pub(in crate::logic) fn nodes(&self) -> u64 {
        u64::from(self.nodes)
    }

    /// Sessions of this shard that got the last run packet by packet, because they need another form of it.
    #[inline]
    pub(in crate::logic) fn one_by_one(&self) -> u32 {
        self.one_by_one
    }

    /// Bytes of messages that may be passed on together for this many units of work; `None` if it is of another topic.
    #[inline]
    pub(in crate::logic) fn run_bytes(&self, topic: &str, units: u64) -> Option<usize> {
        if *self.topic != *topic {
            return None;
        }
        let copies = self.sessions.max(1);
        let mut bytes = units.saturating_mul(limits::COPIED_BYTES) / copies;
        // Receivers that take each message separately: these sessions, and groups.
        let singly = u64::from(self.one_by_one) + self.groups.len() as u64;
        let one_by_one = units
            .saturating_mul(limits::PUBLISH_BYTES_MIN)
            .checked_div(singly);
        bytes = bytes.min(one_by_one.unwrap_or(u64::MAX));
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

impl Routing {
    /// Records how many sessions got a run packet by packet.
    #[cold]
    pub(in crate::logic) fn set_one_by_one(&mut self, route: RouteSlot, sessions: u32) {
        if let Some(route) = self.routes.slots.get_mut(route) {
            route.one_by_one = sessions;
        }
    }
}
