//! The handshakes of a subscriber: of the messages that it receives, and of its own, which are the request of `loadgen
//! rr` and the empty messages that delete retained ones.
//!
//! Invariants: as in the header above.

use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Ack, Packet, PacketIdentifier, Publish, QoS};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;

use super::{FIRST_IDENTIFIER, SubscribeClient};
use crate::client::publish::{after, encoded};
use crate::client::session::SessionEvent;
use crate::connection::{Broken, login};
use crate::scenario::properties::Carrier;
use crate::system::output::note;

impl SubscribeClient<'_> {
    /// Publishes the request, if there is one.
    pub(super) fn ask(&mut self) -> Result<(), Broken> {
        let Some(question) = &self.question else {
            return Ok(());
        };
        let (topic, payload) = (question.topic, question.payload.clone());
        let properties = self.request.settings.properties.of(Carrier::Publish, None)?;
        self.publish(
            topic,
            &payload,
            self.request.qos,
            false,
            properties.as_properties(),
        )
    }

    pub(super) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        properties: Properties<'_>,
    ) -> Result<(), Broken> {
        let packet_identifier = (qos != QoS::AtMostOnce).then(|| self.free_identifier());
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_identifier,
            properties,
            payload,
        };
        let packet =
            encoded(&publish, &self.session).map_err(|failure| Broken::Refused(failure.to_string()))?;
        self.unacknowledged.extend(packet_identifier);
        self.session.send(&packet)
    }

    fn free_identifier(&mut self) -> PacketIdentifier {
        let in_use = |identifier| identifier < FIRST_IDENTIFIER || self.unacknowledged.contains(&identifier);
        let mut free = self.next_identifier;
        while in_use(free) {
            free = after(free);
        }
        self.next_identifier = after(free);
        free
    }

    /// Handles an acknowledgement of its own message; false if the broker refused the request.
    pub(super) fn own_acknowledged(&mut self, packet: Packet<'_>, ack: Ack<'_>) -> Result<bool, Broken> {
        if ack.reason.is_error() {
            if self.unacknowledged.remove(&ack.packet_identifier) {
                let reason = login::detailed(ack.reason, ack.properties);
                note(&format!("the broker refused a message: {reason}"));
            }
            return Ok(self.question.is_none());
        }
        if ack.reason == ReasonCode::NoMatchingSubscribers && self.question.is_some() {
            note("nobody has subscribed to the topic of the request");
        }
        if matches!(packet, Packet::PubRec(_)) {
            self.answer(PacketType::PubRel, ack.packet_identifier)?;
        } else {
            self.unacknowledged.remove(&ack.packet_identifier);
        }
        Ok(true)
    }

    pub(super) fn release(&mut self, identifier: PacketIdentifier) -> Result<(), Broken> {
        self.unreleased.remove(&identifier);
        self.answer(PacketType::PubComp, identifier)
    }

    /// Completes the handshakes of the printed messages, and of its own.
    pub(super) fn await_handshakes(&mut self) -> Result<(), Broken> {
        let until = Instant::now() + RELEASE;
        while !self.unreleased.is_empty() || !self.unacknowledged.is_empty() {
            let SessionEvent::Packet(whole) = self.session.next(Some(until))? else {
                return Ok(());
            };
            match whole.packet(self.session.version)? {
                Packet::PubRel(ack) => self.release(ack.packet_identifier)?,
                packet @ (Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack)) => {
                    self.own_acknowledged(packet, ack)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        packet_type: PacketType,
        identifier: PacketIdentifier,
    ) -> Result<(), Broken> {
        let mut packet = Vec::new();
        encode::ack(
            packet_type,
            identifier,
            ReasonCode::Success,
            self.session.version,
            &mut packet,
        );
        self.session.send(&packet)
    }
}

/// Time for the broker to release the last messages.
const RELEASE: Duration = Duration::from_secs(5);
