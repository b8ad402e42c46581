//! Subscriptions of a bridge's session that its configuration has no more.
//!
//! Invariants: those that it has stay as they are, so no message is missed.

use mqtt::ProtocolVersion;
use mqtt::encode;
use mqtt::packet::PacketIdentifier;
use mqtt::property::Properties;

use super::connection::BridgeConnection;
use super::thread::BridgeThread;
use crate::bridge_settings::BridgeSettings;
use crate::limits;
use crate::logic::operator::{Answer, ListPart, ListPlace, Question};

impl BridgeThread {
    /// Unsubscribes from what the session at this broker has of an older configuration.
    pub(super) fn unsubscribe_stale(
        &self,
        shard: u16,
        settings: &BridgeSettings,
        connection: &mut BridgeConnection,
    ) {
        let question = Question::Subscriptions {
            part: ListPart {
                from: ListPlace::default(),
                entries_max: limits::LIST_PLACES_MAX,
            },
            client: Some(settings.local.client_identifier.as_str().into()),
        };
        let Some(Answer::Subscriptions(listed)) = self.around.questions.ask(shard, question) else {
            tracing::debug!("The subscriptions of the bridge {} are not known.", settings.name);
            return;
        };
        let is_wanted = |filter: &str| settings.topics.outgoing().any(|topic| topic.local == filter);
        let stale: Vec<_> = listed
            .entries
            .iter()
            .map(|entry| &*entry.filter)
            .filter(|filter| !is_wanted(filter))
            .collect();
        if !stale.is_empty() {
            let out = &mut connection.packets;
            // They were short enough to subscribe to.
            let _fits = encode::unsubscribe(
                PacketIdentifier::MAX,
                Properties::EMPTY,
                &stale,
                ProtocolVersion::V5,
                out,
            );
        }
    }
}
