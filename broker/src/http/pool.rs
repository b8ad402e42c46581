//! A few threads behind a bounded queue, which run HTTP jobs.
//!
//! Invariants: adding a job never waits; a job that does not fit is refused.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::thread_priority::give_way_to_shards;

/// Threads of low priority that run jobs in order.
pub(super) struct Pool<J>(SyncSender<J>);

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `threads` threads of this name; `waiting_max` jobs may wait for them.
    pub(super) fn start(
        name: &str,
        threads: usize,
        waiting_max: usize,
        work: impl Fn(J) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(waiting_max);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads {
            let (waiting, work) = (Arc::clone(&waiting), work.clone());
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work_all(&waiting, &work))?;
        }
        Ok(Self(jobs))
    }

    /// Queues the job, or returns it if there is no room; never waits.
    ///
    /// # Errors
    /// There is no room; returns the job.
    pub(super) fn give(&self, job: J) -> Result<(), J> {
        self.0.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

fn work_all<J>(waiting: &Mutex<Receiver<J>>, work: &impl Fn(J)) {
    give_way_to_shards();
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        work(job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_beyond_the_bound_are_refused() {
        let (begun, has_begun) = channel();
        let (go, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let work = move |number: i32| {
            begun.send(number).unwrap();
            let _ended = wait.lock().unwrap().recv();
        };
        let pool = Pool::start("test", 1, 2, work).unwrap();
        assert!(pool.give(0).is_ok());
        assert_eq!(has_begun.recv(), Ok(0));
        assert!(pool.give(1).is_ok() && pool.give(2).is_ok());
        assert_eq!(pool.give(3), Err(3));
        drop(go);
        assert_eq!([has_begun.recv(), has_begun.recv()], [Ok(1), Ok(2)]);
    }
}
