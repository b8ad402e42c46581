//! Keys of mosquitto that Midge will not support, with what to use instead.
//!
//! Invariants: none.

use super::key::{Key, Scope, Status, key};

const PLUGIN: &str = "it is no option of a plugin that is part of the broker: mosquitto_dynamic_security.so has \
                      plugin_opt_config_file and plugin_opt_password_init_file";
const PSK: &str = "pre-shared keys for TLS are not supported: use certificates (certfile, keyfile, cafile)";
const ENGINE: &str = "OpenSSL engines do not exist in this TLS library: use a key file (keyfile)";

const fn refused(name: &'static str, about: &'static str, why: &'static str) -> Key {
    key(name, Scope::Global, about, Status::Refused(why))
}

pub(super) const KEYS: &[Key] = &[
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
