//! A session in a route, or one that would be in it if its client had the right to read the topic.
//!
//! Invariants: none.

use mqtt::QoS;

use crate::logic::routing::subscription::Subscriber;
use crate::logic::session::SessionSlot;
use crate::logic::slots::slot_type;

slot_type! {
    /// The index, from 1, of a target's Subscription Identifiers in its route.
    pub(in crate::logic) struct ViaSlot
}

/// One session that gets the messages of a topic, with all of its matching subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Target {
    pub(in crate::logic) session: SessionSlot,
    /// Its Subscription Identifiers, if there are any.
    pub(in crate::logic) via: Option<ViaSlot>,
    /// The highest QoS of its subscriptions [MQTT-3.3.4-2].
    pub(in crate::logic) qos: QoS,
    pub(in crate::logic) no_local: bool,
    pub(in crate::logic) retain_as_published: bool,
}

impl Target {
    /// A session with all of its matching subscriptions.
    pub(super) fn new(session: SessionSlot, subscriptions: &[Subscriber], via: Option<ViaSlot>) -> Self {
        let all = || subscriptions.iter();
        Self {
            session,
            via,
            qos: all().map(|one| one.qos()).max().unwrap_or(QoS::AtMostOnce),
            no_local: all().all(|one| one.no_local()),
            retain_as_published: all().any(|one| one.retain_as_published()),
        }
    }
}
