//! Frequent events that are logged once in a while with the number of occurrences.
//!
//! Invariants: there is at most one line in [`limits::SELDOM_LOGGED_NS`].

use std::sync::{Mutex, PoisonError};

use crate::limits;
use crate::time::Timestamp;

/// When something was last logged, and how often it has happened since.
#[derive(Debug, Default)]
pub(crate) struct SeldomLogged(Mutex<(Option<Timestamp>, u64)>);

impl SeldomLogged {
    /// Records an occurrence; if a line is due, returns the number of occurrences since the last line.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (logged, others) = &mut *state;
        if logged.is_some_and(|at| now.since_ns(at) < limits::SELDOM_LOGGED_NS) {
            *others += 1;
            return None;
        }
        *logged = Some(now);
        Some(std::mem::take(others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_and_the_others_are_counted() {
        let seldom = SeldomLogged::default();
        let at = |ns| seldom.due(Timestamp(ns));
        assert_eq!((at(5), at(6), at(7)), (Some(0), None, None));
        assert_eq!(at(5 + limits::SELDOM_LOGGED_NS), Some(2));
        assert_eq!(at(6 + limits::SELDOM_LOGGED_NS), None);
    }
}
