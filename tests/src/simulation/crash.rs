//! The broker ends in some way and starts again: all that is left is what the disk has.
//!
//! Invariants: what the model is given is what the product's recovery took back.

use std::collections::{HashMap, HashSet};

use broker::logic::recover::{RecoveredState, RecoveredVia};
use broker::logic::store::WallClock;
use broker::logic::{StoredMessage, Timestamp, shard_counters};
use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;
use mqtt::property::PropertiesBuf;
use store::{ReadMessage, RecoveredReference, RecoveredSession};

use super::connection::Place;
use super::profile::chance;
use super::turn::{index_of, new_queues, new_shards};
use super::world::World;
use crate::model::{Checked, Kept, KeptContent, KeptMessage, KeptRetained, KeptSession, Moment};

impl World {
    /// Ends in the middle of something, and starts again after a while.
    pub(super) fn crash(&mut self) -> Checked {
        self.ran.crashes += 1;
        if chance(&mut self.rng, MIDDLE_PERCENT) {
            self.fail_in_the_middle();
        }
        self.start_again()
    }

    /// Goes down and starts, until a start comes to its end.
    pub(super) fn start_again(&mut self) -> Checked {
        loop {
            self.go_down();
            if chance(&mut self.rng, MIDDLE_PERCENT) {
                // The start does not come to its end either.
                let operations = self.rng.u64(1..60);
                if let Some(store) = &self.store {
                    store.disk.fail_after(operations, store::simulated::Fault::Stop);
                }
            }
            let started = self.start();
            if self.store.as_ref().is_some_and(|store| store.disk.is_off()) {
                continue;
            }
            match started {
                Err(what) => return Err(what),
                Ok(kept) => {
                    if let Some(store) = &self.store {
                        store.disk.clear_faults();
                    }
                    self.note(|| format!("all starts again with {kept:?}"));
                    let (now, cause) = (self.now.0, self.step);
                    return self.model.restart(&kept, Moment { now, cause });
                }
            }
        }
    }

    /// The program is killed, or the power is cut; some time passes.
    fn go_down(&mut self) {
        let cuts_power = self.rng.bool();
        if let Some(store) = &mut self.store {
            store.log = None;
            if cuts_power {
                store.disk.power_cut();
            } else {
                store.disk.kill();
            }
        }
        self.note(|| {
            if cuts_power {
                "the power is cut"
            } else {
                "it is killed"
            }
            .to_owned()
        });
        for connection in &mut self.connections {
            // Its client reads what is on its way, and then the end.
            connection.place = Place::Gone;
        }
        let shards = self.profile.shards;
        self.counters = shard_counters(index_of(shards));
        self.shards = new_shards(shards, &self.settings, &self.counters);
        self.queues = new_queues(shards);
        if self.rng.bool() {
            self.pass();
        }
    }
}

/// What the product took back, as the model has it; `unread` is what it left in the log.
pub(super) fn kept_of(
    state: &RecoveredState,
    unread: &HashMap<u64, Vec<ReadMessage>>,
    wall: WallClock,
) -> Checked<Kept> {
    // Of two of one client the newer one comes first, and the other one is about to end.
    let mut clients = HashSet::new();
    let sessions = state
        .sessions
        .iter()
        .filter(|session| clients.insert(&session.client_identifier));
    // One that was to end with its connection ends as the shards take it.
    let sessions = sessions.filter(|session| session.expiry_s > 0);
    let sessions = sessions.map(|session| {
        let unread = unread.get(&session.number);
        kept_session(
            session,
            unread.map(Vec::as_slice).unwrap_or_default(),
            state,
            wall,
        )
    });
    let retained = state.retained.iter().map(|message| KeptRetained {
        topic: message.topic().to_owned(),
        payload: message.payload().to_vec(),
        qos: message.qos(),
        expires: message.expires_at() != Timestamp::NEVER,
    });
    Ok(Kept {
        sessions: sessions.collect::<Checked<_>>()?,
        retained: retained.collect(),
    })
}

fn kept_session(
    session: &RecoveredSession,
    unread: &[ReadMessage],
    state: &RecoveredState,
    wall: WallClock,
) -> Checked<KeptSession> {
    let will = session.will.as_ref().map(|will| {
        let message = StoredMessage::from_store(&will.message, Default::default());
        let payload = message.map(|message| message.payload().to_vec());
        (payload.unwrap_or_default(), will.delay_s)
    });
    let subscriptions = session.subscriptions.iter().map(|subscription| {
        let options = SubscriptionOptions::from_byte(subscription.options).ok_or("options that are none")?;
        let identifier = Some(subscription.identifier).filter(|&identifier| identifier > 0);
        Ok((subscription.filter.clone(), options, identifier))
    });
    let read = session.references.iter().map(|reference| {
        let message = kept_message(reference, state)?;
        Ok((reference.order, message))
    });
    let mut messages = read.collect::<Checked<Vec<_>>>()?;
    for message in unread {
        messages.push((message.order, kept_unread(message, wall)?));
    }
    messages.sort_by_key(|(order, _)| *order);
    let ranges = session.rest.iter().map(|range| range.messages).sum::<u64>();
    if ranges != unread.len() as u64 {
        return Err(format!(
            "{:?} of {} has other messages: {unread:?}",
            session.rest, session.client_identifier
        ));
    }
    let mut received = session.received.clone();
    received.sort_unstable();
    Ok(KeptSession {
        client: session.client_identifier.clone(),
        expiry_s: session.expiry_s,
        away_ms: session
            .away_since_ms
            .map(|since| state.wall_ms.saturating_sub(since)),
        will,
        subscriptions: subscriptions.collect::<Checked<_>>()?,
        messages: messages.into_iter().map(|(_, message)| message).collect(),
        received,
    })
}

fn kept_message(reference: &RecoveredReference, state: &RecoveredState) -> Checked<KeptMessage> {
    let message = state
        .messages
        .get(&reference.publication)
        .filter(|_| !reference.released);
    if message.is_none() && !reference.released {
        return Err(format!("the message of {reference:?} is not there"));
    }
    let via = RecoveredVia::decode(&reference.via);
    Ok(KeptMessage {
        content: message.map(kept_content).transpose()?,
        qos: QoS::from_bits(reference.qos).ok_or("a QoS that is none")?,
        retain: reference.retain,
        identifiers: via.identifiers().collect(),
        share: via.share().map(str::to_owned),
        packet_identifier: reference.packet_identifier,
    })
}

fn kept_unread(read: &ReadMessage, wall: WallClock) -> Checked<KeptMessage> {
    let bytes = read.message.as_ref();
    let message = bytes.and_then(|bytes| StoredMessage::from_store(bytes, wall));
    let message = message.ok_or_else(|| format!("{read:?} cannot be read"))?;
    let via = RecoveredVia::decode(&read.via);
    Ok(KeptMessage {
        content: Some(kept_content(&message)?),
        qos: QoS::from_bits(read.qos).ok_or("a QoS that is none")?,
        retain: read.retain,
        identifiers: via.identifiers().collect(),
        share: via.share().map(str::to_owned),
        packet_identifier: None,
    })
}

fn kept_content(message: &StoredMessage) -> Checked<KeptContent> {
    let mut properties = PropertiesBuf::new();
    let pushed = properties.extend_raw(message.properties());
    pushed.map_err(|error| error.to_string())?;
    Ok(KeptContent {
        topic: message.topic().to_owned(),
        payload: message.payload().to_vec(),
        properties,
        expires_at: message.expires_at().0,
    })
}

/// Percent of the ends and starts that come in the middle of a write.
const MIDDLE_PERCENT: u32 = 30;
