//! A session that a route leads to, or would lead to if its client might read the topic.
//!
//! Invariants: none.

use mqtt::QoS;

use crate::logic::routing::subscription::Subscriber;
use crate::logic::session::SessionSlot;
use crate::logic::slots::slot_type;

slot_type! {
    /// The place, from 1, of what a target's messages come by in the route that it is in.
    pub(in crate::logic) struct ViaSlot
}

/// One session that gets the messages of a topic, over all of its subscriptions that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Target {
    pub(in crate::logic) session: SessionSlot,
    /// Its Subscription Identifiers, if there are any.
    pub(in crate::logic) via: Option<ViaSlot>,
    /// The highest of its subscriptions [MQTT-3.3.4-2].
    pub(in crate::logic) qos: QoS,
    pub(in crate::logic) no_local: bool,
    pub(in crate::logic) retain_as_published: bool,
}

impl Target {
    /// A session with all of its subscriptions that match.
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
