use std::net::SocketAddr;
use std::path::Path;

use mqtt::QoS;
use proptest::prelude::*;

use super::draft::Draft;
use super::*;
use crate::log::{LogDestination, LogTimestamp, LogTypes};
use crate::settings::UNLIMITED;

fn read_with(text: &str, args: &Args) -> Result<Configuration, ConfigError> {
    let mut draft = Draft::default();
    draft.read(Path::new("t.conf"), text.as_bytes(), true);
    resolve::configuration(draft, args)
}

fn read(text: &str) -> Configuration {
    read_with(text, &Args::default()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The messages of a text that cannot be used.
fn mistakes(text: &str) -> String {
    read_with(text, &Args::default())
        .map(|_| text.to_owned())
        .expect_err("a mistake was expected in this text")
        .to_string()
}

fn addresses(configuration: &Configuration) -> Vec<Vec<SocketAddr>> {
    configuration
        .listeners
        .iter()
        .map(|listener| listener.addresses.clone())
        .collect()
}

fn socket_addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn without_a_listener_only_this_machine_connects() {
    for text in [
        "",
        "# only a comment\n",
        "max_queued_messages 5\n",
        "max_connections 5\n",
    ] {
        let configuration = read(text);
        assert!(configuration.local_only, "{text}");
        assert_eq!(
            addresses(&configuration),
            [socket_addresses(&["127.0.0.1:1883", "[::1]:1883"])]
        );
        assert!(configuration.settings.listeners[0].allow_anonymous);
    }
}

#[test]
fn ports_of_the_command_line_are_local() {
    let args = Args {
        ports: vec![1884, 0],
        ..Args::default()
    };
    let configuration = read_with("", &args).unwrap();
    let expected = [
        socket_addresses(&["127.0.0.1:1884", "[::1]:1884"]),
        socket_addresses(&["127.0.0.1:0"]),
    ];
    assert_eq!(addresses(&configuration), expected);
    assert_eq!(configuration.settings.listeners.len(), 2);

    let configuration = read_with("listener 1885 127.0.0.1", &args).unwrap();
    assert_eq!(addresses(&configuration), [socket_addresses(&["127.0.0.1:1885"])]);
    assert_eq!(
        configuration.warnings,
        ["command line: -p has no effect, the configuration file has a listener"]
    );
}

/// V17
#[test]
fn who_configures_a_listener_or_tls_closes_the_broker() {
    for text in [
        "listener 1883",
        "port 1883",
        "bind_address 127.0.0.1",
        "certfile a\nkeyfile b",
        "certfile a\nkeyfile b\ncafile c\nrequire_certificate true",
        "per_listener_settings true\nlistener 1883\nallow_anonymous true\nlistener 1884",
    ] {
        let configuration = read(text);
        assert!(
            !configuration.settings.listeners.last().unwrap().allow_anonymous,
            "{text}"
        );
    }
    let tls = read("certfile a\nkeyfile b");
    assert!(
        addresses(&tls)[0]
            .iter()
            .all(|address| address.ip().is_loopback())
    );
    assert!(tls.listeners[0].tls.is_some());
}

#[test]
fn anonymous_access_for_all_and_for_one() {
    let all = read(
        "allow_anonymous true\nlistener 1 127.0.0.1\nlistener 2 127.0.0.1\nlistener_allow_anonymous false",
    );
    let allowed: Vec<_> = all
        .settings
        .listeners
        .iter()
        .map(|listener| listener.allow_anonymous)
        .collect();
    assert_eq!(allowed, [true, false]);

    let each =
        read("per_listener_settings true\nlistener 1\nallow_anonymous false\nlistener 2\nallow_anonymous 1");
    let allowed: Vec<_> = each
        .settings
        .listeners
        .iter()
        .map(|listener| listener.allow_anonymous)
        .collect();
    assert_eq!(allowed, [false, true]);
    assert!(!read("allow_anonymous false").settings.listeners[0].allow_anonymous);
}

#[test]
fn addresses_of_listeners() {
    for (text, expected) in [
        ("listener 1883", vec!["0.0.0.0:1883", "[::]:1883"]),
        ("listener 1883\nsocket_domain ipv4", vec!["0.0.0.0:1883"]),
        ("listener 1883\nsocket_domain ipv6", vec!["[::]:1883"]),
        ("listener 1883 127.0.0.1", vec!["127.0.0.1:1883"]),
        ("listener 8883 ::1", vec!["[::1]:8883"]),
        ("port 1884", vec!["0.0.0.0:1884", "[::]:1884"]),
        ("bind_address 127.0.0.2\nport 1884", vec!["127.0.0.2:1884"]),
        ("bind_address 127.0.0.2", vec!["127.0.0.2:1883"]),
    ] {
        assert_eq!(addresses(&read(text)), [socket_addresses(&expected)], "{text}");
    }
    let named = read("listener 1883 localhost");
    assert!(addresses(&named)[0].contains(&"127.0.0.1:1883".parse().unwrap()));
}

#[test]
fn keys_belong_to_the_last_listener() {
    let text = "listener 1883 127.0.0.1\nmax_connections 10\nmax_qos 1\nlistener 8883 127.0.0.1\nmax_topic_alias 0\n\
                certfile server.crt\nkeyfile server.key\ncafile ca.crt\nrequire_certificate true\ntls_version tlsv1.3\n";
    let configuration = read(text);
    let [plain, secure] = configuration.settings.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!(
        (plain.connections_max, plain.qos_max, plain.topic_alias_max),
        (10, QoS::AtLeastOnce, 10)
    );
    assert_eq!(
        (secure.connections_max, secure.qos_max, secure.topic_alias_max),
        (UNLIMITED, QoS::ExactlyOnce, 0)
    );
    assert_eq!(configuration.listeners[0].tls, None);
    let tls = ListenerTls {
        client_ca: Some("ca.crt".into()),
        require_client_certificate: true,
        version_min: TlsVersion::V1_3,
        ..ListenerTls::new("server.crt".into(), "server.key".into())
    };
    assert_eq!(configuration.listeners[1].tls, Some(tls));
}

#[test]
fn keys_of_tls() {
    let text = "listener 8883 127.0.0.1\ncertfile server.crt\nkeyfile server.key\nkey_passphrase_file secret\ncapath folder\n\
                crlfile crl.pem\nrequire_certificate true\nallow_v1_certificates false\n\
                disable_client_cert_date_checks true\nuse_subject_as_username true\nciphers ECDHE-RSA-AES128-GCM-SHA256\n\
                ciphers_tls1.3 TLS_AES_128_GCM_SHA256\nlistener 8884 127.0.0.1\ncertfile server.crt\nkeyfile server.key\n\
                cafile ca.crt\nrequire_certificate true\nuse_identity_as_username true\nuse_subject_as_username false";
    let configuration = read(text);
    let tls = |index: usize| configuration.listeners[index].tls.clone().unwrap();
    let first = ListenerTls {
        key_passphrase_file: Some("secret".into()),
        client_ca_folder: Some("folder".into()),
        revocation_list: Some("crl.pem".into()),
        require_client_certificate: true,
        accept_version_1: false,
        ignore_client_dates: true,
        identity: Some(IdentityKind::Subject),
        ciphers: Some("ECDHE-RSA-AES128-GCM-SHA256".to_owned()),
        ciphers_tls13: Some("TLS_AES_128_GCM_SHA256".to_owned()),
        ..ListenerTls::new("server.crt".into(), "server.key".into())
    };
    assert_eq!(tls(0), first);
    assert_eq!(tls(1).identity, Some(IdentityKind::CommonName));
    assert!(tls(1).accept_version_1 && !tls(1).ignore_client_dates);
    assert!(
        configuration
            .settings
            .listeners
            .iter()
            .all(|listener| listener.certificate_names_user)
    );
    let effective = configuration.effective();
    assert_eq!(read(&effective).effective(), effective);
}

#[test]
fn keys_above_the_first_listener_open_the_default_one() {
    let configuration = read("max_connections 5\nlistener 1884 127.0.0.1");
    assert_eq!(
        configuration
            .listeners
            .iter()
            .map(|listener| listener.port)
            .collect::<Vec<_>>(),
        [1883, 1884]
    );
    assert_eq!(configuration.settings.listeners[0].connections_max, 5);
    assert!(
        configuration
            .settings
            .listeners
            .iter()
            .all(|listener| !listener.allow_anonymous)
    );
    let [warning] = configuration.warnings.as_slice() else {
        panic!("one warning")
    };
    assert!(
        warning.starts_with("t.conf:1: max_connections stands above the first listener"),
        "{warning}"
    );
}

#[test]
fn bounds_at_nothing_and_at_the_most() {
    let zero = read(
        "message_size_limit 0\nmax_inflight_messages 0\nmax_inflight_bytes 0\nmax_queued_messages 0\n\
         max_queued_bytes 0\nmax_keepalive 0\nsys_interval 0\nmax_connections 0\nmax_topic_alias 0\nmax_qos 0\n",
    );
    let settings = &zero.settings;
    assert_eq!(settings.payload_bytes_max, u32::MAX);
    assert_eq!(settings.inflight_messages_max, u16::MAX);
    assert_eq!(
        [
            settings.inflight_bytes_max,
            settings.queued_messages_max,
            settings.queued_bytes_max
        ],
        [UNLIMITED; 3]
    );
    assert_eq!((settings.keep_alive_s_max, settings.sys_interval_s), (0, 0));
    assert_eq!(settings.listeners[0].connections_max, UNLIMITED);
    assert_eq!(settings.listeners[0].qos_max, QoS::AtMostOnce);

    let most = read(&format!(
        "message_size_limit 268435455\nmax_packet_size 268435460\nmax_inflight_messages 65535\nmax_keepalive 65535\n\
         max_queued_messages {0}\nmax_queued_bytes {0}\nmax_inflight_bytes {0}\nmax_connections {0}\nsys_interval 65535\n",
        i64::MAX
    ));
    assert_eq!(most.settings.packet_bytes_max, 268_435_460);
    assert_eq!(most.settings.payload_bytes_max, 268_435_455);
    assert_eq!(most.settings.queued_bytes_max, i64::MAX.unsigned_abs());
    assert_eq!(most.settings.sys_interval_s, 65_535);
}

#[test]
fn sessions_expire() {
    for (text, expected_s) in [
        ("1h", 3600),
        ("14d", 1_209_600),
        ("2w", 1_209_600),
        ("2m", 5_184_000),
        ("1y", 31_536_000),
    ] {
        let configuration = read(&format!("persistent_client_expiration {text}"));
        assert_eq!(
            configuration.settings.persistent_client_expiration_s,
            Some(expected_s),
            "{text}"
        );
    }
    assert_eq!(read("").settings.persistent_client_expiration_s, None);
}

#[test]
fn who_is_let_in() {
    let configuration = read(
        "global_max_clients 5\nglobal_max_connections -1\nclientid_prefixes secure-\nupgrade_outgoing_qos true\n\
         listener 1\naccept_protocol_versions 4,5\nlistener 2",
    );
    let settings = &configuration.settings;
    assert_eq!((settings.clients_max, settings.connections_max), (5, UNLIMITED));
    assert_eq!(settings.client_identifier_prefix.as_deref(), Some("secure-"));
    assert!(settings.upgrade_outgoing_qos);
    let accepted: Vec<_> = settings
        .listeners
        .iter()
        .map(|l| (l.accept_v3_1, l.accept_v3_1_1, l.accept_v5))
        .collect();
    assert_eq!(accepted, [(false, true, true), (true, true, true)]);
    assert_eq!(
        read(&configuration.effective()).effective(),
        configuration.effective()
    );
}

#[test]
fn log_settings() {
    let log = read("").log;
    assert_eq!(
        (log.types, log.timestamp),
        (LogTypes::USUAL, LogTimestamp::EpochSeconds)
    );
    assert_eq!(log.destinations, [LogDestination::Stderr]);

    let log = read("log_dest stdout\nlog_dest file /var/log/a b.log\nlog_type error\nlog_type debug\nlog_timestamp_format %H\nconnection_messages false").log;
    assert_eq!(
        log.destinations,
        [
            LogDestination::Stdout,
            LogDestination::File("/var/log/a b.log".into())
        ]
    );
    assert_eq!(log.types, LogTypes::ERROR.with(LogTypes::DEBUG));
    assert_eq!(log.timestamp, LogTimestamp::Format("%H".to_owned()));
    assert!(!log.connection_messages);

    let log = read("log_dest none\nlog_type none\nlog_timestamp false").log;
    assert_eq!(
        (log.destinations, log.types, log.timestamp),
        (Vec::new(), LogTypes::NONE, LogTimestamp::None)
    );

    let verbose = Args {
        verbose: true,
        ..Args::default()
    };
    assert_eq!(
        read_with("log_type error", &verbose).unwrap().log.types,
        LogTypes::ALL
    );
}

#[test]
fn identifiers_that_the_broker_makes() {
    let configuration = read(
        "auto_id_prefix a-\nallow_zero_length_clientid false\nlistener 1\nlistener 2\nlistener_auto_id_prefix b-",
    );
    let [first, second] = configuration.settings.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!(first.assigned_client_identifier_prefix, "a-");
    assert_eq!(second.assigned_client_identifier_prefix, "b-");
    assert!(!first.allow_zero_length_client_identifier && !second.allow_zero_length_client_identifier);
}

/// Texts that cannot be used, and what is said of them.
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
        "t.conf:1: listener x: must be a port from 1 to 65535 and perhaps an address",
    ),
    (
        "listener 0",
        "t.conf:1: listener 0: the port must be from 1 to 65535",
    ),
    (
        "listener 0 /tmp/s",
        "t.conf:1: listener 0 /tmp/s: Unix sockets are known but not supported yet: name a port",
    ),
    (
        "listener 1 a b",
        "t.conf:1: listener 1 a b: must be one port and one address",
    ),
    (
        "socket_domain ipv5",
        "t.conf:1: socket_domain ipv5: must be ipv4 or ipv6",
    ),
    (
        "protocol soap",
        "t.conf:1: protocol soap: must be mqtt or websockets",
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
        "t.conf:1: log_dest x: must be stdout, stderr, syslog, file PATH or none",
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
        "t.conf:1: crlfile needs cafile or capath, the authorities that the revocation lists are from",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ncafile c\nuse_identity_as_username true",
        "t.conf:1: a user name from the certificate needs require_certificate true: without a certificate no client has a \
             name",
    ),
    (
        "listener 1\ncertfile a\nkeyfile b\ncafile c\nrequire_certificate true\nuse_identity_as_username true\n\
         use_subject_as_username true",
        "t.conf:1: use_identity_as_username and use_subject_as_username contradict each other: leave one out",
    ),
    (
        "listener 1 127.0.0.1\nsocket_domain ipv6",
        "t.conf:1: socket_domain leaves no address to listen on",
    ),
    (
        "allow_anonymous true\nper_listener_settings true",
        "t.conf:2: per_listener_settings must stand above allow_anonymous",
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
        "t.conf:1: enable_proxy_protocol leaves TLS to the load balancer: of its keys only require_certificate and \
             use_identity_as_username may stand here",
    ),
    (
        "listener 1\nenable_proxy_protocol 1\nrequire_certificate true",
        "t.conf:1: what the load balancer knows of TLS and certificates needs enable_proxy_protocol 2",
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
        "t.conf:1: connection is not supported: bridges are not part of Midge: run `mosquitto` or another bridge beside \
             it as a client of both brokers",
    ),
    (
        "auth_opt_backends x",
        "t.conf:1: auth_opt_backends is not supported: plugins for mosquitto cannot be loaded: use password_file and \
             acl_file",
    ),
];

/// V17: keys that say who may connect close the broker to all others; each listener has its own with
/// `per_listener_settings`, the default listener too.
#[test]
fn v17_password_and_acl_files_close_the_broker() {
    for text in ["password_file p", "acl_file a", "password_file p\nacl_file a"] {
        let configuration = read(text);
        assert!(!configuration.settings.listeners[0].allow_anonymous, "{text}");
        let given = read(&format!("{text}\nallow_anonymous true"));
        assert!(given.settings.listeners[0].allow_anonymous, "{text}");
    }
    let files = |text: &str| -> Vec<(bool, bool)> {
        let listeners = read(text).listeners;
        listeners
            .iter()
            .map(|listener| {
                (
                    listener.access.password_file.is_some(),
                    listener.access.acl_file.is_some(),
                )
            })
            .collect()
    };
    assert_eq!(
        files("port 1\npassword_file p\nlistener 2\nacl_file a"),
        [(true, true); 2]
    );
    assert_eq!(
        files(
            "per_listener_settings true\nport 1\npassword_file p\nlistener 2\nacl_file a\nlistener 3\n\
             allow_anonymous true"
        ),
        [(true, false), (false, true), (false, false)]
    );
}

#[test]
fn relative_paths_lead_to_the_working_directory_then_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("passfile"), "").unwrap();
    let path = folder.path().join("t.conf");
    std::fs::write(&path, "password_file passfile\nacl_file nowhere\n").unwrap();
    let args = Args {
        config_file: Some(path),
        ..Args::default()
    };
    let access = load(&args).unwrap().listeners.remove(0).access;
    assert_eq!(access.password_file, Some(folder.path().join("passfile")));
    assert_eq!(
        access.acl_file,
        Some(std::env::current_dir().unwrap().join("nowhere"))
    );
    std::fs::write(folder.path().join("t.conf"), "password_file Cargo.toml\n").unwrap();
    std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
    let access = load(&args).unwrap().listeners.remove(0).access;
    assert_eq!(
        access.password_file,
        Some(std::env::current_dir().unwrap().join("Cargo.toml"))
    );
}

#[test]
fn mistakes_name_the_line_and_what_is_right() {
    for (text, expected) in MISTAKES {
        assert_eq!(mistakes(text), *expected, "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_up_to_a_bound() {
    assert_eq!(mistakes("port 0\nmax_qos 1\nmax_qos 5").lines().count(), 2);
    assert_eq!(mistakes(&"x\n".repeat(1000)).lines().count(), 20);
}

/// Texts whose keys have no effect, and what is said of them.
const WARNINGS: &[(&str, &str)] = &[
    (
        "persistence true",
        "t.conf:1: persistence true: nothing is stored on disk yet, sessions and messages are kept in memory and are gone \
             after a restart",
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
        "log_dest topic",
        "t.conf:1: log_dest topic is known but not supported yet, it has no effect: use stdout, stderr, syslog or file",
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
        read("set_tcp_nodelay true\npersistence false\ntls_keyform pem").warnings,
        [""; 0]
    );
}

#[test]
fn a_file_with_included_files() {
    let folder = tempfile::tempdir().unwrap();
    let included = folder.path().join("conf.d");
    std::fs::create_dir(&included).unwrap();
    // Read in the order A, a, B; the last value holds, and keys belong to the last listener in that order.
    std::fs::write(
        included.join("B.conf"),
        "max_queued_messages 1\nmax_connections 7\n",
    )
    .unwrap();
    std::fs::write(included.join("a.conf"), "max_queued_messages 2\nmax_qos 0\n").unwrap();
    std::fs::write(
        included.join("A.conf"),
        "max_queued_messages 3\nlistener 1884 127.0.0.1\n",
    )
    .unwrap();
    std::fs::write(included.join("ignored.txt"), "unknown\n").unwrap();
    let main = folder.path().join("main.conf");
    std::fs::write(&main, format!("include_dir {}\nmax_qos 1\n", included.display())).unwrap();
    let args = Args {
        config_file: Some(main.clone()),
        ..Args::default()
    };
    let configuration = load(&args).unwrap();
    assert_eq!(configuration.settings.queued_messages_max, 1);
    let [listener] = configuration.settings.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(
        (listener.connections_max, listener.qos_max),
        (7, QoS::AtLeastOnce)
    );

    std::fs::write(
        included.join("c.conf"),
        format!("\ninclude_dir {}\n", included.display()),
    )
    .unwrap();
    let error = load(&args).unwrap_err();
    assert_eq!(
        error.problems[0].place.to_string(),
        format!("{}:2", included.join("c.conf").display())
    );
    assert_eq!(
        error.problems[0].text,
        "include_dir may stand in the main file only"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let args = |path: PathBuf| Args {
        config_file: Some(path),
        ..Args::default()
    };
    let text = load(&args("/nonexistent.conf".into())).unwrap_err().to_string();
    assert_eq!(
        text,
        "/nonexistent.conf: cannot be read: No such file or directory (os error 2)"
    );
    assert!(
        load(&args(folder.path().to_owned()))
            .unwrap_err()
            .to_string()
            .contains("Is a directory")
    );
    let large = folder.path().join("large.conf");
    std::fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
    assert!(
        load(&args(large))
            .unwrap_err()
            .to_string()
            .contains("larger than a configuration file may be")
    );
}

#[test]
fn the_effective_configuration_reads_as_itself() {
    for text in [
        "",
        "listener 1883\nsocket_domain ipv4\nlistener 8883 127.0.0.1\ncertfile a b\nkeyfile c\ncafile d\nmax_connections 5",
        "persistent_client_expiration 2w\nlog_dest none\nlog_type none\nlog_timestamp_format %H\npid_file x\nallow_anonymous true\n\
         listener 1 127.0.0.1\nlistener_allow_anonymous false\nlistener 2 ::1\nauto_id_prefix x",
        "listener 1\nmount_point m/\nbind_interface lo\nuse_username_as_clientid true\nlistener 2\nenable_proxy_protocol 2\n\
         proxy_protocol_v2_require_tls true\nrequire_certificate true\nuse_identity_as_username true\nlog_dest syslog\n\
         log_facility 5\nmemory_limit 1000000\nmax_inflight_bytes 7\npersistent_client_expiration 90s",
        "websockets_headers_size 9000\nlistener 1\nprotocol websockets\nhttp_dir /\nwebsockets_origin http://a\n\
         websockets_origin http://b:80\nlistener 2",
        "message_size_limit 5\nmax_queued_messages 0\nmax_inflight_messages 0\nport 1884\ntls_version tlsv1.3\ncertfile a\nkeyfile b",
    ] {
        let effective = read(text).effective();
        let again = read(&effective);
        assert_eq!(again.effective(), effective, "{text}");
        assert_eq!(again.warnings, [""; 0], "{effective}");
    }
    let effective = read("listener 1885 127.0.0.1\nmax_qos 1").effective();
    assert!(effective.contains("\nmax_inflight_messages 20\n"), "{effective}");
    assert!(effective.contains("\nlistener 1885 127.0.0.1\n"), "{effective}");
    assert!(effective.contains("\nmax_qos 1\n"), "{effective}");
    assert!(effective.contains("\nallow_anonymous false\n"), "{effective}");
}

#[test]
fn the_reference_for_operators_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    if std::env::var_os("MIDGE_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/CONFIGURATION.md is old: run MIDGE_WRITE_DOCS=1 cargo test -p broker"
    );
}

fn any_line() -> impl Strategy<Value = String> {
    let names: Vec<_> = keys::all()
        .map(|key| key.name)
        .filter(|&name| name != "include_dir")
        .collect();
    let number = prop_oneof![
        Just("0".to_owned()),
        Just(u64::MAX.to_string()),
        any::<i64>().prop_map(|n| n.to_string())
    ];
    let value = prop_oneof![number, Just("true".to_owned()), "[0-9a-z. %/]{0,12}", "\\PC{0,8}"];
    (proptest::sample::select(names), value).prop_map(|(name, value)| format!("{name} {value}"))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Draft::default().read(Path::new("t.conf"), &bytes, false);
    }

    #[test]
    fn any_values_are_read_without_panic(lines in proptest::collection::vec(any_line(), 0..12)) {
        let mut draft = Draft::default();
        draft.read(Path::new("t.conf"), lines.join("\n").as_bytes(), false);
        for problem in &draft.problems {
            prop_assert!((1..=12).contains(&problem.place.line));
            prop_assert!(!problem.text.is_empty());
        }
    }
}

/// The numeric keys with the numbers at the edges of what they take.
fn edges() -> Vec<(&'static str, i64)> {
    let mut edges = Vec::new();
    for key in keys::all() {
        if let keys::Status::Effective(keys::Value::Integer { ranges, .. }, _) = &key.status {
            let ends = ranges.iter().flat_map(|&(minimum, maximum)| [minimum, maximum]);
            let around = ends.flat_map(|end| [end.saturating_sub(1), end, end.saturating_add(1)]);
            edges.extend(around.chain([0, 1, i64::MAX]).map(|number| (key.name, number)));
        }
    }
    edges
}

/// A client of each version connects, subscribes and publishes at each QoS, retained too; some time passes.
fn exercise(settings: crate::settings::Settings) {
    use crate::logic::testing::{Cluster, connect};
    use mqtt::packet::{Publish, RetainHandling, SubscriptionOptions};
    let mut cluster = Cluster::with_settings(2, settings);
    for version in [mqtt::ProtocolVersion::V3_1_1, mqtt::ProtocolVersion::V5] {
        let client = cluster.connect(&connect(version, "c"));
        let mut bytes = Vec::new();
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let identifier = mqtt::PacketIdentifier::MIN;
        let none = mqtt::property::Properties::EMPTY;
        mqtt::encode::subscribe(identifier, none, &[("#", options)], version, &mut bytes).unwrap();
        for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            let publish = Publish {
                dup: false,
                qos,
                retain: number % 2 == 0,
                topic: "a/b",
                packet_identifier: (qos != QoS::AtMostOnce).then_some(identifier),
                properties: none,
                payload: b"payload",
            };
            publish.encode(version, &mut bytes).unwrap();
        }
        cluster.send(client, &bytes);
        cluster.advance_s(30);
        cluster.cut(client);
    }
    cluster.advance_s(100);
    cluster.shut_down();
}

/// V24: every number that a key takes is safe on its own.
#[test]
fn v24_numbers_at_their_edges() {
    for (key, number) in edges() {
        // A number outside of the range is refused, which is as safe.
        if let Ok(configuration) =
            read_with(&format!("allow_anonymous true\n{key} {number}"), &Args::default())
        {
            exercise(configuration.settings);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// V24: and together with any others.
    #[test]
    fn v24_numbers_at_their_edges_together(chosen in proptest::collection::vec(proptest::sample::select(edges()), 1..12)) {
        let lines: Vec<_> = chosen.iter().map(|(key, number)| format!("{key} {number}")).collect();
        if let Ok(configuration) = read_with(&format!("allow_anonymous true\n{}", lines.join("\n")), &Args::default()) {
            exercise(configuration.settings);
        }
    }
}

/// V33, V36, V37: the caps on what clients may make the broker hold.
#[test]
fn v33_v36_v37_caps_are_settings_with_zero_for_no_limit() {
    let text =
        "max_retained_messages 5\nmax_retained_bytes 6\nmax_subscriptions 7\nmax_sessions_per_user 8\n";
    let settings = read(text).settings;
    assert_eq!(
        (settings.retained_messages_max, settings.retained_bytes_max),
        (5, 6)
    );
    assert_eq!((settings.subscriptions_max, settings.user_sessions_max), (7, 8));
    let text =
        "max_retained_messages 0\nmax_retained_bytes 0\nmax_subscriptions 0\nmax_sessions_per_user 0\n";
    let settings = read(text).settings;
    assert_eq!(settings.retained_messages_max, UNLIMITED);
    assert_eq!(settings.retained_bytes_max, UNLIMITED);
    assert_eq!(
        settings.subscriptions_max,
        crate::limits::SUBSCRIPTIONS_PER_SESSION_MAX
    );
    assert_eq!(settings.user_sessions_max, UNLIMITED);
}
