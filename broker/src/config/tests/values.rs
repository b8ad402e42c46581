//! What values set, and that the printed configuration in effect reads back unchanged.

use mqtt::QoS;

use super::*;
use crate::log::{LogDestination, LogTimestamp, LogTypes};

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
        "message_size_limit 268435455\nmax_packet_size 268435460\nmax_inflight_messages 65535\nmax_keepalive \
         65535\nmax_queued_messages {0}\nmax_queued_bytes {0}\nmax_inflight_bytes {0}\nmax_connections \
         {0}\nsys_interval 65535\n",
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

    let log = read(
        "log_dest stdout\nlog_dest file /var/log/a b.log\nlog_type error\nlog_type \
                    debug\nlog_timestamp_format %H\nconnection_messages false",
    )
    .log;
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
fn the_effective_configuration_reads_as_itself() {
    for text in [
        "",
        "listener 1883\nsocket_domain ipv4\nlistener 8883 127.0.0.1\ncertfile a b\nkeyfile c\ncafile \
         d\nmax_connections 5",
        "persistent_client_expiration 2w\nlog_dest none\nlog_type none\nlog_timestamp_format %H\npid_file \
         x\nallow_anonymous true\nlistener 1 127.0.0.1\nlistener_allow_anonymous false\nlistener 2 ::1\nauto_id_prefix \
         x",
        "listener 1\nmount_point m/\nbind_interface lo\nuse_username_as_clientid true\nlistener \
         2\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\nrequire_certificate \
         true\nuse_identity_as_username true\nlog_dest syslog\nlog_facility 5\nmemory_limit \
         1000000\nmax_inflight_bytes 7\npersistent_client_expiration 90s",
        "websockets_headers_size 9000\nlistener 1\nprotocol websockets\nhttp_dir /\nwebsockets_origin http://a\n\
         websockets_origin http://b:80\nlistener 2",
        "persistence true\npersistence_location /var/lib\npersistence_file a.db\ndurability interval 100\n\
         store_size_max 300000000\nretained_persistence false",
        "message_size_limit 5\nmax_queued_messages 0\nmax_inflight_messages 0\nport 1884\ntls_version \
         tlsv1.3\ncertfile a\nkeyfile b",
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

#[test]
fn the_keys_of_the_moving_guide_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FROM_MOSQUITTO.md");
    let (begin, end) = ("<!-- keys -->\n", "<!-- end of keys -->");
    let written = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let right = format!("{before}{begin}{}{end}{after}", moving_tables());
    if std::env::var_os("MIDGE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &right).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == right,
        "docs/FROM_MOSQUITTO.md is old: run MIDGE_WRITE_DOCS=1 cargo test -p broker"
    );
}

/// V33, V36, V37: the limits of what clients may make the broker hold.
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

/// mosquitto uses the first word of a number, a flag or a name, and ignores what follows.
#[test]
fn text_after_a_value() {
    for (line, comment) in [
        ("allow_anonymous true", "# lab"),
        ("listener 1884", "# plain"),
        ("listener 1884 127.0.0.1", "# plain"),
        ("max_qos 1", "# no more"),
        ("sys_interval 5", "#seconds"),
        ("protocol websockets", "# for browsers"),
        ("socket_domain ipv4", "# only"),
        ("log_type error", "# few"),
        ("log_dest stdout", "# for docker"),
        ("tls_version tlsv1.3", "# new"),
        ("persistent_client_expiration 2w", "# two weeks"),
        ("shared_subscription_strategy sticky", "# mine"),
    ] {
        let line = match line.split_once(' ') {
            Some(("tls_version", _)) => format!("listener 1\ncertfile a\nkeyfile b\n{line}"),
            _ => line.to_owned(),
        };
        let plain = read(&line);
        let commented = read(&format!("{line} \t{comment}"));
        assert_eq!(commented.effective(), plain.effective(), "{line}");
        assert_eq!(commented.warnings, plain.warnings, "{line}");
        if line == "listener 1884" {
            // What follows is the address.
            continue;
        }
        let followed = read(&format!("{line} a b"));
        assert_eq!(followed.effective(), plain.effective(), "{line}");
        assert_eq!(followed.warnings.len(), plain.warnings.len() + 1, "{line}");
        assert!(
            followed
                .warnings
                .iter()
                .any(|warning| warning.contains("the text after it has no effect")),
            "{line}: {:?}",
            followed.warnings
        );
    }
}
