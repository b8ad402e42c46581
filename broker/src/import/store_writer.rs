//! Writes the content of a file of mosquitto into a new store.
//!
//! Invariants: a message and its references are in one batch. Sessions come first, then their subscriptions, then
//! messages in the order of their numbers. A message that mosquitto had acknowledged by PUBREC and not yet published
//! is routed by the first start, because this broker publishes at PUBREC.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use mqtt::packet::SubscriptionOptions;
use mqtt::{QoS, topic};
use store::{Log, Record, Reference, ReferenceList, Session, ShardList, ShardLog, StoreError};

use super::mosquitto_db::{BaseMessage, ClientMessage, Database, DeliveryStage};
use crate::logic::recover::RecoveredVia;
use crate::logic::{ForeignMessage, subscription_identifiers};

/// How much was written, and how much was omitted because it is not valid here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) received: u64,
    pub(super) retained: u64,
    pub(super) left_out: u64,
    /// Sessions that any user may resume, because their owner is not known.
    pub(super) doubtful_users: u64,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            subscriptions,
            queued,
            in_flight,
            received,
            retained,
            left_out,
            doubtful_users,
        } = self;
        write!(
            f,
            "{sessions} sessions, {subscriptions} subscriptions, {queued} queued messages, {in_flight} \
            messages in flight to clients, {received} of QoS 2 from clients, and {retained} retained \
            messages were imported; {left_out} entries were omitted"
        )?;
        if *doubtful_users > 0 {
            write!(
                f,
                "; {doubtful_users} sessions may be resumed by any user, because mosquitto 2.0 writes the \
                user of the previous client for a client without one"
            )?;
        }
        Ok(())
    }
}

/// A session that is written, with the next position in its queue.
#[derive(Debug)]
struct Numbered {
    number: u64,
    next_order: u64,
}

/// A delivery that is written with its message.
#[derive(Debug)]
struct Referred<'a> {
    session: u64,
    order: u64,
    via: Vec<u8>,
    delivery: &'a ClientMessage<'a>,
}

/// Writes the content, and returns how much it was.
pub(super) fn write(database: &Database<'_>, keeps_users: bool, log: &mut Log) -> Result<Taken, StoreError> {
    let mut writer = Writer {
        shard: log.shard(0),
        log,
        pending: 0,
        publications: 0,
        taken: Taken {
            left_out: database.unknown_chunks,
            doubtful_users: if keeps_users { database.doubtful_users } else { 0 },
            ..Taken::default()
        },
    };
    let mut sessions = writer.sessions(database, keeps_users)?;
    writer.subscriptions(database, &sessions)?;
    writer.deliveries(database, &mut sessions)?;
    writer.retained(database)?;
    writer.flush()?;
    Ok(writer.taken)
}

struct Writer<'l> {
    shard: ShardLog,
    log: &'l mut Log,
    /// Bytes of messages since the last batch.
    pending: usize,
    publications: u64,
    taken: Taken,
}

impl Writer<'_> {
    fn sessions<'a>(
        &mut self,
        database: &Database<'a>,
        keeps_users: bool,
    ) -> Result<HashMap<&'a str, Numbered>, StoreError> {
        let mut sessions = HashMap::new();
        for client in &database.clients {
            let number = sessions.len() as u64 + 1;
            let is_one = client.expiry_s > 0 && !client.client_identifier.is_empty();
            if !is_one || sessions.contains_key(client.client_identifier) {
                self.taken.left_out += 1;
                continue;
            }
            let away_since_s = client.expires_at_s.checked_sub(client.expiry_s.into());
            let expires = client.expires_at_s > 0 && client.expiry_s != u32::MAX;
            self.shard.append(&Record::Session(Session {
                number,
                client_identifier: client.client_identifier,
                user: Some(client.user).filter(|user| keeps_users && !user.is_empty()),
                expiry_s: client.expiry_s,
                away_since_ms: away_since_s
                    .filter(|_| expires)
                    .map(|since| since.saturating_mul(1000)),
                will: None,
            }));
            let numbered = Numbered {
                number,
                next_order: 1,
            };
            sessions.insert(client.client_identifier, numbered);
            self.taken.sessions += 1;
            self.written(RECORD_BYTES)?;
        }
        Ok(sessions)
    }

    fn subscriptions(
        &mut self,
        database: &Database<'_>,
        sessions: &HashMap<&str, Numbered>,
    ) -> Result<(), StoreError> {
        for subscription in &database.subscriptions {
            let filter = subscription.filter;
            let is_one = SubscriptionOptions::from_byte(subscription.options).is_some()
                && topic::check_filter(filter).is_ok()
                && topic::shared(filter).is_ok();
            let session = sessions.get(subscription.client_identifier).filter(|_| is_one);
            let Some(session) = session else {
                self.taken.left_out += 1;
                continue;
            };
            self.shard.append(&Record::Subscribed {
                session: session.number,
                filter,
                options: subscription.options,
                identifier: subscription.identifier,
            });
            self.taken.subscriptions += 1;
            self.written(RECORD_BYTES)?;
        }
        Ok(())
    }

    /// The messages that clients are to get or have sent.
    fn deliveries(
        &mut self,
        database: &Database<'_>,
        sessions: &mut HashMap<&str, Numbered>,
    ) -> Result<(), StoreError> {
        let mut outgoing: BTreeMap<u64, Vec<Referred<'_>>> = BTreeMap::new();
        let mut incoming = Vec::new();
        for delivery in &database.deliveries {
            let Some(session) = sessions.get_mut(delivery.client_identifier) else {
                self.taken.left_out += 1;
                continue;
            };
            match delivery.stage {
                DeliveryStage::Waits | DeliveryStage::Sent | DeliveryStage::Released => {
                    let mut via = RecoveredVia::default();
                    subscription_identifiers(delivery.properties).for_each(|identifier| via.add(identifier));
                    let order = session.next_order;
                    session.next_order += 1;
                    outgoing.entry(delivery.message).or_default().push(Referred {
                        session: session.number,
                        order,
                        via: via.encode(""),
                        delivery,
                    });
                }
                DeliveryStage::Received => incoming.push((session.number, delivery)),
                // The client sends it again.
                DeliveryStage::Unacknowledged => {}
            }
        }
        for (number, referred) in outgoing {
            self.outgoing(database.messages.get(&number), &referred)?;
        }
        for (session, delivery) in incoming {
            self.incoming(session, delivery, database.messages.get(&delivery.message))?;
        }
        Ok(())
    }

    fn outgoing(
        &mut self,
        message: Option<&BaseMessage<'_>>,
        referred: &[Referred<'_>],
    ) -> Result<(), StoreError> {
        let Some(bytes) = message.and_then(|message| encode(message, message.retain)) else {
            self.taken.left_out += referred.len() as u64;
            return Ok(());
        };
        let publication = self.publish(&bytes, &[]);
        let references: Vec<_> = referred
            .iter()
            .map(|referred| Reference {
                session: referred.session,
                order: referred.order,
                qos: referred.delivery.qos.min(2),
                retain: referred.delivery.retain,
                via: &referred.via,
            })
            .collect();
        self.shard.append(&Record::References {
            publication,
            shard: 0,
            references: ReferenceList::Slice(&references),
            mark: true,
        });
        for Referred {
            session,
            order,
            delivery,
            ..
        } in referred
        {
            let is_sent = delivery.stage != DeliveryStage::Waits && delivery.packet_identifier > 0;
            if is_sent {
                self.shard.append(&Record::InFlight {
                    session: *session,
                    order: *order,
                    packet_identifier: delivery.packet_identifier,
                    released: delivery.stage == DeliveryStage::Released,
                });
            }
            self.taken.in_flight += u64::from(is_sent);
            self.taken.queued += u64::from(!is_sent);
        }
        self.written(bytes.len())
    }

    /// A message that waits for the PUBREL of its publisher: it is published now, and not again.
    fn incoming(
        &mut self,
        session: u64,
        delivery: &ClientMessage<'_>,
        message: Option<&BaseMessage<'_>>,
    ) -> Result<(), StoreError> {
        let bytes = message.and_then(|message| encode(message, message.retain));
        let Some((message, bytes)) = message.zip(bytes).filter(|_| delivery.packet_identifier > 0) else {
            self.taken.left_out += 1;
            return Ok(());
        };
        self.publish(&bytes, &[0]);
        if message.retain {
            self.retain(message);
        }
        self.shard.append(&Record::Received {
            session,
            packet_identifier: delivery.packet_identifier,
        });
        self.taken.received += 1;
        self.written(bytes.len())
    }

    fn retained(&mut self, database: &Database<'_>) -> Result<(), StoreError> {
        // The last message of a topic is the retained one.
        let mut numbers = database.retained.clone();
        numbers.sort_unstable();
        for number in numbers {
            let message = database.messages.get(&number);
            let message = message.filter(|message| !message.topic.starts_with("$SYS/"));
            let bytes = message.map(|message| self.retain(message)).unwrap_or_default();
            if bytes == 0 {
                self.taken.left_out += 1;
            } else {
                self.taken.retained += 1;
                self.written(bytes)?;
            }
        }
        Ok(())
    }

    /// Sets a retained message; returns its bytes, or 0 if it is not one.
    fn retain(&mut self, message: &BaseMessage<'_>) -> usize {
        let Some(bytes) = encode(message, true) else {
            return 0;
        };
        self.publications += 1;
        self.shard.append(&Record::Retained {
            ticket: self.publications,
            topic: message.topic,
            message: if message.payload.is_empty() { &[] } else { &bytes },
        });
        bytes.len()
    }

    fn publish(&mut self, message: &[u8], shards: &[u16]) -> u64 {
        self.publications += 1;
        self.shard.append(&Record::Publication {
            id: self.publications,
            shards: ShardList::Numbers(shards),
            share: "",
            message,
        });
        self.publications
    }

    /// Counts appended bytes and, from time to time, writes them.
    fn written(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.pending += bytes + RECORD_BYTES;
        if self.pending < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.pending = 0;
        self.shard.submit();
        self.log.step().map(|_| ())
    }
}

fn encode(message: &BaseMessage<'_>, retain: bool) -> Option<Vec<u8>> {
    let foreign = ForeignMessage {
        topic: message.topic,
        qos: QoS::from_bits(message.qos)?,
        retain,
        properties: message.properties,
        payload: message.payload,
        publisher: message.publisher,
        expires_at_ms: (message.expires_at_s > 0).then(|| message.expires_at_s.saturating_mul(1000)),
    };
    foreign.encode_for_store()
}

/// Bytes of messages in one batch.
const BATCH_BYTES: usize = 1 << 20;
/// Approximate bytes of a record beside its message.
const RECORD_BYTES: usize = 100;
