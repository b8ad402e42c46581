//! The output of SIGUSR2, as in mosquitto(8): the topics with subscriptions, and those with retained messages.
//!
//! Invariants: the shards are asked part by part, so none of them waits for another. The listed and logged topics are
//! bounded: above the bound only the number of the others is logged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits;
use crate::logic::operator::{Answer, ListPart, ListPlace, Question};
use crate::questions::Questions;

/// A node of the tree with subscriptions or a retained message.
#[derive(Debug, Default)]
struct TreeTopic {
    subscriptions: u64,
    is_retained: bool,
}

#[derive(Debug, Default)]
struct Tree {
    topics: BTreeMap<Box<str>, TreeTopic>,
    /// Entries whose topics exceed the bound.
    others: u64,
}

/// Asks all shards, and logs a line for each topic, in a separate thread so that the signal thread does not wait.
pub(super) fn log_by_itself(questions: Arc<Questions>) {
    let thread = std::thread::Builder::new().name("tree".to_owned());
    if let Err(error) = thread.spawn(move || log(&questions)) {
        tracing::warn!("Cannot start a thread to list subscriptions: {error}");
    }
}

fn log(questions: &Questions) {
    let mut tree = Tree::default();
    for shard in 0..questions.shards() {
        let subscriptions = |part| Question::Subscriptions { part, client: None };
        let retained = |part| Question::Retained {
            part,
            payloads: false,
        };
        if !tree.take_all(questions, shard, &subscriptions) || !tree.take_all(questions, shard, &retained) {
            tracing::warn!(
                "Shard {shard} did not answer: the list of its subscriptions and retained messages is incomplete."
            );
        }
    }
    tracing::info!("Subscriptions and retained messages by topic:");
    for (topic, found) in &tree.topics {
        let retained = if found.is_retained {
            ", a retained message"
        } else {
            ""
        };
        tracing::info!("  {topic}: {} subscriptions{retained}", found.subscriptions);
    }
    if tree.others > 0 {
        tracing::info!("  {} more entries, of other topics", tree.others);
    }
}

impl Tree {
    /// Takes the whole list of a shard; returns false if the shard did not answer.
    fn take_all(&mut self, questions: &Questions, shard: u16, ask: &dyn Fn(ListPart) -> Question) -> bool {
        let mut from = Some(ListPlace::default());
        while let Some(place) = from {
            let part = ListPart {
                from: place,
                entries_max: limits::LIST_PLACES_MAX,
            };
            from = match questions.ask(shard, ask(part)) {
                Some(Answer::Subscriptions(listed)) => {
                    for entry in listed.entries {
                        self.topic(entry.filter, |found| found.subscriptions += 1);
                    }
                    listed.next
                }
                Some(Answer::Retained(listed)) => {
                    for entry in listed.entries {
                        self.topic(entry.topic, |found| found.is_retained = true);
                    }
                    listed.next
                }
                _ => return false,
            };
        }
        true
    }

    fn topic(&mut self, topic: Box<str>, note: impl FnOnce(&mut TreeTopic)) {
        if self.topics.len() < limits::TREE_TOPICS_MAX || self.topics.contains_key(&topic) {
            note(self.topics.entry(topic).or_default());
        } else {
            self.others += 1;
        }
    }
}
