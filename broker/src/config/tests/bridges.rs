//! Bridges of a configuration.

use mqtt::ProtocolVersion;

use super::*;
use crate::bridge_settings::{Notifications, RestartTimeout, StartType};

fn mistakes(lines: &str) -> String {
    read_with(lines, &Args::default()).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn a_bridge_has_the_defaults_of_mosquitto() {
    let bridge = bridges_of("connection name\naddress far.example\ntopic #").remove(0);
    assert_eq!(bridge.addresses[0].to_string(), "far.example:1883");
    let remote = &bridge.remote.client_identifier;
    assert!(
        remote.ends_with(".name") && remote.len() > ".name".len(),
        "{remote}"
    );
    assert_eq!(bridge.local.client_identifier, format!("local.{remote}"));
    assert_eq!(bridge.version, ProtocolVersion::V3_1_1);
    assert_eq!(bridge.start, StartType::Automatic);
    let topic = format!("$SYS/broker/connection/{remote}/state");
    assert_eq!(bridge.notifications, Notifications::Both { topic });
    let restart = RestartTimeout {
        base_s: 5,
        cap_s: 30,
        stable_s: 0,
    };
    assert_eq!(bridge.restart, restart);
    assert!(bridge.try_private && bridge.unsubscribes && bridge.outgoing_retain);
    assert!(!bridge.clean_session && !bridge.local_clean_session && !bridge.round_robin);
    assert_eq!((bridge.keep_alive_s, bridge.tls), (60, None));
}

#[test]
fn addresses_with_and_without_ports() {
    let lines = "connection b\naddress a b:2 [::1]:3 [::2] ::3:4\naddresses c";
    let all: Vec<_> = bridges_of(lines)[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all, ["a:1883", "b:2", "::1:3", "::2:1883", "::3:4", "c:1883"]);
}

/// What is shown is read as the same, but for passwords, which are not shown.
#[test]
fn what_is_in_effect_is_shown_without_passwords() {
    let lines = "connection one\naddress a:1 [::1]:2\nround_robin true\ntopic a/# both 2 l/ r/\ntopic \"b c\" in 1\n\
                 bridge_protocol_version mqttv50\nremote_clientid there\nremote_username u\nlocal_clientid here\n\
                 local_username v\nlocal_password hush\ncleansession true\nlocal_cleansession false\n\
                 start_type lazy\nthreshold 5\nidle_timeout 7\nrestart_timeout 2 9 30\nkeepalive_interval 11\n\
                 notification_topic s\nnotifications_local_only true\nbridge_attempt_unsubscribe false\n\
                 bridge_max_packet_size 1000\nbridge_outgoing_retain false\nbridge_bind_address 127.0.0.1\n\
                 bridge_max_topic_alias 3\nbridge_receive_maximum 4\nbridge_session_expiry_interval 60\n\
                 bridge_tcp_keepalive 10 20 3\nbridge_tcp_user_timeout 500\nbridge_reload_type immediate\n\
                 bridge_cafile /ca\nbridge_certfile /c\nbridge_keyfile /k\nbridge_insecure true\nbridge_alpn mqtt\n\
                 bridge_tls_version tlsv1.3\nconnection two\naddress b\nusername old\nclientid older\n";
    let configuration = read(lines);
    let shown = configuration.effective();
    let again = read(&shown).bridges;
    assert_eq!(again, configuration.bridges, "{shown}");
    let with_password = format!("{lines}password hush\n");
    let shown = read(&with_password).effective();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(!format!("{:?}", read(&with_password)).contains("hush"));
}

#[test]
fn mistakes_say_what_to_do() {
    let bridge = |lines: &str| format!("connection b\naddress h\n{lines}");
    for (text, wrong) in [
        (
            "address h".to_owned(),
            "address belongs to a bridge, and no `connection` line stands above it; fix: add one",
        ),
        (
            "connection b".to_owned(),
            "connection b: the bridge has no address; fix: add `address HOST:PORT`",
        ),
        (
            bridge("connection b\naddress h"),
            "the bridge of t.conf:1 has this name already",
        ),
        (bridge("address h:0"), "h:0: the port must be 1 to 65535"),
        (
            bridge("remote_password x"),
            "remote_password needs remote_username",
        ),
        (
            bridge("bridge_certfile c"),
            "bridge_certfile needs bridge_keyfile",
        ),
        (bridge("bridge_insecure true"), "the bridge would not use TLS"),
        (
            bridge("bridge_psk 12"),
            "bridge_psk is not supported: pre-shared keys",
        ),
        (bridge("bridge_require_ocsp true"), "OCSP is not supported"),
        (bridge("bridge_tls_version tlsv1.1"), "must be tlsv1.2 or tlsv1.3"),
        (
            bridge("bridge_protocol_version 5"),
            "must be mqttv31, mqttv311 or mqttv50",
        ),
        (bridge("start_type manual"), "take automatic, lazy or once"),
        (
            bridge("restart_timeout 30 10"),
            "must be SECONDS, or BASE CAP [STABLE]",
        ),
        (bridge("bridge_tcp_keepalive 1 2"), "must be three numbers"),
        (bridge("remote_clientid a+b"), "is no topic name"),
        (bridge("topic a sideways"), "must be out, in or both"),
        (
            bridge("local_clientid x\nconnection c\naddress h\nlocal_clientid x"),
            "it would be the client x of this broker, as the bridge b is",
        ),
    ] {
        let found = mistakes(&text);
        assert!(found.contains(wrong), "{text}: {found}");
    }
}

#[test]
fn a_password_is_not_shown_in_a_mistake() {
    let found =
        mistakes("connection b\naddress h\nremote_username u\nremote_password hush\nremote_password hush2");
    assert!(found.contains("remote_password: is set twice"), "{found}");
    assert!(!found.contains("hush"), "{found}");
    assert!(!mistakes("remote_password hush").contains("hush"));
}
