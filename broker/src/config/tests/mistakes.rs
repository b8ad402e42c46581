//! Texts that cannot be used, or not unchanged, and the messages about them.

use super::*;

/// The messages of a text that cannot be used.
fn mistakes(text: &str) -> String {
    read_with(text, &Args::default())
        .map(|_| text.to_owned())
        .expect_err("a mistake was expected in this text")
        .to_string()
}

/// Texts that cannot be used, and the messages about them.
const MISTAKES: &[(&str, &str)] = &[
    (
        "accept_protocol_versions 3,6",
        "t.conf:1: accept_protocol_versions 3,6: must be 3, 4 and 5, separated by commas",
    ),
    (
        "global_max_clients 0",
        "t.conf:1: global_max_clients 0: must be -1 or 1 or more",
    ),
    (
        "\nallow_anonymus true",
        "t.conf:2: unknown key allow_anonymus: did you mean allow_anonymous?",
    ),
    ("zzz", "t.conf:1: unknown key zzz"),
    ("port", "t.conf:1: port needs a value: 1 to 65535"),
    ("port 0", "t.conf:1: port 0: must be 1 to 65535"),
    ("port 65536", "t.conf:1: port 65536: must be 1 to 65535"),
    (
        "port 99999999999999999999",
        "t.conf:1: port 99999999999999999999: must be 1 to 65535",
    ),
    ("max_qos 3", "t.conf:1: max_qos 3: must be 0 to 2"),
    (
        "max_keepalive 9",
        "t.conf:1: max_keepalive 9: must be 0 or 10 to 65535",
    ),
    (
        "max_queued_bytes -1",
        "t.conf:1: max_queued_bytes -1: must be 0 or more",
    ),
    (
        "max_packet_size 19",
        "t.conf:1: max_packet_size 19: must be 20 to 268435460",
    ),
    (
        "allow_anonymous yes",
        "t.conf:1: allow_anonymous yes: must be true or false",
    ),
    (
        "listener x",
        "t.conf:1: listener x: must be a port from 1 to 65535 and perhaps an address, or 0 and the path of a \
         Unix socket",
    ),
    (
        "listener 0",
        "t.conf:1: listener 0: the port must be from 1 to 65535; 0 needs the path of a Unix socket behind it",
    ),
    (
        "listener 0 /tmp/s\nprotocol http_api",
        "t.conf:1: protocol http_api is not for a Unix socket: `control_socket PATH` opens one",
    ),
    (
        "listener 0 /tmp/s\nlistener 0 /tmp/s",
        "t.conf:2: the Unix socket /tmp/s is already used by the listener of t.conf:1; fix: remove one of them, or \
         choose another path",
    ),
    (
        "listener 0 /tmp/s\nunix_socket_mode 1777",
        "t.conf:2: unix_socket_mode 1777: must be permissions in octal, from 0600 to 0777, such as 0660",
    ),
    (
        "listener 1883\nunix_socket_mode 0666",
        "t.conf:1: unix_socket_mode is for a listener on a Unix socket: `listener 0 PATH`",
    ),
    (
        "listener 0 /tmp/s\nenable_proxy_protocol 2\nproxy_protocol_trusted 10.0.0.0/8",
        "t.conf:1: proxy_protocol_trusted is for addresses, which a Unix socket does not have: leave it out, and let \
         `unix_socket_mode` keep others away",
    ),
    (
        "password_file a\npassword_file b",
        "t.conf:2: password_file b: is set twice, first at t.conf:1; fix: remove one of the lines",
    ),
    (
        "acl_file a\nacl_file a",
        "t.conf:2: acl_file a: is set twice, first at t.conf:1; fix: remove one of the lines",
    ),
    (
        "per_listener_settings true\nlistener 1\nacl_file a\nlistener 2\nacl_file b\nacl_file c",
        "t.conf:6: acl_file c: is set twice, first at t.conf:5; fix: remove one of the lines",
    ),
    (
        "pid_file a\npid_file b",
        "t.conf:2: pid_file b: is set twice, first at t.conf:1; fix: remove one of the lines",
    ),
    (
        "mount_point a/\nlistener 1\nmount_point a/\nlistener 2\nmount_point a/\nmount_point b/",
        "t.conf:6: mount_point b/: is set twice, first at t.conf:5; fix: remove one of the lines",
    ),
    (
        "clientid_prefixes a\nclientid_prefixes b",
        "t.conf:2: clientid_prefixes b: is set twice, first at t.conf:1; fix: remove one of the lines",
    ),
    (
        "socket_domain ipv5",
        "t.conf:1: socket_domain ipv5: must be ipv4 or ipv6",
    ),
    (
        "protocol soap",
        "t.conf:1: protocol soap: must be mqtt, websockets or http_api",
    ),
    (
        "tls_version sslv3",
        "t.conf:1: tls_version sslv3: must be tlsv1.2 or tlsv1.3",
    ),
    (
        "log_dest file",
        "t.conf:1: log_dest file: the path of the file is missing",
    ),
    (
        "log_dest x",
        "t.conf:1: log_dest x: must be stdout, stderr, syslog, topic, file PATH or none",
    ),
    (
        "log_timestamp_format %!",
        "t.conf:1: log_timestamp_format %!: must be a format of strftime(3), such as %Y-%m-%dT%H:%M:%S",
    ),
    (
        "persistent_client_expiration 0d",
        "t.conf:1: persistent_client_expiration 0d: must be a number from 1 and one of s, h, d, w, m, y, such as 14d",
    ),
    (
        "listener 1\ncertfile a",
        "t.conf:1: certfile needs keyfile, the certificate's private key",
    ),
    (
        "listener 1\nkeyfile a",
        "t.conf:1: keyfile needs certfile, the certificate of that key",
    ),
    (
        "listener 1\ncafile a",
        "t.conf:1: the listener would not use TLS: certfile and keyfile are missing",
    ),
    (
        "\ncafile a",
        "t.conf:2: the listener would not use TLS: certfile and keyfile are missing",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\nrequire_certificate true",
        "t.conf:1: require_certificate needs cafile or capath, the authorities of the clients' certificates",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ncrlfile c",
        "t.conf:1: crlfile needs cafile or capath, the authorities that issued the revocation lists",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ncafile c\nuse_identity_as_username true",
        "t.conf:1: a user name from the certificate needs require_certificate true: without a certificate no client \
         has a name",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ncafile c\nrequire_certificate true\nuse_identity_as_username true\n\
         use_subject_as_username true",
        "t.conf:1: use_identity_as_username and use_subject_as_username contradict each other: remove one",
    ),
    (
        "listener 1 127.0.0.1\nsocket_domain ipv6",
        "t.conf:1: socket_domain leaves no address to listen on",
    ),
    (
        "allow_anonymous true\nper_listener_settings true",
        "t.conf:2: per_listener_settings must be above allow_anonymous",
    ),
    (
        "http_dir /nonexistent",
        "t.conf:1: http_dir /nonexistent: /nonexistent is not a folder",
    ),
    (
        "listener 1\nmount_point a/#",
        "t.conf:2: mount_point a/#: must be a topic without + and #, at most 1000 bytes",
    ),
    (
        "listener 1\nproxy_protocol_v2_require_tls true",
        "t.conf:1: proxy_protocol_v2_require_tls needs enable_proxy_protocol 2",
    ),
    (
        "listener 1\nenable_proxy_protocol 2\ncertfile a\nkeyfile b",
        "t.conf:1: enable_proxy_protocol leaves TLS to the load balancer: of the TLS keys only require_certificate and \
             use_identity_as_username are allowed here",
    ),
    (
        "listener 1\nenable_proxy_protocol 1\nrequire_certificate true",
        "t.conf:1: the load balancer reports TLS and certificates only with enable_proxy_protocol 2",
    ),
    (
        "listener 1\nprotocol http_api\nenable_proxy_protocol 1",
        "t.conf:1: enable_proxy_protocol is for MQTT: remove it with `protocol http_api`",
    ),
    (
        "listener 1\nlistener 2\nlistener 1 127.0.0.1",
        "t.conf:3: the port 1 is already used by the listener of t.conf:1; fix: remove one of them, or \
         choose another port",
    ),
    (
        "durability interval 0",
        "t.conf:1: durability interval 0: must be sync, none, or interval and milliseconds from 1 to 3600000, such as \
         interval 100",
    ),
    (
        "persistence_file a/b",
        "t.conf:1: persistence_file a/b: must be a file name; fix: name the folder in persistence_location",
    ),
    (
        "autosave_interval x",
        "t.conf:1: autosave_interval x: must be 0 or more",
    ),
    ("port 1\u{7}", "t.conf:1: the line has a control character"),
    (
        "include_dir /nonexistent",
        "t.conf:1: include_dir /nonexistent cannot be read: No such file or directory (os error 2)",
    ),
    (
        "connection bridge-a",
        "t.conf:1: connection bridge-a: the bridge has no address; fix: add `address HOST:PORT`",
    ),
    (
        "auth_opt_backends x",
        "t.conf:1: auth_opt_backends is not supported: it is no option of a plugin that is part of the \
         broker: mosquitto_dynamic_security.so has plugin_opt_config_file and plugin_opt_password_init_file",
    ),
];

#[test]
fn mistakes_name_the_line_and_what_is_right() {
    for (text, expected) in MISTAKES {
        assert_eq!(mistakes(text), *expected, "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_up_to_a_bound() {
    assert_eq!(mistakes("port 0\nmax_qos 1\nmax_qos 5").lines().count(), 2);
    assert_eq!(mistakes(&"x\n".repeat(1000)).lines().count(), 20);
}

/// Texts whose keys have no effect, and the messages about them.
const WARNINGS: &[(&str, &str)] = &[
    (
        "persistence true\nautosave_interval 5\nautosave_on_changes true",
        "autosave_interval and autosave_on_changes have no effect: what happens is stored when it happens",
    ),
    (
        "set_tcp_nodelay false",
        "t.conf:1: set_tcp_nodelay false has no effect: Nagle's algorithm is always off",
    ),
    (
        "dhparamfile x",
        "t.conf:1: dhparamfile has no effect: keys are exchanged over elliptic curves",
    ),
    (
        "log_dest dlt",
        "t.conf:1: log_dest dlt is known but not supported yet, it has no effect: use stdout, stderr, syslog, topic or \
         file",
    ),
    (
        "retain_expiry_interval 5",
        "t.conf:1: retain_expiry_interval has no effect: each is removed when its Message Expiry Interval is over",
    ),
    (
        "listener 1\nhttp_dir /",
        "t.conf:1: http_dir has no effect on this listener: it needs `protocol websockets`",
    ),
    (
        "listener 1\nwebsockets_origin http://a",
        "t.conf:1: websockets_origin has no effect on this listener: it needs `protocol websockets`",
    ),
    (
        "listener 1\nprotocol http_api\nmount_point x/",
        "t.conf:1: mount_point has no effect on this listener: there is no MQTT with `protocol http_api`",
    ),
    (
        "listener 1\nmax_qos 1\nprotocol http_api",
        "t.conf:1: max_qos has no effect on this listener: there is no MQTT with `protocol http_api`",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ntls_version tlsv1",
        "t.conf:4: tls_version tlsv1 is not safe any more: TLS 1.2 and 1.3 are served, clients must use one of them",
    ),
];

#[test]
fn keys_without_effect_are_warnings() {
    for (text, expected) in WARNINGS {
        assert_eq!(read(text).warnings, [*expected], "{text}");
    }
    assert_eq!(
        read("set_tcp_nodelay true\npersistence false\nautosave_interval 5\ntls_keyform pem").warnings,
        [""; 0]
    );
}
