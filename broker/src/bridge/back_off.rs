//! When a bridge connects again, and where to.
//!
//! Invariants: the wait lies between the base and the cap of `restart_timeout`. Each address has its turn before the
//! first one comes again.

use std::time::Duration;

use crate::bridge_settings::{BridgeSettings, RestartTimeout};

/// The waits between the tries of a bridge: decorrelated jitter, as in mosquitto.
#[derive(Debug)]
pub(super) struct RestartTimes {
    restart: RestartTimeout,
    last_s: u32,
}

impl RestartTimes {
    pub(super) fn new(restart: RestartTimeout) -> Self {
        Self {
            restart,
            last_s: restart.base_s,
        }
    }

    /// The next wait: from the base to three times the last one, at most the cap.
    pub(super) fn next(&mut self) -> Duration {
        let RestartTimeout { base_s, cap_s, .. } = self.restart;
        let high_s = self.last_s.saturating_mul(3).clamp(base_s, cap_s);
        self.last_s = fastrand::u32(base_s..=high_s);
        Duration::from_secs(u64::from(self.last_s))
    }

    /// A connection lasted so long.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= Duration::from_secs(u64::from(self.restart.stable_s)) {
            self.last_s = self.restart.base_s;
        }
    }
}

/// Whose turn it is among the addresses of a bridge.
#[derive(Debug, Default)]
pub(super) struct AddressTurn(usize);

impl AddressTurn {
    pub(super) fn index(&self) -> usize {
        self.0
    }

    /// The connection to the present one has failed or was lost.
    pub(super) fn failed(&mut self, settings: &BridgeSettings) {
        self.0 = (self.0 + 1) % settings.addresses.len().max(1);
    }

    /// The first one is there again.
    pub(super) fn back_to_first(&mut self) {
        self.0 = 0;
    }

    /// Whether the first address is better than the present one.
    pub(super) fn is_second_choice(&self, settings: &BridgeSettings) -> bool {
        self.0 != 0 && !settings.round_robin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_begin_again() {
        let restart = RestartTimeout {
            base_s: 2,
            cap_s: 20,
            stable_s: 30,
        };
        let mut back_off = RestartTimes::new(restart);
        let first = back_off.next();
        assert!((2..=6).contains(&first.as_secs()), "{first:?}");
        for _ in 0..100 {
            assert!((2..=20).contains(&back_off.next().as_secs()));
        }
        back_off.last_s = 20;
        back_off.lasted(Duration::from_secs(29));
        assert_eq!(back_off.last_s, 20);
        back_off.lasted(Duration::from_secs(30));
        assert_eq!(back_off.last_s, 2);
    }

    #[test]
    fn a_constant_is_always_the_same() {
        let restart = RestartTimeout {
            base_s: 7,
            cap_s: 7,
            stable_s: 0,
        };
        let mut back_off = RestartTimes::new(restart);
        assert!((0..10).all(|_| back_off.next() == Duration::from_secs(7)));
    }
}
