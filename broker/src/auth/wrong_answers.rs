//! Answers to wrong passwords, which are sent at fixed times that reveal nothing about the computation.
//!
//! Invariants: they are sent by a thread that computes nothing, in the order of their times. Their number is bounded;
//! with too many, the first one is sent before its time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::password_check::PasswordCheck;
use crate::limits;
use crate::time::Timestamp;

/// The answers that wait.
#[derive(Debug, Default)]
pub(super) struct WrongAnswers {
    waiting: Mutex<WaitingAnswers>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitingAnswers {
    /// The next one is on top.
    checks: BinaryHeap<WrongAnswer>,
    closed: bool,
}

#[derive(Debug)]
struct WrongAnswer {
    at: Timestamp,
    check: PasswordCheck,
}

impl WrongAnswers {
    /// Schedules the answer to the check for that time.
    pub(super) fn wait_until(&self, at: Timestamp, mut check: PasswordCheck) {
        check.password = Box::default();
        let mut waiting = self.lock();
        let is_next = waiting.checks.peek().is_none_or(|next| next.at > at);
        waiting.checks.push(WrongAnswer { at, check });
        if is_next || waiting.are_too_many() {
            self.changed.notify_one();
        }
    }

    /// Waits for the time of the next one; `None` when it is closed.
    pub(super) fn next(&self, now: fn() -> Timestamp) -> Option<PasswordCheck> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            let left_ns = waiting.checks.peek().map(|next| next.at.since_ns(now()));
            waiting = match left_ns {
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(left_ns) if left_ns > 0 && !waiting.are_too_many() => {
                    let waited = self.changed.wait_timeout(waiting, Duration::from_nanos(left_ns));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => return waiting.checks.pop().map(|next| next.check),
            };
        }
    }

    /// Ends the thread that takes them.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, WaitingAnswers> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingAnswers {
    fn are_too_many(&self) -> bool {
        self.checks.len() > limits::WRONG_ANSWERS_MAX
    }
}

/// The earlier one is the greater one, because a [`BinaryHeap`] has the greatest on top.
impl Ord for WrongAnswer {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for WrongAnswer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WrongAnswer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for WrongAnswer {}
