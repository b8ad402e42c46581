//! Warnings about keys that are valid where they are given but have no effect there, or possibly not the intended one.
//!
//! Invariants: a warning changes nothing.

use super::draft::{Draft, ListenerDraft, ProtocolDraft};
use super::resolve::DEFAULT_PORT;
use crate::settings::ListenerSettings;

impl Draft {
    /// Keys for MQTT on a listener without MQTT.
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
                    "{place}: {key} has no effect on this listener: there is no MQTT with `protocol http_api`"
                ));
            }
        }
    }

    /// Keys for HTTP on a listener without HTTP.
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

    /// Keys that speak of addresses on a listener that has none.
    pub(super) fn warn_of_addresses(&mut self, listener: &ListenerDraft) {
        if listener.unix_path.is_none() {
            return;
        }
        let place = listener.place();
        let given = [
            ("socket_domain", listener.family.is_some()),
            ("bind_interface", listener.interface.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            self.warnings.push(format!(
                "{place}: {key} has no effect on this listener: a Unix socket has no address"
            ));
        }
    }

    pub(super) fn warn_of_default_listener(&mut self, default: &ListenerDraft) {
        if let (false, Some((key, place))) = (default.is_placed(), &default.first_key) {
            self.warnings.push(format!(
                "{place}: {key} is above the first listener, so it applies to the default listener, which \
                is opened too, on port {DEFAULT_PORT}: move it below a listener if that was not intended"
            ));
        }
    }
}
