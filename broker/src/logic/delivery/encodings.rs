//! The encodings of one PUBLISH while it is delivered to its subscribers. Each form (protocol version, QoS, RETAIN) is
//! encoded once, and a copy for queues is made once.
//!
//! Invariant: [`Encodings`] belongs to one message from [`Encodings::begin`] until the next call of it; nothing that
//! was encoded or kept for one message is used for another one.

use mqtt::property::{Properties, PropertiesBuf};
use mqtt::publish_template::PublishTemplate;
use mqtt::{ProtocolVersion, QoS};

use crate::logic::message::{Message, StoredMessage};
use crate::logic::mount_point::without_mount_point;
use crate::time::Timestamp;

/// Forms of a PUBLISH without Subscription Identifiers: two encodings, three QoS, RETAIN or not.
const FORMS: usize = 12;

#[derive(Debug, Default)]
pub(in crate::logic) struct Encodings {
    templates: [PublishTemplate; FORMS],
    encoded: u16,
    identified: PublishTemplate,
    stored: Option<StoredMessage>,
    scratch: Vec<u8>,
}

impl Encodings {
    /// Begins with the next message.
    #[inline]
    pub(in crate::logic) fn begin(&mut self) {
        self.encoded = 0;
        self.stored = None;
    }

    /// The message encoded for a subscriber with this mount point; `None` if it cannot be encoded.
    #[inline]
    pub(in crate::logic) fn template(
        &mut self,
        message: &Message<'_>,
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        identifiers: Option<&PropertiesBuf>,
        mount_point: Option<&str>,
    ) -> Option<&PublishTemplate> {
        let extra = match identifiers {
            Some(identifiers) if version == ProtocolVersion::V5 => identifiers.as_properties(),
            _ => Properties::EMPTY,
        };
        let Message {
            topic,
            properties,
            payload,
            ..
        } = *message;
        let topic = without_mount_point(topic, mount_point)?;
        if !extra.is_empty() || mount_point.is_some() {
            self.identified
                .encode(version, qos, retain, topic, properties, extra, payload)
                .ok()?;
            return Some(&self.identified);
        }
        let is_v5 = usize::from(version == ProtocolVersion::V5);
        let form = is_v5 * 6 + qos as usize * 2 + usize::from(retain);
        let template = self.templates.get_mut(form)?;
        if self.encoded & 1 << form == 0 {
            template
                .encode(version, qos, retain, topic, properties, extra, payload)
                .ok()?;
            self.encoded |= 1 << form;
        }
        Some(template)
    }

    /// The buffer for a form that belongs to one subscriber only.
    pub(in crate::logic) fn own_template(&mut self) -> &mut PublishTemplate {
        &mut self.identified
    }

    /// The message for queues, shared by all that keep it.
    pub(in crate::logic) fn stored(&mut self, now: Timestamp, message: &Message<'_>) -> StoredMessage {
        let scratch = &mut self.scratch;
        self.stored
            .get_or_insert_with(|| StoredMessage::new(now, message, scratch))
            .clone()
    }

    /// The message, if it is kept.
    pub(in crate::logic) fn kept(&self) -> Option<&StoredMessage> {
        self.stored.as_ref()
    }

    /// Sets the result of [`Self::stored`]: the message is stored already.
    pub(in crate::logic) fn set_stored(&mut self, stored: StoredMessage) {
        self.stored = Some(stored);
    }
}
