//! Checks passwords outside the shards: a few threads of low priority behind a bounded, fair queue.
//!
//! Invariants: the queue is bounded in checks and bytes, and one address has at most half of it. Addresses take turns,
//! and so do the users of an address, so many checks from one do not delay others. Users that fail repeatedly wait for
//! their time, have at most every second turn, and have [`limits::SUSPECT_CHECKS_MAX`] places. A check that has waited
//! longer than its client waits, or whose connection is gone, is not computed. A thread looks for a known result
//! before it computes, and attempts with a password whose check is in progress wait for that result, so that many
//! clients of one user, or many attempts with one wrong password, cost one computation.
//!
//! A name that is not in the file costs no computation, so made-up names delay no user. This does not reveal which
//! users are in the file: a check of such a name passes through the queue, counts and waits like all others, and every
//! wrong password is answered at a fixed time (`wrong_answers.rs`): [`limits::WRONG_PASSWORD_NS`] after it came, or
//! the longest time that a check of that file has taken after its turn, whichever is later. What remains visible is
//! the load of a computation on others that wait in the queue, if there are so many that theirs is the later time.
//! there are so many that theirs is the later time.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::back_off::{BackOff, Source, UserAtAddress};
use super::password_check::PasswordCheck;
use super::wrong_answers::WrongAnswers;
use crate::limits;
use crate::thread_priority::give_way_to_shards;
use crate::time::Timestamp;

/// Why a check is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// There is no room, or none for the address.
    Full,
    /// Too many attempts of a claimant that failed often are waiting.
    TooManyTries,
}

/// The threads and their queue. Dropping it ends the threads after their current check.
#[derive(Debug)]
pub(super) struct PasswordChecks {
    shared: Arc<CheckState>,
}

#[derive(Debug)]
struct CheckState {
    queue: Mutex<CheckQueue>,
    filled: Condvar,
    wrong: WrongAnswers,
    back_off: Arc<BackOff>,
    now: fn() -> Timestamp,
}

#[derive(Debug, Default)]
struct CheckQueue {
    /// Each claimant is in `fresh`, `suspect` or `delayed`, once; it may have no check any more.
    claimants: HashMap<UserAtAddress, VecDeque<PasswordCheck>>,
    /// Attempts that are in progress, by claimant and digest, with those that wait for the same result.
    begun: HashMap<(UserAtAddress, u64), Vec<PasswordCheck>>,
    /// Number of waiting checks of each address.
    sources: HashMap<Source, usize>,
    fresh: Turns,
    /// Claimants that have failed often, and whose time has come.
    suspect: Turns,
    /// Claimants whose time has not come.
    delayed: BinaryHeap<Reverse<(Timestamp, UserAtAddress)>>,
    /// The last turn went to one of `suspect`.
    suspect_had_turn: bool,
    jobs: usize,
    bytes: usize,
    closed: bool,
}

/// Claimants in the order of their turns: addresses take turns, and so do the users of each address.
#[derive(Debug, Default)]
struct Turns {
    by_source: HashMap<Source, VecDeque<UserAtAddress>>,
    /// The next one is in front.
    sources: VecDeque<Source>,
}

impl PasswordChecks {
    /// Starts `threads` threads, which pass each answer to `answer`.
    pub(super) fn start(
        threads: usize,
        now: fn() -> Timestamp,
        back_off: Arc<BackOff>,
        answer: impl Fn(PasswordCheck, bool) + Send + Sync + 'static,
    ) -> std::io::Result<PasswordChecks> {
        let shared = Arc::new(CheckState {
            queue: Mutex::default(),
            filled: Condvar::new(),
            wrong: WrongAnswers::default(),
            back_off,
            now,
        });
        let answer = Arc::new(answer);
        let (answering, answer_wrong) = (Arc::clone(&shared), Arc::clone(&answer));
        std::thread::Builder::new()
            .name("wrong-password".to_owned())
            .spawn(move || {
                while let Some(job) = answering.wrong.next(now) {
                    answering.refuse(job, &*answer_wrong);
                }
            })?;
        for number in 0..threads.max(1) {
            let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || {
                    give_way_to_shards();
                    while let Some((job, known)) = shared.next() {
                        shared.decide(job, known, &*answer);
                    }
                })?;
        }
        Ok(PasswordChecks { shared })
    }

    /// Queues a check.
    ///
    /// # Errors
    /// The check is refused.
    pub(super) fn submit(&self, now: Timestamp, job: PasswordCheck) -> Result<(), NotQueued> {
        self.shared.lock().push(now, &self.shared.back_off, job)?;
        self.shared.filled.notify_one();
        Ok(())
    }
}

impl Drop for PasswordChecks {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        self.shared.wrong.close();
    }
}

impl CheckState {
    /// The next job, with its result if that is known; `None` when the queue is closed.
    fn next(&self) -> Option<(PasswordCheck, Option<bool>)> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            let now = (self.now)();
            if let Some(job) = queue.pop(now, &self.back_off) {
                return Some(job);
            }
            queue = match queue.next_time() {
                None => self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = Duration::from_nanos(at.since_ns(now).max(1_000_000));
                    let waited = self.filled.wait_timeout(queue, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Finds the result of a job. A right one is sent to its client and to all that wait for the same result; a wrong
    /// one waits for its time.
    fn decide(&self, job: PasswordCheck, known: Option<bool>, answer: &impl Fn(PasswordCheck, bool)) {
        if let Some(right) = known {
            return answer(job, right);
        }
        let turn = (self.now)();
        // The first check determines how long checks that are not computed appear to take.
        let is_computed = job.candidate.is_known() || job.file.check_ns() == 0;
        let right = is_computed && job.file.verify(job.candidate, &job.password);
        let now = (self.now)();
        if is_computed {
            job.file.took_ns(now.since_ns(turn));
        }
        if right {
            self.back_off.succeeded(now, job.claimant);
            let same = self.lock().take_same(job.claimant, job.digest);
            answer(job, true);
            for job in same {
                let right = job.file.remembers(job.candidate, &job.password);
                answer(job, right);
            }
            return;
        }
        let seems_computed = turn.plus_ns(job.file.check_ns());
        self.wrong.wait_until(seems_computed.max(job.wrong_at()), job);
    }

    /// Answers a wrong attempt, and queues the attempts that waited for the same result.
    fn refuse(&self, job: PasswordCheck, answer: &impl Fn(PasswordCheck, bool)) {
        if job.has_begun {
            self.back_off.was_wrong((self.now)(), job.claimant, job.digest);
            for same in self.lock().take_same(job.claimant, job.digest) {
                self.wrong.wait_until(same.wrong_at(), same);
            }
        }
        answer(job, false);
    }

    fn lock(&self) -> MutexGuard<'_, CheckQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckQueue {
    fn push(&mut self, now: Timestamp, back_off: &BackOff, job: PasswordCheck) -> Result<(), NotQueued> {
        let claimant = job.claimant;
        self.drop_unawaited(now, claimant);
        let bytes = self.bytes + job.password.len();
        let of_source = self.sources.get(&claimant.source).copied().unwrap_or_default();
        if self.jobs >= limits::PASSWORD_CHECKS_MAX
            || bytes > limits::PASSWORD_CHECK_BYTES_MAX
            || of_source >= limits::PASSWORD_CHECKS_MAX / 2
        {
            return Err(NotQueued::Full);
        }
        let waiting = self.claimants.get(&claimant).map_or(0, VecDeque::len);
        if waiting >= limits::SUSPECT_CHECKS_MAX && back_off.is_suspect(now, claimant) {
            return Err(NotQueued::TooManyTries);
        }
        let is_scheduled = self.claimants.contains_key(&claimant);
        self.claimants.entry(claimant).or_default().push_back(job);
        self.jobs += 1;
        self.bytes = bytes;
        *self.sources.entry(claimant.source).or_default() += 1;
        if !is_scheduled {
            self.schedule(now, back_off, claimant);
        }
        Ok(())
    }

    /// The next job whose time has come, with its result if that is known.
    fn pop(&mut self, now: Timestamp, back_off: &BackOff) -> Option<(PasswordCheck, Option<bool>)> {
        while let Some(&Reverse((at, claimant))) = self.delayed.peek() {
            if at > now {
                break;
            }
            self.delayed.pop();
            self.suspect.push(claimant);
        }
        loop {
            let claimant = self.next_claimant()?;
            self.drop_unawaited(now, claimant);
            // Another thread may have begun an attempt of it since it was queued.
            let must_wait = back_off.not_before(claimant) > now;
            let next = if must_wait {
                None
            } else {
                self.begin_first(now, back_off, claimant)
            };
            self.schedule(now, back_off, claimant);
            if next.is_some() {
                return next;
            }
        }
    }

    /// Takes the first check of a claimant, with its result if that is known; otherwise the attempt begins. `None` if
    /// there is no check, or if it waits for an attempt in progress.
    fn begin_first(
        &mut self,
        now: Timestamp,
        back_off: &BackOff,
        claimant: UserAtAddress,
    ) -> Option<(PasswordCheck, Option<bool>)> {
        let mut job = self.claimants.get_mut(&claimant)?.pop_front()?;
        let known = job.known_verdict(now, back_off);
        match self.begun.entry((claimant, job.digest)) {
            Entry::Occupied(same) if known.is_none() => {
                same.into_mut().push(job);
                return None;
            }
            Entry::Vacant(place) if known.is_none() => {
                place.insert(Vec::new());
                back_off.begins(now, claimant);
                job.has_begun = true;
            }
            _ => {}
        }
        self.forget(&job);
        Some((job, known))
    }

    /// The claimant whose turn it is: every second turn belongs to those that have not failed, if one of them waits.
    fn next_claimant(&mut self) -> Option<UserAtAddress> {
        let suspect_first = !self.suspect_had_turn;
        self.suspect_had_turn = suspect_first;
        let (first, second) = if suspect_first {
            (&mut self.suspect, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.suspect)
        };
        first.pop().or_else(|| second.pop())
    }

    /// Queues a claimant that is in no queue, if it has a check.
    fn schedule(&mut self, now: Timestamp, back_off: &BackOff, claimant: UserAtAddress) {
        if self.claimants.get(&claimant).is_none_or(VecDeque::is_empty) {
            self.claimants.remove(&claimant);
            return;
        }
        let at = back_off.not_before(claimant);
        if at > now {
            self.delayed.push(Reverse((at, claimant)));
        } else if back_off.is_suspect(now, claimant) {
            self.suspect.push(claimant);
        } else {
            self.fresh.push(claimant);
        }
    }

    /// When the next of the delayed claimants may be served.
    fn next_time(&self) -> Option<Timestamp> {
        self.delayed.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes a claimant's checks for which no client waits any more.
    fn drop_unawaited(&mut self, now: Timestamp, claimant: UserAtAddress) {
        while let Some(jobs) = self.claimants.get_mut(&claimant)
            && jobs.front().is_some_and(|job| !job.is_awaited(now))
            && let Some(job) = jobs.pop_front()
        {
            self.forget(&job);
        }
    }

    /// Takes out the checks that wait for the result of an attempt that has just been decided.
    fn take_same(&mut self, claimant: UserAtAddress, digest: u64) -> Vec<PasswordCheck> {
        let mut same = self.begun.remove(&(claimant, digest)).unwrap_or_default();
        if let Some(jobs) = self.claimants.get_mut(&claimant) {
            let (same_in_line, others) = std::mem::take(jobs)
                .into_iter()
                .partition(|job| job.digest == digest);
            *jobs = others;
            let same_in_line: VecDeque<PasswordCheck> = same_in_line;
            same.extend(same_in_line);
        }
        same.iter().for_each(|job| self.forget(job));
        same
    }

    /// A check leaves the queue.
    fn forget(&mut self, job: &PasswordCheck) {
        self.jobs -= 1;
        self.bytes -= job.password.len();
        let source = job.claimant.source;
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

impl Turns {
    fn push(&mut self, claimant: UserAtAddress) {
        let claimants = self.by_source.entry(claimant.source).or_default();
        if claimants.is_empty() {
            self.sources.push_back(claimant.source);
        }
        claimants.push_back(claimant);
    }

    fn pop(&mut self) -> Option<UserAtAddress> {
        let source = self.sources.pop_front()?;
        let claimants = self.by_source.get_mut(&source)?;
        let claimant = claimants.pop_front();
        if claimants.is_empty() {
            self.by_source.remove(&source);
        } else {
            self.sources.push_back(source);
        }
        claimant
    }
}

#[cfg(test)]
mod tests;
