//! The one table of configuration keys: the parser, `--test-config` and docs/CONFIGURATION.md are made from it.
//!
//! `key.rs` has the type of an entry. `access.rs`, `bridge.rs`, `bridge_course.rs`, `bridge_tls.rs`, `clients.rs`,
//! `listener.rs`, `log.rs`, `messages.rs`, `persistence.rs`, `plugins.rs`, `process.rs`, `restraints.rs`,
//! `retained.rs`, `tls.rs` and `tokens.rs` have the keys of a theme, `refused.rs` those that are not supported.
//! `numbers.rs` converts numbers.
//!
//! Invariants: each key of mosquitto 2.0 and 2.1 is here once, so that no key of a working mosquitto.conf is reported
//! as unknown; guarded by the test `every_key_of_mosquitto_is_known`.

mod access;
mod bridge;
mod bridge_course;
mod bridge_tls;
mod clients;
mod key;
mod listener;
mod log;
mod messages;
mod numbers;
mod persistence;
mod plugins;
mod process;
mod refused;
mod restraints;
mod retained;
mod tls;
mod tokens;

pub(super) use self::key::{Key, Scope, Show, Status, Value};
pub(super) use self::persistence::persistence;

/// The table: sections with their titles.
pub(super) const SECTIONS: &[(&str, &[Key])] = &[
    ("Process", process::KEYS),
    ("Listeners", listener::KEYS),
    ("TLS of a listener", tls::KEYS),
    ("Authentication and access", access::KEYS),
    ("Users at run time", plugins::KEYS),
    ("JSON Web Tokens", tokens::KEYS),
    ("Clients and sessions", clients::KEYS),
    ("Rates and bans", restraints::KEYS),
    ("Messages", messages::KEYS),
    ("Retained messages", retained::KEYS),
    ("Persistence", persistence::KEYS),
    ("Bridges", bridge::KEYS),
    ("Connections of a bridge", bridge_course::KEYS),
    ("TLS of a bridge", bridge_tls::KEYS),
    ("Log", log::KEYS),
    ("Not supported", refused::KEYS),
];

/// Prefixes of options of plugins; the same option may have either.
const OPTION_PREFIXES: &[&str] = &["auth_opt_", "plugin_opt_"];
/// The entry for all options without a separate entry.
const OTHER_OPTIONS: &str = "plugin_opt_*";

/// The keys of all sections, in their order.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|(_, keys)| keys.iter())
}

/// The entry of a key, or `None` if the key is unknown.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let of_name = |name: &str| all().find(|key| key.name == name);
    let option = OPTION_PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    match option {
        Some(option) => of_name(&format!("plugin_opt_{option}")).or_else(|| of_name(OTHER_OPTIONS)),
        None => of_name(name),
    }
}

/// The known key that is closest to a misspelt one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    const LIKENESS_MIN: f64 = 0.6;
    all()
        .map(|key| (strsim::normalized_damerau_levenshtein(name, key.name), key.name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of mosquitto 2.0.22 and 2.1, without the prefixes of plugins' options.
    const MOSQUITTO: &str = "
        listener port bind_address protocol socket_domain max_connections mount_point per_listener_settings
        allow_anonymous password_file acl_file cafile capath certfile keyfile crlfile ciphers ciphers_tls1.3 tls_version
        require_certificate use_identity_as_username use_subject_as_username use_username_as_clientid
        allow_zero_length_clientid auto_id_prefix clientid_prefixes include_dir user pid_file log_dest log_type
        log_timestamp log_timestamp_format log_facility connection_messages sys_interval max_keepalive max_packet_size
        message_size_limit max_inflight_messages max_inflight_bytes max_queued_messages max_queued_bytes
        queue_qos0_messages max_qos maximum_qos max_topic_alias retain_available memory_limit set_tcp_nodelay
        upgrade_outgoing_qos persistent_client_expiration check_retain_source persistence persistence_location
        persistence_file autosave_interval autosave_on_changes retained_persistence
        bind_interface dhparamfile tls_keyform allow_duplicate_messages retry_interval http_dir websockets_headers_size
        websockets_origin accept_protocol_versions global_max_clients global_max_connections listener_allow_anonymous
        listener_auto_id_prefix max_topic_alias_broker packet_buffer_size enable_proxy_protocol
        proxy_protocol_v2_require_tls disable_client_cert_date_checks retain_expiry_interval mptcp
        address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath
        bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure bridge_keyfile
        bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version bridge_psk
        bridge_receive_maximum bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval
        bridge_tcp_keepalive bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cleansession clientid
        connection idle_timeout keepalive_interval local_cleansession local_clientid local_password local_username
        notification_topic notifications notifications_local_only password remote_clientid remote_password
        remote_username restart_timeout round_robin start_type threshold topic try_private username
        auth_plugin auth_plugin_deny_special_chars enable_control_api global_plugin plugin plugin_load plugin_use
        psk_file psk_hint tls_engine tls_engine_kpass_sha1 websockets_log_level";

    #[test]
    fn every_key_of_mosquitto_is_known() {
        for name in MOSQUITTO.split_whitespace().chain(["auth_opt_x", "plugin_opt_x"]) {
            assert!(find(name).is_some(), "{name}");
        }
    }

    /// Where a message of the broker says "raise KEY", that key exists.
    #[test]
    fn what_sentences_advise_to_change_are_keys() {
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for advice in text.split("raise ").skip(1) {
                        let is_part = |byte: char| byte.is_ascii_lowercase() || byte == '_';
                        let name = advice.split(|byte| !is_part(byte)).next().unwrap_or_default();
                        if name.contains('_') {
                            assert!(super::find(name).is_some(), "{}: {name}", path.display());
                            found += 1;
                        }
                    }
                }
            }
        }
        assert!(found >= 5, "{found}");
    }

    #[test]
    fn each_key_stands_once() {
        let mut names: Vec<_> = all().map(|key| key.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// Keys for which mosquitto 2.0 reports "Duplicate ... value in configuration" at a second line.
    const ONCE: &str = "
        pid_file user persistence_location persistence_file log_timestamp_format auto_id_prefix clientid_prefixes
        password_file acl_file mount_point bind_interface bind_address http_dir cafile capath certfile keyfile crlfile
        ciphers ciphers_tls1.3 tls_version";
    /// Keys for which it accepts a second line.
    const AGAIN: &str = "
        listener per_listener_settings persistent_client_expiration tls_keyform socket_domain protocol max_connections
        port log_facility log_dest log_type memory_limit max_qos include_dir websockets_origin";

    #[test]
    fn what_mosquitto_takes_once_stands_once() {
        for (names, once) in [(ONCE, true), (AGAIN, false)] {
            for name in names.split_whitespace() {
                assert_eq!(find(name).unwrap().may_stand_once(), once, "{name}");
            }
        }
        for name in ["control_socket", "key_passphrase_file", "listener_auto_id_prefix"] {
            assert!(find(name).unwrap().may_stand_once(), "{name}");
        }
    }

    #[test]
    fn nearest_keys() {
        for (wrong, right) in [
            ("allow_anonymus", Some("allow_anonymous")),
            ("Port", Some("port")),
            ("max_queue_messages", Some("max_queued_messages")),
            ("cerfile", Some("certfile")),
            ("log-type", Some("log_type")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
    }
}
