//! Passwords are checked here, outside the shards: a few threads of low priority behind a bounded, fair queue.
//!
//! Invariants: the queue is bounded in checks and bytes, and one address holds at most half of it; addresses take
//! turns, so many from one do not keep others waiting; what waited longer than a client waits is not computed any more.
//! A thread looks at what is known before it computes, so that many clients of one user cost one computation.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::back_off::Source;
use super::password_file::{Candidate, PasswordFile};
use crate::limits;
use crate::thread_priority::give_way_to_shards;
use crate::time::Timestamp;

/// One check that waits: whose password, against which file, and who asked.
pub(super) struct PasswordCheck {
    pub(super) file: Arc<PasswordFile>,
    pub(super) candidate: Candidate,
    pub(super) password: Box<[u8]>,
    pub(super) source: Source,
    /// After that nobody waits for the answer.
    pub(super) deadline: Timestamp,
    /// Whom the answer goes to: see `Authentication::check`.
    pub(super) shard: u16,
    pub(super) ticket: u64,
    pub(super) generation: u64,
}

/// Without the password: it does not belong into logs.
impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck")
            .field("source", &self.source)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

/// The threads and their queue. Dropping it ends them after what they are at.
#[derive(Debug)]
pub(super) struct PasswordChecks {
    shared: Arc<CheckState>,
}

#[derive(Debug, Default)]
struct CheckState {
    queue: Mutex<CheckQueue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct CheckQueue {
    by_source: HashMap<Source, VecDeque<PasswordCheck>>,
    /// Sources with jobs, the next to be served in front.
    turns: VecDeque<Source>,
    jobs: usize,
    bytes: usize,
    closed: bool,
}

impl PasswordChecks {
    /// Starts `threads` threads; each answer is given to `answer` on one of them.
    pub(super) fn start(
        threads: usize,
        now: fn() -> Timestamp,
        answer: impl Fn(PasswordCheck, bool) + Send + Sync + 'static,
    ) -> std::io::Result<PasswordChecks> {
        let shared = Arc::new(CheckState::default());
        let answer = Arc::new(answer);
        for number in 0..threads.max(1) {
            let (shared, answer) = (Arc::clone(&shared), Arc::clone(&answer));
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || {
                    give_way_to_shards();
                    while let Some(job) = shared.next() {
                        if job.deadline <= now() {
                            continue;
                        }
                        let right = job.file.remembers(job.candidate, &job.password)
                            || job.file.verify(job.candidate, &job.password);
                        answer(job, right);
                    }
                })?;
        }
        Ok(PasswordChecks { shared })
    }

    /// Queues a check; false if there is no room.
    pub(super) fn submit(&self, job: PasswordCheck) -> bool {
        let taken = self.shared.lock().push(job);
        if taken {
            self.shared.filled.notify_one();
        }
        taken
    }
}

impl Drop for PasswordChecks {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
    }
}

impl CheckState {
    /// The next job; `None` when the verifier is gone.
    fn next(&self) -> Option<PasswordCheck> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, CheckQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckQueue {
    fn push(&mut self, job: PasswordCheck) -> bool {
        let bytes = self.bytes + job.password.len();
        if self.jobs >= limits::PASSWORD_CHECKS_MAX || bytes > limits::PASSWORD_CHECK_BYTES_MAX {
            return false;
        }
        let jobs = self.by_source.entry(job.source).or_default();
        if jobs.len() >= limits::PASSWORD_CHECKS_MAX / 2 {
            return false;
        }
        if jobs.is_empty() {
            self.turns.push_back(job.source);
        }
        jobs.push_back(job);
        self.jobs += 1;
        self.bytes = bytes;
        true
    }

    fn pop(&mut self) -> Option<PasswordCheck> {
        let source = self.turns.pop_front()?;
        let jobs = self.by_source.get_mut(&source)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.by_source.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        let job = job?;
        self.jobs -= 1;
        self.bytes -= job.password.len();
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;

    use super::*;

    fn job(file: &Arc<PasswordFile>, address: u32, ticket: u64) -> PasswordCheck {
        PasswordCheck {
            file: Arc::clone(file),
            candidate: file.find("ann"),
            password: Box::from(*b"pw"),
            source: Source::of(IpAddr::V4(Ipv4Addr::from(address))),
            deadline: Timestamp::NEVER,
            shard: 0,
            ticket,
            generation: 0,
        }
    }

    fn file() -> Arc<PasswordFile> {
        Arc::new(PasswordFile::parse(Path::new("p"), b"").unwrap())
    }

    /// V40: addresses take turns, and one cannot fill the queue.
    #[test]
    fn v40_the_queue_is_fair_and_bounded() {
        let (file, mut queue) = (file(), CheckQueue::default());
        let taken = (0..limits::PASSWORD_CHECKS_MAX as u64)
            .filter(|&n| queue.push(job(&file, 1, n)))
            .count();
        assert_eq!(taken, limits::PASSWORD_CHECKS_MAX / 2);
        assert!(queue.push(job(&file, 2, 1_000_000)));
        let order: Vec<u64> = (0..3).map(|_| queue.pop().unwrap().ticket).collect();
        assert_eq!(
            order,
            [0, 1_000_000, 1],
            "the second address waits for one check only"
        );
        for address in 3.. {
            if !queue.push(job(&file, address, 0)) {
                break;
            }
        }
        assert_eq!(queue.jobs, limits::PASSWORD_CHECKS_MAX);
        while queue.pop().is_some() {}
        assert!(queue.jobs == 0 && queue.bytes == 0 && queue.by_source.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn v40_queued_passwords_are_bounded_in_bytes() {
        let (file, mut queue) = (file(), CheckQueue::default());
        let large = |address| PasswordCheck {
            password: vec![0; limits::PASSWORD_CHECK_BYTES_MAX / 2].into(),
            ..job(&file, address, 0)
        };
        assert!(queue.push(large(1)) && queue.push(large(2)));
        assert!(!queue.push(job(&file, 3, 0)));
    }

    #[test]
    fn what_nobody_waits_for_is_not_computed() {
        let (sender, answers) = std::sync::mpsc::channel();
        let answer = move |job: PasswordCheck, right| sender.send((job.ticket, right)).unwrap();
        let now = || Timestamp(100);
        let verifier = PasswordChecks::start(1, now, answer).unwrap();
        let file = file();
        assert!(verifier.submit(PasswordCheck {
            deadline: Timestamp(100),
            ..job(&file, 1, 1)
        }));
        assert!(verifier.submit(PasswordCheck {
            deadline: Timestamp(101),
            ..job(&file, 1, 2)
        }));
        assert_eq!(answers.recv().unwrap(), (2, false));
        drop(verifier);
        assert!(answers.recv().is_err(), "the thread ended");
    }
}
