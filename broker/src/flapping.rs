//! Clients that come and go: how often each has connected in the present window.
//!
//! Invariants: a client counts from its first connection on for the time of a window, then from its next one. What is
//! kept is bounded: above [`limits::FLAPPING_CLIENTS_MAX`] windows that are over are dropped, and where that frees
//! nothing newcomers are not counted.

use std::collections::HashMap;

use crate::limits;
use crate::settings::Flapping;
use crate::time::Timestamp;

/// The clients of a shard, by their identifiers.
#[derive(Debug, Default)]
pub(crate) struct FlappingClients(HashMap<Box<str>, Window>);

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    connects: u32,
}

impl FlappingClients {
    /// A client has connected; whether that was once too often.
    pub(crate) fn connected(&mut self, now: Timestamp, rule: Flapping, client: &str) -> bool {
        let is_over = |window: &Window| now.since_s(window.since) >= u64::from(rule.window_s);
        if self.0.len() >= limits::FLAPPING_CLIENTS_MAX && !self.0.contains_key(client) {
            self.0.retain(|_, window| !is_over(window));
            if self.0.len() >= limits::FLAPPING_CLIENTS_MAX {
                return false;
            }
        }
        let new = Window {
            since: now,
            connects: 0,
        };
        let window = self.0.entry(client.into()).or_insert(new);
        if is_over(window) {
            *window = new;
        }
        window.connects += 1;
        if window.connects <= rule.connects_max {
            return false;
        }
        self.0.remove(client);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_often_in_a_window_is_found() {
        let rule = Flapping {
            connects_max: 3,
            window_s: 10,
            ban_s: 60,
        };
        let mut clients = FlappingClients::default();
        let mut at = |second: u64, client| clients.connected(Timestamp(0).plus_s(second), rule, client);
        assert!(!at(0, "a") && !at(1, "a") && !at(2, "b") && !at(9, "a"));
        assert!(!at(10, "a"), "another window");
        assert!(!at(11, "a") && !at(12, "a"));
        assert!(at(13, "a"), "the fourth time");
        assert!(!at(13, "a"), "from the beginning again");
        assert!(!at(14, "b"));
    }
}
