//! Where a listener listens, who may use it, and which keys refer to it.

use mqtt::QoS;

use super::*;

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
        ["command line: -p has no effect, because the configuration file has a listener"]
    );
}

/// V17: each listener has its own rules and settings.
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
        (
            "listener 9883\nprotocol http_api",
            vec!["127.0.0.1:9883", "[::1]:9883"],
        ),
        (
            "listener 9883 127.0.0.2\nprotocol http_api",
            vec!["127.0.0.2:9883"],
        ),
    ] {
        assert_eq!(addresses(&read(text)), [socket_addresses(&expected)], "{text}");
    }
    let named = read("listener 1883 localhost");
    assert!(addresses(&named)[0].contains(&"127.0.0.1:1883".parse().unwrap()));
}

#[test]
fn keys_belong_to_the_last_listener() {
    let text = "listener 1883 127.0.0.1\nmax_connections 10\nmax_qos 1\nlistener 8883 127.0.0.1\nmax_topic_alias \
                0\ncertfile server.crt\nkeyfile server.key\ncafile ca.crt\nrequire_certificate true\ntls_version \
                tlsv1.3\n";
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
    let text = "listener 8883 127.0.0.1\ncertfile server.crt\nkeyfile server.key\nkey_passphrase_file secret\ncapath \
                folder\ncrlfile crl.pem\nrequire_certificate true\nallow_v1_certificates \
                false\ndisable_client_cert_date_checks true\nrustls_records true\nuse_subject_as_username \
                true\nciphers ECDHE-RSA-AES128-GCM-SHA256\nciphers_tls1.3 TLS_AES_128_GCM_SHA256\nlistener 8884 \
                127.0.0.1\ncertfile server.crt\nkeyfile server.key\ncafile ca.crt\nrequire_certificate \
                true\nuse_identity_as_username true\nuse_subject_as_username false";
    let configuration = read(text);
    let tls = |index: usize| configuration.listeners[index].tls.clone().unwrap();
    let first = ListenerTls {
        key_passphrase_file: Some("secret".into()),
        client_ca_folder: Some("folder".into()),
        revocation_list: Some("crl.pem".into()),
        require_client_certificate: true,
        accept_version_1: false,
        ignore_client_dates: true,
        rustls_records: true,
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
        warning.starts_with("t.conf:1: max_connections is above the first listener"),
        "{warning}"
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

/// V17: keys about who may connect close the broker to all others; with `per_listener_settings` each listener has its
/// own, including the default listener.
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
