//! Warnings of keys that are right where they stand and have no effect there, or another one than was meant perhaps.
//!
//! Invariants: a warning changes nothing.

use super::draft::{Draft, ListenerDraft, ProtocolDraft};
use super::resolve::DEFAULT_PORT;
use crate::settings::ListenerSettings;

impl Draft {
    /// Keys that speak of MQTT on a listener that does not.
    pub(super) fn warn_of_mqtt(&mut self, listener: &ListenerDraft) {
        if listener.protocol != ProtocolDraft::HttpApi {
            return;
        }
        let (place, of, usual) = (listener.place(), &listener.settings, ListenerSettings::default());
        let versions = |of: &ListenerSettings| (of.accept_v3_1, of.accept_v3_1_1, of.accept_v5);
        let is_named = |of: &ListenerSettings| of.user_name_is_client_identifier;
        for (key, is_set) in [
            ("mount_point", of.mount_point != usual.mount_point),
            ("max_qos", of.qos_max != usual.qos_max),
            ("max_topic_alias", of.topic_alias_max != usual.topic_alias_max),
            ("accept_protocol_versions", versions(of) != versions(&usual)),
            ("use_username_as_clientid", is_named(of) != is_named(&usual)),
            ("require_scram", of.scram_required != usual.scram_required),
        ] {
            if is_set {
                self.warnings.push(format!(
                    "{place}: {key} has no effect on this listener: nobody speaks MQTT with `protocol http_api`"
                ));
            }
        }
    }

    /// Keys that speak of HTTP on a listener that does not.
    pub(super) fn warn_of_pages(&mut self, listener: &ListenerDraft) {
        let place = listener.place();
        let mut warn = |key| {
            self.warnings.push(format!(
                "{place}: {key} has no effect on this listener: it needs `protocol websockets`"
            ));
        };
        if listener.protocol == ProtocolDraft::Mqtt && listener.pages.is_some() {
            warn("http_dir");
        }
        if listener.protocol != ProtocolDraft::WebSockets && !listener.origins.is_empty() {
            warn("websockets_origin");
        }
    }

    pub(super) fn warn_of_default_listener(&mut self, default: &ListenerDraft) {
        if let (false, Some((key, place))) = (default.is_placed(), &default.first_key) {
            self.warnings.push(format!(
                "{place}: {key} stands above the first listener, so it speaks of the default listener, which is opened \
                 too, on port {DEFAULT_PORT}: move it below a listener if that was not meant"
            ));
        }
    }
}
