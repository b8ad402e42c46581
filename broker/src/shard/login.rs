//! From CONNECT to the home shard: who the client is, as far as user name and password tell; with an Authentication Method
//! `challenge.rs` finds it out.
//!
//! Invariants: a connection leaves for its home with a verdict, so nothing of a session is touched before. While the
//! password is checked elsewhere nothing is received on the connection, and its time from accept runs on.

use mqtt::packet::Connect;
use mqtt::{decode, frame};

use super::ShardLoop;
use super::token::Place;
use crate::auth::{Check, Credentials, Verdict};
use crate::limits;

impl ShardLoop {
    /// Asks who the client is; goes on at once if that can be said at once.
    pub(super) fn authenticate(&mut self, place: Place) {
        let Some(greeting) = self.greetings.get(place) else {
            return;
        };
        let Some(connect) = connect(&greeting.plain) else {
            return self.find_home(place, Verdict::Unproved);
        };
        if greeting.challenged.is_some() {
            return self.answered(place);
        }
        if connect.properties.authentication_method().is_some() {
            return self.challenge(place);
        }
        let request = Credentials {
            listener: greeting.listener,
            address: greeting.address.ip(),
            user_name: connect.user_name,
            password: connect.password,
        };
        let check = self
            .authentication
            .check(self.now, &request, self.index, ticket(place));
        greeting.is_being_checked = check == Check::Pending;
        if let Check::Decided(verdict) = check {
            self.find_home(place, verdict);
        }
    }

    /// Something outside the shards is ready: answers, or other rules.
    pub(super) fn woken(&mut self) {
        while let Some(answer) = self.authentication.next_answer(self.index) {
            let place = place(answer.ticket);
            match answer.verdict {
                Some(verdict) => self.find_home(place, verdict),
                None => self.authenticate(place),
            }
        }
        if self.authentication.generation() != self.policy_generation {
            self.take_policy();
        }
    }

    /// Gives the logic the rules that are in effect.
    pub(super) fn take_policy(&mut self) {
        let policy = self.authentication.policy();
        self.policy_generation = policy.generation();
        self.logic.set_policy(self.now, policy);
    }
}

/// The CONNECT at the front of the bytes, if it is whole and right.
pub(super) fn connect(plain: &[u8]) -> Option<Connect<'_>> {
    let frame = frame::split(plain, limits::CONNECT_BYTES_MAX).ok()??;
    decode::connect(&frame).ok()
}

fn ticket(place: Place) -> u64 {
    u64::from(place.generation) << 32 | u64::from(place.slot)
}

fn place(ticket: u64) -> Place {
    Place {
        slot: ticket as u32,
        generation: (ticket >> 32) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_name_places() {
        for (slot, generation) in [(0, 0), (7, 3), (u32::MAX, u32::MAX)] {
            let there = Place { slot, generation };
            assert_eq!(place(ticket(there)), there);
        }
    }
}
