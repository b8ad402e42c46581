//! Retained messages: which one a shard may hold for a topic.
//!
//! Each write knows which writes its shard knew; one that another one knew of is older. Those that did not know of one
//! another may be ordered either way, but in every shard the same way once all have arrived.

use std::collections::BTreeSet;
use std::rc::Rc;

use mqtt::packet::SubscriptionOptions;

use super::message::Message;
use super::session::{Entry, State};
use super::{Checked, Model, Moment, NEVER, SECOND_NS};

/// A change of a topic's retained message.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) message: Rc<Message>,
    shard: usize,
    number: u64,
    /// What its shard had of each shard.
    knows: Vec<u64>,
    expires_at: u64,
    /// The step at which the publisher read the acknowledgement.
    known_since: u64,
}

impl Write {
    fn knows(&self, older: &Write) -> bool {
        if self.shard == older.shard {
            self.number > older.number
        } else {
            self.knows[older.shard] >= older.number
        }
    }
}

impl Model {
    pub(super) fn write_retained(&mut self, shard: usize, number: u64, message: &Rc<Message>, at: Moment) {
        self.writes.push(Write {
            message: Rc::clone(message),
            shard,
            number,
            knows: self.arrived[shard].clone(),
            expires_at: message
                .expiry_s
                .map_or(NEVER, |s| at.now + u64::from(s) * SECOND_NS),
            known_since: NEVER,
        });
    }

    /// The publisher has read the acknowledgement of a retained message: who subscribes after that gets it.
    pub fn puback_read(&mut self, message: &Rc<Message>, step: u64) {
        for write in &mut self.writes {
            if Rc::ptr_eq(&write.message, message) {
                write.known_since = write.known_since.min(step);
            }
        }
    }

    /// Topics that ever had a retained message.
    #[must_use]
    pub fn retained_topics(&self) -> BTreeSet<String> {
        self.writes
            .iter()
            .map(|write| write.message.topic.clone())
            .collect()
    }

    /// The retained messages that a SUBSCRIBE asks for.
    pub(super) fn send_retained(
        &mut self,
        session: usize,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
        at: Moment,
    ) -> Checked {
        let shard = self.sessions[session].shard;
        let known: Vec<&Write> = self
            .writes
            .iter()
            .filter(|write| mqtt::topic::matches(filter, &write.message.topic))
            .filter(|write| write.shard == shard || self.arrived[shard][write.shard] >= write.number)
            .collect();
        self.check_known(shard, filter, at)?;
        let newest = |write: &Write| {
            let topic = &write.message.topic;
            !known
                .iter()
                .any(|other| other.message.topic == *topic && other.knows(write))
        };
        let candidates: Vec<&Write> = known.iter().copied().filter(|write| newest(write)).collect();
        let entries: Vec<Entry> = candidates
            .iter()
            .filter(|write| !write.message.payload.is_empty() && write.expires_at > at.now)
            .filter(|write| !options.no_local || write.message.publisher != self.sessions[session].client)
            .map(|write| {
                let topic = &write.message.topic;
                let rivals = candidates.iter().filter(|other| other.message.topic == *topic);
                Entry {
                    message: Rc::clone(&write.message),
                    qos: options.qos.min(write.message.qos),
                    state: State::Waiting,
                    received: 0,
                    retain: true,
                    identifiers: identifier.into_iter().collect(),
                    owed: rivals.count() == 1,
                    replay: true,
                    lenient: false,
                    expires_at: (write.expires_at, write.expires_at),
                }
            })
            .collect();
        for entry in entries {
            self.add(session, entry);
        }
        Ok(())
    }

    /// Whoever subscribes after a retained message was acknowledged finds it.
    fn check_known(&self, shard: usize, filter: &str, at: Moment) -> Checked {
        let missing = self.writes.iter().find(|write| {
            write.known_since < at.cause
                && write.shard != shard
                && self.arrived[shard][write.shard] < write.number
                && mqtt::topic::matches(filter, &write.message.topic)
        });
        match missing {
            Some(write) => Err(format!(
                "shard {shard} handles a SUBSCRIBE to {filter} that was sent after the acknowledgement of retained {:?} \
                 on {}, and does not know it",
                write.message.payload, write.message.topic
            )),
            None => Ok(()),
        }
    }
}
