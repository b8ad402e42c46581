//! The Will Message of a connection.
//!
//! Invariant: a Will is published once, or is discarded by a DISCONNECT with reason 0x00 [MQTT-3.1.2-10]; in either
//! case it is removed. With a Will Delay Interval it stays with the session until the session ends or the interval is
//! over; a new connection of the session discards it [MQTT-3.1.3-9].

use crate::auth::acl::Access;
use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::session::{Session, Sessions};
use crate::logic::slots::Slot as _;

/// A Will that may be published.
#[derive(Debug)]
pub(in crate::logic) struct Will {
    /// With the QoS and RETAIN of the Will. Its expiry counts from its publication, so it is a separate field.
    pub(in crate::logic) message: StoredMessage,
    /// Will Delay Interval in seconds.
    pub(in crate::logic) delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub(in crate::logic) expiry_s: Option<u32>,
    /// The rights of the client, checked again when the Will is published.
    pub(in crate::logic) access: Access,
}

impl Session {
    pub(in crate::logic) fn will(&self) -> Option<&Will> {
        self.rare.as_ref()?.will.as_deref()
    }

    pub(in crate::logic) fn take_will(&mut self) -> Option<Box<Will>> {
        self.rare.as_mut()?.will.take()
    }

    pub(in crate::logic) fn set_will(&mut self, will: Option<Box<Will>>) {
        if will.is_some() || self.rare.is_some() {
            self.rare().will = will;
        }
    }
}

impl Sessions {
    /// The next Will, from that slot on, that is due when the broker ends: all are, except those with a delay that the
    /// store keeps. Visits a bounded number of sessions; also returns the last one, or `None` if there are no more.
    pub(in crate::logic) fn take_due_will(&mut self, from: u32) -> (Option<Box<Will>>, Option<u32>) {
        let is_due = |session: &Session| {
            let will = session.will();
            will.is_some_and(|will| {
                will.delay_s == 0 || !session.outlives_connection() || !session.is_stored()
            })
        };
        let (mut last, mut found) = (None, None);
        for (slot, session) in self.slots.iter_from(from).take(limits::SESSIONS_LOOKED_AT_MAX) {
            last = Some(slot.number().get());
            if is_due(session) {
                found = Some(slot);
                break;
            }
        }
        let will = self.get_mut(found).and_then(Session::take_will);
        (will, last)
    }
}
