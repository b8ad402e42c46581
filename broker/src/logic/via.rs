//! The subscriptions by which a message was matched for a session, and their form in a store.
//!
//! Invariant: [`Via::decode`] reads back what [`Via::encode`] appended.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::property::{Properties, PropertiesBuf, Property};

/// The subscriptions by which a message was matched for a session.
#[derive(Debug, Default)]
pub(in crate::logic) struct Via {
    /// The Subscription Identifiers of these subscriptions, encoded as properties.
    pub(in crate::logic) identifiers: PropertiesBuf,
    /// The whole text of the Shared Subscription, if it is one: the message then belongs to the group.
    pub(in crate::logic) group: Option<Arc<str>>,
}

impl Via {
    /// Appends the form of the store: bytes of the Subscription Identifiers (2), these, the whole text of the Shared
    /// Subscription.
    pub(in crate::logic) fn encode(&self, out: &mut Vec<u8>) {
        let identifiers = self.identifiers.as_properties().as_bytes();
        if let Ok(bytes) = u16::try_from(identifiers.len()) {
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(identifiers);
            out.extend_from_slice(self.group.as_deref().unwrap_or_default().as_bytes());
        }
    }

    /// Decodes the form of [`Self::encode`]; empty for empty or invalid bytes.
    pub(in crate::logic) fn decode(bytes: &[u8]) -> Option<Rc<Self>> {
        let (&identifiers, rest) = bytes.split_first_chunk()?;
        let (identifiers, group) = rest.split_at_checked(usize::from(u16::from_le_bytes(identifiers)))?;
        let mut via = Self {
            group: std::str::from_utf8(group)
                .ok()
                .filter(|group| !group.is_empty())
                .map(Into::into),
            ..Self::default()
        };
        for property in Properties::from_validated(identifiers).iter() {
            if let Property::SubscriptionIdentifier(_) = property {
                // They were in one packet.
                let _ = via.identifiers.push(property);
            }
        }
        Some(Rc::new(via))
    }
}
