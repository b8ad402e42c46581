//! A subscriber: acknowledges the messages that it receives and records them in its ledger.
//!
//! Invariants: each QoS 1 PUBLISH is answered by one PUBACK, each QoS 2 PUBLISH by PUBREC and each PUBREL by PUBCOMP
//! [MQTT-4.3.2-4], [MQTT-4.3.3-8]. A QoS 2 message counts when its PUBLISH arrives; a second PUBLISH of it is a
//! duplicate in the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Publish, QoS};
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;

use crate::generator::interruptions::Interruptions;
use crate::generator::state::Run;
use crate::measure::differences::Differences;
use crate::measure::ledger::{Entry, Ledger, Totals};
use crate::scenario::json_payload;
use crate::scenario::payload::Stamp;

/// One subscribing client and its ledger.
#[derive(Debug)]
pub struct Subscriber {
    run: u16,
    version: ProtocolVersion,
    ledger: SubscriberLedger,
    slow: bool,
}

/// The ledger in which a subscriber records its messages.
#[derive(Debug)]
pub enum SubscriberLedger {
    /// The ledger belongs only to this subscriber.
    Own(Ledger),
    /// The ledger of its group of a shared subscription.
    Group(Member),
}

/// A member of a group. A message that the group receives twice is a duplicate; one that the member receives late is
/// out of order.
#[derive(Debug)]
pub struct Member {
    group: Arc<Mutex<Ledger>>,
    /// For each publisher, the highest sequence number received plus one.
    next: Box<[u32]>,
    reordered: u64,
    /// While it is disconnected: the number of messages of each publisher that the group had received before.
    came_before: Option<Box<[u32]>>,
    /// The contribution of this member's messages to [`Ledger::overtaken`]; wraps, because a late one may come to it.
    overtaken: u64,
}

impl Member {
    /// A member of a group that receives from `publishers`.
    pub fn new(group: Arc<Mutex<Ledger>>, publishers: u32) -> Member {
        Member {
            group,
            next: vec![0; publishers as usize].into_boxed_slice(),
            reordered: 0,
            came_before: None,
            overtaken: 0,
        }
    }

    /// It has disconnected: messages on their way to it may now be missing in the group.
    fn disconnected(&mut self) {
        self.came_before = Some(lock(&self.group).unique());
    }

    /// It is connected again, or the run is over: messages sent in the meantime that did not arrive are not lost.
    fn reconnected(&mut self, sent: impl Fn(u32) -> u32) {
        let came_before = self.came_before.take().into_iter().flatten();
        let missing = (0..).zip(came_before);
        let missing = missing.map(|(publisher, came)| u64::from(sent(publisher).saturating_sub(came)));
        let missing = missing.sum();
        lock(&self.group).allow(missing);
    }

    fn record(&mut self, publisher: u32, sequence: u32, breaks: &Interruptions) -> Entry {
        let next = self.next.get_mut(publisher as usize);
        let behind = next.is_some_and(|next| {
            let behind = (sequence.wrapping_sub(*next) as i32) < 0;
            if !behind {
                *next = sequence.wrapping_add(1);
            }
            behind
        });
        let mut group = lock(&self.group);
        let before = group.overtaken();
        let entry = group.record(publisher, sequence, |publisher, missing| {
            breaks.unowed(publisher, missing)
        });
        let change = group.overtaken().wrapping_sub(before);
        drop(group);
        self.overtaken = self.overtaken.wrapping_add(change);
        match entry {
            Entry::InOrder | Entry::Reordered if behind => {
                self.reordered += 1;
                Entry::Reordered
            }
            Entry::Reordered => Entry::InOrder,
            entry => entry,
        }
    }
}

impl SubscriberLedger {
    fn record(&mut self, publisher: u32, sequence: u32, breaks: &Interruptions) -> Entry {
        let cut = |publisher, missing| breaks.unowed(publisher, missing);
        match self {
            SubscriberLedger::Own(ledger) => ledger.record(publisher, sequence, cut),
            SubscriberLedger::Group(member) => member.record(publisher, sequence, breaks),
        }
    }

    fn overtaken(&self) -> u64 {
        match self {
            SubscriberLedger::Own(ledger) => ledger.overtaken(),
            SubscriberLedger::Group(member) => member.overtaken,
        }
    }

    fn record_foreign(&mut self) {
        match self {
            SubscriberLedger::Own(ledger) => ledger.record_foreign(),
            SubscriberLedger::Group(member) => lock(&member.group).record_foreign(),
        }
    }

    /// Closes it; a group's own ledger is closed by [`close_group`].
    pub fn close(&self, sent: impl Fn(u32) -> u64, breaks: &Interruptions) -> Totals {
        match self {
            SubscriberLedger::Own(ledger) => {
                ledger.close(sent, |publisher, missing| breaks.unowed(publisher, missing))
            }
            SubscriberLedger::Group(member) => Totals {
                reordered: member.reordered,
                ..Totals::default()
            },
        }
    }
}

/// Closes the ledger of a group: each message is due once to the group, in any order between its members.
pub fn close_group(group: &Mutex<Ledger>, sent: impl Fn(u32) -> u64, breaks: &Interruptions) -> Totals {
    let cut = |publisher, missing| breaks.unowed(publisher, missing);
    Totals {
        reordered: 0,
        ..lock(group).close(sent, cut)
    }
}

/// The ledger is consistent between any two of its calls, even if a thread panicked.
fn lock(group: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriber {
    /// A subscriber of the run `run` with this ledger.
    pub fn new(run: u16, version: ProtocolVersion, ledger: SubscriberLedger) -> Subscriber {
        Subscriber {
            run,
            version,
            ledger,
            slow: false,
        }
    }

    /// A slow subscriber: its messages are in a separate ledger and in no latency.
    pub fn slow(run: u16, version: ProtocolVersion, ledger: SubscriberLedger) -> Subscriber {
        Subscriber {
            slow: true,
            ..Subscriber::new(run, version, ledger)
        }
    }

    /// Whether it is a slow subscriber.
    #[inline]
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Its connection has broken.
    pub fn disconnected(&mut self) {
        match &mut self.ledger {
            SubscriberLedger::Own(ledger) => ledger.disconnected(),
            SubscriberLedger::Group(member) => member.disconnected(),
        }
    }

    /// It is subscribed again; `sent` returns how many messages a publisher has sent until now, modulo 2^32.
    pub fn reconnected(&mut self, sent: impl Fn(u32) -> u32) {
        match &mut self.ledger {
            SubscriberLedger::Own(ledger) => ledger.reconnected(sent),
            SubscriberLedger::Group(member) => member.reconnected(sent),
        }
    }

    /// Acknowledges a message and records it. Returns its stamp if it is received for the first time. Differences from
    /// what was sent are counted in `differences`; a message with a wrong payload counts as nothing else.
    #[inline]
    pub fn receive(
        &mut self,
        publish: &Publish<'_>,
        run: &Run,
        differences: &mut Differences,
        out: &mut Vec<u8>,
    ) -> Option<Stamp> {
        if let Some(identifier) = publish.packet_identifier {
            let answer = if publish.qos == QoS::ExactlyOnce {
                PacketType::PubRec
            } else {
                PacketType::PubAck
            };
            encode::ack(answer, identifier, ReasonCode::Success, self.version, out);
        }
        let stamp = if run.json {
            json_payload::read(publish.payload)
        } else {
            Stamp::read(publish.payload)
        };
        let Some(stamp) = stamp.filter(|stamp| stamp.run == self.run) else {
            self.ledger.record_foreign();
            return None;
        };
        if let Some(expected) = &run.verified {
            let before = differences.payload;
            expected.check(stamp.publisher, publish, differences);
            // A stamp in which a byte may be wrong cannot be trusted.
            if differences.payload > before {
                return None;
            }
        }
        match self
            .ledger
            .record(stamp.publisher, stamp.sequence, &run.interruptions)
        {
            Entry::InOrder | Entry::Reordered => Some(stamp),
            Entry::Duplicate | Entry::Foreign => None,
        }
    }

    /// Messages to it that were overtaken by later ones; in a group, the part of this member, which wraps below 0.
    #[inline]
    pub fn overtaken(&self) -> u64 {
        self.ledger.overtaken()
    }

    /// Returns the ledger, at the end of the run.
    pub fn into_ledger(self) -> SubscriberLedger {
        self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::ledger::PublisherRange;
    use crate::scenario::payload::filler;
    use crate::target::endpoint::Endpoint;
    use mqtt::packet::PacketIdentifier;
    use mqtt::property::Properties;

    fn publish(qos: QoS, payload: &[u8]) -> Publish<'_> {
        let packet_identifier = (qos != QoS::AtMostOnce).then(|| PacketIdentifier::new(0x0102).unwrap());
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: "t",
            packet_identifier,
            properties: Properties::EMPTY,
            payload,
        }
    }

    fn receive(subscriber: &mut Subscriber, publish: &Publish<'_>, out: &mut Vec<u8>) -> Option<Stamp> {
        let words = "loadgen --pubs 1 --subs 1 --size 16".split(' ').map(Into::into);
        let scenario = crate::options::parse(words).unwrap().scenario;
        let address = "127.0.0.1:1883".parse().unwrap();
        let run = Run::new(scenario, Endpoint::one(address, "localhost", None), 7, 0);
        subscriber.receive(publish, &run, &mut Differences::default(), out)
    }

    fn stamped(run: u16, sequence: u32) -> Vec<u8> {
        let mut payload = filler(16, 1);
        Stamp {
            run,
            intended_ns: 5,
            publisher: 0,
            sequence,
            lag_ns: None,
        }
        .write(&mut payload);
        payload
    }

    #[test]
    fn each_qos_gets_its_acknowledgement_even_for_a_duplicate() {
        let ledger = Ledger::new(PublisherRange {
            first: 0,
            step: 1,
            count: 1,
        });
        let mut subscriber = Subscriber::new(7, ProtocolVersion::V3_1_1, SubscriberLedger::Own(ledger));
        for (qos, answer) in [
            (QoS::AtMostOnce, &[][..]),
            (QoS::AtLeastOnce, &[0x40, 2, 1, 2][..]),
            (QoS::ExactlyOnce, &[0x50, 2, 1, 2][..]),
        ] {
            let payload = stamped(7, qos as u32);
            for first in [true, false] {
                let mut out = Vec::new();
                let received = receive(&mut subscriber, &publish(qos, &payload), &mut out);
                assert_eq!(received.is_some(), first);
                assert_eq!(out, answer);
            }
        }
        let totals = subscriber.into_ledger().close(|_| 3, &Interruptions::default());
        assert_eq!((totals.received, totals.duplicate, totals.lost), (3, 3, 0));
    }

    #[test]
    fn a_message_of_another_run_is_acknowledged_and_not_counted() {
        let ledger = Ledger::new(PublisherRange {
            first: 0,
            step: 1,
            count: 1,
        });
        let mut subscriber = Subscriber::new(7, ProtocolVersion::V3_1_1, SubscriberLedger::Own(ledger));
        for payload in [stamped(8, 0), b"short".to_vec()] {
            let mut out = Vec::new();
            let received = receive(&mut subscriber, &publish(QoS::AtLeastOnce, &payload), &mut out);
            assert_eq!(received, None);
            assert_eq!(out.len(), 4);
        }
        assert_eq!(
            subscriber
                .into_ledger()
                .close(|_| 0, &Interruptions::default())
                .foreign,
            2
        );
    }

    #[test]
    fn a_group_gets_each_message_once_and_members_keep_their_own_order() {
        let publishers = PublisherRange {
            first: 0,
            step: 1,
            count: 1,
        };
        let group = Arc::new(Mutex::new(Ledger::new(publishers)));
        let mut members = [0, 1].map(|_| Member::new(Arc::clone(&group), 1));
        let breaks = Interruptions::default();
        let entries = [(0, 0), (0, 2), (1, 1), (1, 3), (0, 3), (1, 0)]
            .map(|(member, sequence)| members[member].record(0, sequence, &breaks));
        use Entry::{Duplicate, InOrder};
        assert_eq!(
            entries,
            [InOrder, InOrder, InOrder, InOrder, Duplicate, Duplicate]
        );
        let totals = close_group(&group, |_| 5, &breaks);
        assert_eq!((totals.expected, totals.received, totals.lost), (5, 4, 1));
        assert_eq!((totals.duplicate, totals.reordered), (2, 0));
        assert_eq!(members[1].record(0, 2, &breaks), Duplicate);
        members[0].disconnected();
        members[0].reconnected(|_| 5);
        let totals = close_group(&group, |_| 5, &breaks);
        assert_eq!(
            (totals.expected, totals.lost, totals.unowed),
            (4, 0, 1),
            "a member was away"
        );
        let late = Ledger::new(publishers);
        let mut member = Member::new(Arc::new(Mutex::new(late)), 1);
        assert_eq!(
            [1, 0].map(|sequence| member.record(0, sequence, &breaks)),
            [InOrder, Entry::Reordered]
        );
    }
}
