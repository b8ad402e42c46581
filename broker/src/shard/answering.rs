//! Answers operators' questions.
//!
//! Invariants: one question per turn.

use super::ShardLoop;
use crate::logic::operator::Answer;

impl ShardLoop {
    /// Answers one question of an operator, if there is one.
    pub(super) fn answer_question(&mut self) {
        let Some(asked) = self.questions.next(self.exchange.shard()) else {
            // There is no question.
            return;
        };
        let mut answer = self.logic.operate(self.now, &asked.question);
        if let Answer::Sessions(listed) = &mut answer {
            // The logic does not know the addresses of clients.
            for entry in listed
                .entries
                .iter_mut()
                .filter_map(|entry| entry.connection.as_mut())
            {
                entry.address = self
                    .connections
                    .get(entry.id)
                    .map(|connection| connection.address);
            }
        }
        asked.answer(answer);
    }
}
