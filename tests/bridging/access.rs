//! Who a bridge is at either broker, and what it may do there.
//!
//! Invariants: none.

use mqtt::QoS;
use rustix::process::Signal;

use super::{await_connected, bridge_to};
use crate::harness::{Broker, Certificates, Client, Options, Setup, eventually, free_port, run};

/// A password file with the user `bridge` and the password `hush`.
fn passwords(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("passwords").display().to_string();
    let made = run(&["passwd", "-b", "-c", &path, "bridge", "hush"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    path
}

#[test]
fn a_bridge_is_a_user_of_the_other_broker() {
    let folder = tempfile::tempdir().unwrap();
    let far = Setup::default()
        .global(&format!("password_file {}", passwords(&folder)))
        .listener("allow_anonymous false")
        .start();
    let lines = [
        "topic # out 1 a/ b/",
        "remote_username bridge",
        "remote_password hush",
    ];
    let near = bridge_to(far.port(), &lines).global("log_type all").start();
    await_connected(&near);
    // Neither the log nor what is shown has the password.
    assert!(!near.log().contains("hush"));
    let shown = run(&[
        "-c",
        &near.path("broker.conf").display().to_string(),
        "--test-config",
    ]);
    assert!(shown.stdout.contains("remote_username bridge") && !shown.stdout.contains("hush"));
    drop(near);
    let wrong = [
        "topic # out 1 a/ b/",
        "remote_username bridge",
        "remote_password wrong",
    ];
    let near = bridge_to(far.port(), &wrong).start();
    eventually("the refusal is logged with what to do", || {
        near.log().contains("does not accept it") && near.log().contains("fix: remote_username")
    });
    assert!(!near.log().contains("wrong"), "{}", near.log());
}

const RULES: &str = "user here
topic readwrite a/#
topic read $SYS/#
user bridge
topic read a/allowed
topic write a/let-in
";

/// A bridge needs no password here; without a user it may do everything, with one what the ACL file allows that.
#[test]
fn a_bridge_has_the_rights_of_its_local_user() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = passwords(&folder);
    let made = run(&["passwd", "-b", &passwords, "here", "hush"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let acl = folder.path().join("acl");
    std::fs::write(&acl, RULES).unwrap();
    let far = Broker::start();
    let (all_out, all_in): (&[&str], &[&str]) = (&["denied", "allowed"], &["kept-out", "let-in"]);
    for (user, out, incoming) in [
        ("cleansession true", all_out, all_in),
        ("local_username bridge", &all_out[1..], &all_in[1..]),
    ] {
        let near = bridge_to(far.port(), &["topic # both 1 a/ b/", user])
            .global(&format!("password_file {passwords}"))
            .global(&format!("acl_file {}", acl.display()))
            .listener("allow_anonymous false")
            .start();
        // Its state is published in any case.
        let mut here = Client::connect(&near, &Options::new("here").user("here", "hush"));
        here.subscribe("$SYS/broker/connection/#", QoS::AtLeastOnce);
        while here.payloads(1) != ["1"] {}
        let mut there = Client::connect(&far, &Options::new("there"));
        there.subscribe("b/#", QoS::AtLeastOnce);
        here.subscribe("a/#", QoS::AtLeastOnce);
        for topic in all_out {
            here.publish(&format!("a/{topic}"), topic.as_bytes(), QoS::AtLeastOnce);
        }
        assert_eq!(there.payloads(out.len()), out);
        assert_eq!(here.payloads(all_out.len()), all_out);
        for topic in all_in {
            there.publish(&format!("b/{topic}"), topic.as_bytes(), QoS::AtLeastOnce);
        }
        assert_eq!(there.payloads(all_in.len()), all_in);
        assert_eq!(here.payloads(incoming.len()), incoming);
        for client in [&mut here, &mut there] {
            client.expect_nothing();
        }
    }
}

#[test]
fn a_bridge_checks_who_the_other_broker_is() {
    let (own, other) = (Certificates::new(), Certificates::new());
    let far = Setup::default().tls(&own);
    let other_port = free_port();
    // The same with another address, for which its certificate is not.
    let far = far
        .listener(&format!("listener {other_port} 127.0.0.2"))
        .tls(&own)
        .start();
    let lines = |certificates: &Certificates, rest: &str| {
        let ca = certificates.path("ca.crt").display().to_string();
        bridge_to(far.port(), &["topic a out", &format!("bridge_cafile {ca}"), rest])
    };
    let near = lines(&other, "bridge_tls_version tlsv1.3").start();
    eventually("the certificate is refused", || {
        near.log().contains("connects again")
    });
    assert!(!near.log().contains("is connected to"));
    drop(near);
    for rest in [
        "bridge_tls_version tlsv1.2",
        "bridge_alpn mqtt",
        "bridge_ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
    ] {
        let near = lines(&own, rest).start();
        await_connected(&near);
    }
    // Its certificate is for localhost and 127.0.0.1.
    let ca = own.path("ca.crt").display().to_string();
    for (insecure, connects) in [(false, false), (true, true)] {
        let near = Setup::default()
            .listener("connection far")
            .listener(&format!("address 127.0.0.2:{other_port}"))
            .listener("restart_timeout 1")
            .listener(&format!("bridge_cafile {ca}\nbridge_insecure {insecure}"))
            .start();
        eventually("it is decided", || {
            near.log().contains("is connected to") || near.log().contains("connects again")
        });
        assert_eq!(near.log().contains("is connected to"), connects, "{}", near.log());
    }
}

/// Nothing is started where a bridge is wrong, and `--test-config` finds it too.
#[test]
fn a_bridge_that_cannot_be_is_a_mistake() {
    let setup = bridge_to(1883, &["topic a out", "bridge_cafile /nonexistent/ca.crt"]);
    let (status, log) = setup.start_in_vain();
    assert!(!status.success());
    assert!(
        log.contains("connection far: cannot read") && log.contains("/nonexistent/ca.crt"),
        "{log}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.conf");
    for (lines, wrong) in [
        (
            "connection far\naddress h\nbridge_cafile /nonexistent/ca.crt",
            "/nonexistent/ca.crt",
        ),
        (
            "connection far\ntopic a out",
            "the bridge has no address; fix: add `address HOST:PORT`",
        ),
        (
            "connection far\naddress h\ntopic a out 7",
            "the QoS 7 must be 0, 1 or 2",
        ),
    ] {
        std::fs::write(&path, format!("listener 18999 127.0.0.1\n{lines}\n")).unwrap();
        let tested = run(&["-c", &path.display().to_string(), "--test-config"]);
        assert_eq!(tested.code, Some(3), "{lines}");
        assert!(tested.stderr.contains(wrong), "{lines}: {}", tested.stderr);
    }
}

#[test]
fn a_reload_changes_adds_and_removes_bridges() {
    let (one, other) = (Broker::start(), Broker::start());
    let lines = [
        "topic a/# out 1",
        "bridge_reload_type immediate",
        "local_clientid bridge",
    ];
    let near = bridge_to(one.port(), &lines).start();
    await_connected(&near);
    let mut at_one = Client::connect(&one, &Options::new("there"));
    let mut at_other = Client::connect(&other, &Options::new("there"));
    at_one.subscribe("#", QoS::AtLeastOnce);
    at_other.subscribe("#", QoS::AtLeastOnce);
    let mut here = Client::connect(&near, &Options::new("here"));
    let changed = [
        "topic b/# out 1",
        "bridge_reload_type immediate",
        "local_clientid bridge",
    ];
    near.configure(&bridge_to(other.port(), &changed));
    near.signal(Signal::HUP);
    eventually("the bridge has changed", || {
        near.log()
            .contains(&format!("is connected to 127.0.0.1:{}", other.port()))
    });
    // What it does not carry any more is not kept for it.
    for (topic, payload) in [("a/x", "1"), ("b/x", "2")] {
        here.publish(topic, payload.as_bytes(), QoS::AtLeastOnce);
    }
    assert_eq!(at_other.payloads(1), ["2"]);
    at_one.expect_nothing();
    near.configure(&Setup::default());
    near.signal(Signal::HUP);
    eventually("the bridge is gone", || {
        near.log().contains("is not in the configuration any more")
    });
    here.publish("b/x", b"3", QoS::AtLeastOnce);
    at_other.expect_nothing();
}
