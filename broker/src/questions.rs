//! Questions of operators on their way to the shards, and the answers back.
//!
//! Invariants: a shard never waits for an operator: without questions it checks one flag per turn, and it answers one
//! question per turn. Waiting questions are bounded, and so is the time that an operator waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits;
use crate::logic::operator::{Answer, Question};

/// The waiting questions of each shard.
pub(crate) struct Questions {
    shards: Vec<Waiting>,
    wake: Box<dyn Fn(u16) + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    /// Whether the queue has questions; checked without its lock.
    any: AtomicBool,
    queue: Mutex<VecDeque<WaitingQuestion>>,
}

/// A question that waits for its answer.
pub(crate) struct WaitingQuestion {
    pub(crate) question: Question,
    answer: SyncSender<Answer>,
}

impl WaitingQuestion {
    /// Sends the answer, if the one who asked still waits.
    pub(crate) fn answer(self, answer: Answer) {
        let _gone = self.answer.try_send(answer);
    }
}

impl Questions {
    /// `wake` makes a shard turn, also one that sleeps.
    pub(crate) fn new(shards: u16, wake: impl Fn(u16) + Send + Sync + 'static) -> Self {
        Self {
            shards: (0..shards).map(|_| Waiting::default()).collect(),
            wake: Box::new(wake),
        }
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Asks a shard and waits for its answer; `None` if there is none in time.
    pub(crate) fn ask(&self, shard: u16, question: Question) -> Option<Answer> {
        let waiting = self.shards.get(usize::from(shard))?;
        let (answer, answered) = sync_channel(1);
        let mut queue = waiting.lock();
        if queue.len() >= limits::QUESTIONS_WAITING_MAX {
            return None;
        }
        queue.push_back(WaitingQuestion { question, answer });
        drop(queue);
        waiting.any.store(true, Ordering::Release);
        (self.wake)(shard);
        answered
            .recv_timeout(Duration::from_nanos(limits::QUESTION_NS_MAX))
            .ok()
    }

    /// The next question for a shard.
    #[inline]
    pub(crate) fn next(&self, shard: u16) -> Option<WaitingQuestion> {
        if !self.are_waiting(shard) {
            return None;
        }
        let waiting = self.shards.get(usize::from(shard))?;
        let mut queue = waiting.lock();
        let next = queue.pop_front();
        waiting.any.store(!queue.is_empty(), Ordering::Release);
        next
    }

    /// Whether questions wait for a shard.
    #[inline]
    pub(crate) fn are_waiting(&self, shard: u16) -> bool {
        let waiting = self.shards.get(usize::from(shard));
        waiting.is_some_and(|waiting| waiting.any.load(Ordering::Acquire))
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, VecDeque<WaitingQuestion>> {
        // The state is consistent even after a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_question_is_answered_by_its_shard() {
        let questions = Arc::new(Questions::new(2, |_| {}));
        let asking = Arc::clone(&questions);
        let asker = std::thread::spawn(move || asking.ask(1, Question::DeleteRetained("a".into())));
        let asked = loop {
            assert!(questions.next(0).is_none());
            if let Some(asked) = questions.next(1) {
                break asked;
            }
            std::thread::yield_now();
        };
        assert!(!questions.are_waiting(1));
        assert!(matches!(&asked.question, Question::DeleteRetained(client) if **client == *"a"));
        asked.answer(Answer::Done(true));
        assert!(matches!(asker.join().unwrap(), Some(Answer::Done(true))));
        assert!(
            questions.ask(7, Question::DeleteRetained("a".into())).is_none(),
            "no such shard"
        );
    }
}
