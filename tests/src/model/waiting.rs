//! Which delivery a new PUBLISH is.
//!
//! Invariants: none.

use mqtt::packet::Publish;
use mqtt::property::Property;
use mqtt::{ProtocolVersion, QoS};

use super::assign::Seen;
use super::session::{Entry, State};
use super::{Checked, Model, NEVER, SECOND_NS};

impl Model {
    /// The delivery that a PUBLISH is; what it overtook must not have been owed. It may be something else than what
    /// waits, or it may not.
    pub(super) fn take_waiting(
        &mut self,
        number: usize,
        seen: Seen<'_>,
        now: u64,
        may_be_other: bool,
    ) -> Checked<usize> {
        let (publish, version) = seen;
        let at = match self.find_waiting(number, publish, version, now) {
            Ok(at) => at,
            Err(what) => {
                return self
                    .take_twin_of_retained(number, publish, version, now)
                    .ok_or(what);
            }
        };
        self.mix_twins(number, at, publish, version, now);
        self.overtake(number, at, seen, now, may_be_other)?;
        let taken = self.sessions[number].waiting[at];
        self.take_retained(number, taken)?;
        let entry = &mut self.entries[taken];
        entry.state = State::Sent;
        entry.qos = publish.qos;
        // Now it is there, whether it had to come or not.
        entry.owed = true;
        // What 3.x does not show may be of another delivery that is like it else.
        entry.lenient |= version != ProtocolVersion::V5;
        let entries = &self.entries;
        self.sessions[number]
            .waiting
            .retain(|&entry| entries[entry].state == State::Waiting);
        Ok(taken)
    }

    fn find_waiting(
        &self,
        number: usize,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        now: u64,
    ) -> Checked<usize> {
        let session = &self.sessions[number];
        let is_like = |entry: &Entry| {
            let message = &entry.message;
            message.topic == publish.topic && message.payload.as_bytes() == publish.payload
        };
        let what_differs = |entry: usize| differs(&self.entries[entry], publish, version, now);
        let is_own = |entry: &Entry| entry.lenient && is_like(entry);
        let waiting = session.waiting.iter().enumerate();
        let alike = waiting.filter(|&(_, &entry)| what_differs(entry).is_none());
        let alike: Vec<(usize, usize)> = alike.map(|(at, &entry)| (at, entry)).collect();
        // One that is passed on with RETAIN looks as a retained one does; it is that one if it would overtake others.
        let is_retained = |&(_, entry): &(usize, usize)| self.entries[entry].request.is_some();
        let passes = |entry: usize, such: &dyn Fn(&Entry) -> bool| self.overtakes(number, entry, such);
        let is_owed = |entry: &Entry| entry.is_owed(now);
        let is_published = |at: &&(usize, usize)| {
            let owed = is_owed(&self.entries[at.1]);
            let keeps_order = !passes(at.1, &|_| true) || (owed && !passes(at.1, &is_owed));
            !is_retained(at) && keeps_order
        };
        let chosen = if alike.iter().any(is_retained) {
            let published = alike.iter().find(is_published);
            published.or_else(|| alike.iter().find(|at| is_retained(at)))
        } else {
            alike.first()
        };
        let exact = chosen.map(|&(at, _)| at);
        let mut waiting = session.waiting.iter();
        let found = exact.or_else(|| waiting.position(|&entry| is_own(&self.entries[entry])));
        let similar = || {
            session
                .waiting
                .iter()
                .find(|&&entry| is_like(&self.entries[entry]))
        };
        found.ok_or_else(|| match similar() {
            Some(&entry) => {
                let what = what_differs(entry).unwrap_or("nothing");
                format!("to {} went {publish:?}: {what} differs", session.client)
            }
            None => format!(
                "to {} went {publish:?}, which is neither owed nor allowed",
                session.client
            ),
        })
    }

    /// Deliveries behind the one at `at` that nobody can distinguish from it on the wire: what holds for one may hold
    /// for another.
    fn mix_twins(
        &mut self,
        number: usize,
        at: usize,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        now: u64,
    ) {
        let is_it = |&entry: &usize| differs(&self.entries[entry], publish, version, now).is_none();
        let waiting = self.sessions[number].waiting[at..].iter().copied();
        let twins: Vec<usize> = waiting.filter(is_it).collect();
        let Some((&taken, others)) = twins.split_first().filter(|(_, others)| !others.is_empty()) else {
            return;
        };
        if version != ProtocolVersion::V5 {
            // It may be the one that expires first or last.
            let all = || twins.iter().map(|&twin| self.entries[twin].expires_at);
            let first = all().map(|(first, _)| first).min().unwrap_or(NEVER);
            let last = all().map(|(_, last)| last).max().unwrap_or(NEVER);
            for &twin in &twins {
                self.entries[twin].expires_at = (first, last);
            }
        }
        let owed = others
            .iter()
            .copied()
            .find(|&twin| self.entries[twin].is_owed(now));
        if let Some(twin) = owed.filter(|_| !self.entries[taken].is_owed(now)) {
            self.entries[taken].expires_at = self.entries[twin].expires_at;
            self.entries[twin].owed = false;
        }
    }

    /// Whether a delivery that waits stands behind such a one that must be sent before it.
    pub(super) fn overtakes(&self, number: usize, waiting: usize, such: impl Fn(&Entry) -> bool) -> bool {
        let entries = &self.entries;
        let line = self.sessions[number].waiting.iter();
        line.take_while(|&&earlier| earlier != waiting)
            .map(|&earlier| &entries[earlier])
            .any(|earlier| comes_before(earlier, &entries[waiting]) && such(earlier))
    }

    /// What must be sent before the delivery at `at` and was not can only have been dropped, unless the PUBLISH may be
    /// another one.
    fn overtake(
        &mut self,
        number: usize,
        at: usize,
        (publish, version): Seen<'_>,
        now: u64,
        may_be_other: bool,
    ) -> Checked {
        let session = &self.sessions[number];
        let taken = session.waiting[at];
        let overtaken: Vec<usize> = session.waiting[..at]
            .iter()
            .copied()
            .filter(|&entry| comes_before(&self.entries[entry], &self.entries[taken]))
            .collect();
        if let Some(&owed) = overtaken.iter().find(|&&entry| self.entries[entry].is_owed(now)) {
            return Err(format!(
                "{}: {:?} was overtaken by {:?}, or is lost",
                self.sessions[number].client, self.entries[owed].message, self.entries[taken].message
            ));
        }
        let mut others = session.waiting.iter();
        let is_unclear = may_be_other
            || others.any(|&other| {
                differs(&self.entries[other], publish, version, now).is_none()
                    && !self.overtakes(number, other, |_| true)
            });
        for entry in overtaken.into_iter().filter(|_| !is_unclear) {
            self.entries[entry].state = State::Dropped;
        }
        Ok(())
    }
}

/// Whether the first must be sent before the second: one publisher, topic and QoS [MQTT-4.6.0-6].
pub(super) fn comes_before(earlier: &Entry, later: &Entry) -> bool {
    earlier.request.is_none()
        && later.request.is_none()
        && !earlier.was_retained
        && !later.was_retained
        && earlier.qos == later.qos
        && earlier.message.topic == later.message.topic
        && earlier.message.publisher == later.message.publisher
}

/// What of a PUBLISH is not as the delivery says.
pub(super) fn differs(
    entry: &Entry,
    publish: &Publish<'_>,
    version: ProtocolVersion,
    now: u64,
) -> Option<&'static str> {
    let message = &entry.message;
    if message.topic != publish.topic {
        return Some("the topic");
    }
    if message.payload.as_bytes() != publish.payload {
        return Some("the payload");
    }
    if entry.qos != publish.qos {
        return Some("the QoS");
    }
    if entry.retain != publish.retain {
        return Some("RETAIN");
    }
    // [MQTT-4.3.3-7]
    let expires_no_more = publish.dup && publish.qos == QoS::ExactlyOnce;
    if now >= entry.expires_at.1 && !expires_no_more {
        return Some("that it has expired");
    }
    if version != ProtocolVersion::V5 {
        return None;
    }
    let (mut identifiers, mut expiry_s, mut others) = (Vec::new(), None, Vec::new());
    for property in publish.properties.iter() {
        match property {
            Property::SubscriptionIdentifier(identifier) => identifiers.push(identifier),
            Property::MessageExpiryInterval(seconds) => expiry_s = Some(u64::from(seconds)),
            other => others.push(other),
        }
    }
    identifiers.sort_unstable();
    if identifiers != entry.identifiers {
        return Some("the list of Subscription Identifiers");
    }
    if !message.properties.as_properties().iter().eq(others) {
        return Some("a property");
    }
    let (lo, hi) = entry.expires_at;
    let left = |at: u64| at.saturating_sub(now);
    // Of two that 3.x does not distinguish one may expire and the other not.
    let fits = match expiry_s {
        None => hi == NEVER,
        Some(seconds) => {
            lo != NEVER
                && (left(lo) / SECOND_NS..=left(hi).div_ceil(SECOND_NS)).contains(&seconds)
                && (left(hi) > 0 || expires_no_more)
        }
    };
    (!fits).then_some("the Message Expiry Interval")
}
