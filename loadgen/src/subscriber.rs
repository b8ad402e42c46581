//! A subscriber: acknowledges what comes and keeps the books of it.
//!
//! Invariants: each QoS 1 PUBLISH is answered by one PUBACK, each QoS 2 PUBLISH by PUBREC and each PUBREL by PUBCOMP
//! [MQTT-4.3.2-4], [MQTT-4.3.3-8]; a QoS 2 message counts when its PUBLISH comes, and a second PUBLISH of it is a
//! duplicate in the ledger.

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Publish, QoS};
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;

use crate::ledger::{Entry, Ledger};
use crate::payload::Stamp;

/// One subscriber.
#[derive(Debug)]
pub struct Subscriber {
    run: u16,
    version: ProtocolVersion,
    ledger: Ledger,
}

impl Subscriber {
    /// A subscriber of the run `run` with these books.
    pub fn new(run: u16, version: ProtocolVersion, ledger: Ledger) -> Subscriber {
        Subscriber { run, version, ledger }
    }

    /// Acknowledges a message and enters it. Gives its stamp if it counts: received for the first time.
    #[inline]
    pub fn receive(&mut self, publish: &Publish<'_>, out: &mut Vec<u8>) -> Option<Stamp> {
        if let Some(identifier) = publish.packet_identifier {
            let answer = if publish.qos == QoS::ExactlyOnce {
                PacketType::PubRec
            } else {
                PacketType::PubAck
            };
            encode::ack(answer, identifier, ReasonCode::Success, self.version, out);
        }
        let Some(stamp) = Stamp::read(publish.payload).filter(|stamp| stamp.run == self.run) else {
            self.ledger.enter_foreign();
            return None;
        };
        match self.ledger.enter(stamp.publisher, stamp.sequence) {
            Entry::InOrder | Entry::Reordered => Some(stamp),
            Entry::Duplicate | Entry::Foreign => None,
        }
    }

    /// Its books.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Heard;
    use crate::payload::filler;
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
        let ledger = Ledger::new(Heard {
            first: 0,
            step: 1,
            count: 1,
        });
        let mut subscriber = Subscriber::new(7, ProtocolVersion::V3_1_1, ledger);
        for (qos, answer) in [
            (QoS::AtMostOnce, &[][..]),
            (QoS::AtLeastOnce, &[0x40, 2, 1, 2][..]),
            (QoS::ExactlyOnce, &[0x50, 2, 1, 2][..]),
        ] {
            let payload = stamped(7, qos as u32);
            for first in [true, false] {
                let mut out = Vec::new();
                assert_eq!(
                    subscriber.receive(&publish(qos, &payload), &mut out).is_some(),
                    first
                );
                assert_eq!(out, answer);
            }
        }
        let totals = subscriber.into_ledger().close(|_| 3);
        assert_eq!((totals.received, totals.duplicate, totals.lost), (3, 3, 0));
    }

    #[test]
    fn a_message_of_another_run_is_acknowledged_and_not_counted() {
        let ledger = Ledger::new(Heard {
            first: 0,
            step: 1,
            count: 1,
        });
        let mut subscriber = Subscriber::new(7, ProtocolVersion::V3_1_1, ledger);
        for payload in [stamped(8, 0), b"short".to_vec()] {
            let mut out = Vec::new();
            assert_eq!(
                subscriber.receive(&publish(QoS::AtLeastOnce, &payload), &mut out),
                None
            );
            assert_eq!(out.len(), 4);
        }
        assert_eq!(subscriber.into_ledger().close(|_| 0).foreign, 2);
    }
}
