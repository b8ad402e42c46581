//! Keys of mosquitto that Midge will not support, with what to use instead.
//!
//! Invariants: none.

use super::key::{Key, Scope, Status, key};

const BRIDGE: &str = "bridges are not part of Midge: run `mosquitto` or another bridge beside it as a client of both \
                      brokers";
const PLUGIN: &str = "it is no option of a plugin that is part of the broker: mosquitto_dynamic_security.so has \
                      plugin_opt_config_file and plugin_opt_password_init_file";
const PSK: &str = "pre-shared keys for TLS are not supported: use certificates (certfile, keyfile, cafile)";
const ENGINE: &str = "OpenSSL engines do not exist in this TLS library: use a key file (keyfile)";

const fn bridge(name: &'static str) -> Key {
    refused(name, "Part of a bridge.", BRIDGE)
}

const fn refused(name: &'static str, about: &'static str, why: &'static str) -> Key {
    key(name, Scope::Global, about, Status::Refused(why))
}

pub(super) const KEYS: &[Key] = &[
    bridge("connection"),
    bridge("address"),
    bridge("addresses"),
    bridge("bridge_alpn"),
    bridge("bridge_attempt_unsubscribe"),
    bridge("bridge_bind_address"),
    bridge("bridge_cafile"),
    bridge("bridge_capath"),
    bridge("bridge_certfile"),
    bridge("bridge_ciphers"),
    bridge("bridge_ciphers_tls1.3"),
    bridge("bridge_identity"),
    bridge("bridge_insecure"),
    bridge("bridge_keyfile"),
    bridge("bridge_max_packet_size"),
    bridge("bridge_max_topic_alias"),
    bridge("bridge_outgoing_retain"),
    bridge("bridge_protocol_version"),
    bridge("bridge_psk"),
    bridge("bridge_receive_maximum"),
    bridge("bridge_reload_type"),
    bridge("bridge_require_ocsp"),
    bridge("bridge_session_expiry_interval"),
    bridge("bridge_tcp_keepalive"),
    bridge("bridge_tcp_user_timeout"),
    bridge("bridge_tls_use_os_certs"),
    bridge("bridge_tls_version"),
    bridge("cleansession"),
    bridge("clientid"),
    bridge("idle_timeout"),
    bridge("keepalive_interval"),
    bridge("local_cleansession"),
    bridge("local_clientid"),
    bridge("local_password"),
    bridge("local_username"),
    bridge("notification_topic"),
    bridge("notifications"),
    bridge("notifications_local_only"),
    bridge("password"),
    bridge("remote_clientid"),
    bridge("remote_password"),
    bridge("remote_username"),
    bridge("restart_timeout"),
    bridge("round_robin"),
    bridge("start_type"),
    bridge("threshold"),
    bridge("topic"),
    bridge("try_private"),
    bridge("username"),
    refused("plugin_opt_*", "Other options of plugins.", PLUGIN),
    refused(
        "auth_plugin_deny_special_chars",
        "A setting of authentication plugins.",
        PLUGIN,
    ),
    refused(
        "enable_control_api",
        "The control API of mosquitto 2.1.",
        "there is no control API: change the configuration file instead",
    ),
    refused("psk_file", "Pre-shared keys.", PSK),
    refused("psk_hint", "Turns pre-shared keys on.", PSK),
    refused("tls_engine", "An OpenSSL engine.", ENGINE),
    refused(
        "tls_engine_kpass_sha1",
        "The password of an OpenSSL engine.",
        ENGINE,
    ),
    refused(
        "websockets_log_level",
        "A setting of libwebsockets.",
        "libwebsockets is not used: leave the line out",
    ),
];
