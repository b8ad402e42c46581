//! Enhanced authentication by SCRAM-SHA-256 (MQTT 5.0, section 4.12), over live sockets.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::Packet;
use mqtt::property::Property;
use mqtt::{QoS, ReasonCode};
use rustix::process::Signal;
use test_support::ScramClient;

use crate::harness::{Broker, Certificates, Client, Options, Received, Setup, eventually, run};
use crate::real_clients::{peer, script, skip};

const METHOD: &str = "SCRAM-SHA-256";

/// A password file with users that were created as an operator does it.
struct Users(tempfile::TempDir);

impl Users {
    /// `ann` and `bob` have verifiers, `cat` has a hash of another kind; the passwords are their names with `-pw`.
    fn new() -> Self {
        let users = Self(tempfile::tempdir().unwrap());
        std::fs::write(users.path(), "").unwrap();
        users.set("ann", "scram-sha-256");
        users.set("bob", "scram-sha-256");
        users.set("cat", "sha512-pbkdf2");
        users
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("passfile")
    }

    fn set(&self, user: &str, hash: &str) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_midge-broker"))
            .args(["passwd", "-I", "4096", "-H", hash])
            .arg(self.path())
            .arg(user)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let typed = format!("{user}-pw\n{user}-pw\n");
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn setup(&self) -> Setup {
        Setup::default()
            .shards(2)
            .global("log_type all")
            .listener("allow_anonymous false")
            .listener(&format!("password_file {}", self.path().display()))
    }
}

fn options(client_identifier: &str, method: &str, data: &str) -> Options {
    Options::new(client_identifier)
        .v5()
        .property(Property::AuthenticationMethod(method))
        .property(Property::AuthenticationData(data.as_bytes()))
}

fn connecting(client_identifier: &str, scram: &ScramClient) -> Options {
    options(client_identifier, METHOD, &scram.first())
}

/// The Authentication Data of an AUTH with reason 0x18.
fn challenge(answer: &Received) -> Vec<u8> {
    match answer.packet() {
        Packet::Auth(auth) => {
            assert_eq!(auth.reason, ReasonCode::ContinueAuthentication);
            assert_eq!(auth.properties.authentication_method(), Some(METHOD));
            auth.properties.authentication_data().unwrap().to_vec()
        }
        other => panic!("no AUTH but {other:?}"),
    }
}

/// A CONNECT and the AUTH that answers the challenge.
fn prove(broker: &Broker, options: &Options, scram: &mut ScramClient) -> Client {
    let (mut client, answer) = Client::try_connect(broker, options);
    let last = scram.last(&challenge(&answer.unwrap())).unwrap();
    client.send_auth(ReasonCode::ContinueAuthentication, METHOD, last.as_bytes());
    client
}

fn join(broker: &Broker, options: &Options, scram: &mut ScramClient) -> Client {
    let mut client = prove(broker, options, scram);
    match client.expect(PacketType::ConnAck).packet() {
        Packet::ConnAck(connack) => {
            assert_eq!(connack.reason, ReasonCode::Success);
            assert_eq!(connack.properties.authentication_method(), Some(METHOD));
            assert!(scram.trusts(connack.properties.authentication_data().unwrap()));
        }
        other => panic!("{other:?}"),
    }
    client
}

fn refusal(mut client: Client) -> (ReasonCode, String) {
    let connack = client.expect(PacketType::ConnAck);
    let Packet::ConnAck(connack) = connack.packet() else {
        panic!("no CONNACK")
    };
    client.expect_closed();
    let why = connack.properties.reason_string().unwrap_or_default();
    (connack.reason, why.to_owned())
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5]: over TCP, TLS and WebSocket, on any shard.
#[test]
fn who_proves_the_password_is_in() {
    let (users, certificates) = (Users::new(), Certificates::new());
    for (tls, web_socket) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut setup = users.setup();
        if tls {
            setup = setup.tls(&certificates);
        }
        if web_socket {
            setup = setup.listener("protocol websockets");
        }
        let broker = setup.start();
        for number in 0..4 {
            let mut scram = ScramClient::new("ann", "ann-pw", &format!("nonce{number}"));
            let mut connect = connecting(&format!("client{number}"), &scram);
            if tls {
                connect = connect.tls(certificates.client_config(rustls::ALL_VERSIONS, false));
            }
            if web_socket {
                connect = connect.web_socket();
            }
            let mut client = join(&broker, &connect, &mut scram);
            client.subscribe("t", QoS::AtLeastOnce);
            client.publish("t", b"x", QoS::AtLeastOnce);
            assert_eq!(client.payloads(1), ["x"]);
            client.disconnect();
        }
    }
}

/// [MQTT-4.12.0-4]: and nobody learns from it which users exist, not even after a reload.
#[test]
fn wrong_and_unknown_users_look_the_same() {
    let users = Users::new();
    let broker = users.setup().start();
    let mut salts = Vec::new();
    for round in 0..2 {
        for (user, password) in [("ann", "bob-pw"), ("cat", "cat-pw"), ("eve", "ann-pw")] {
            let mut scram = ScramClient::new(user, password, "nonce");
            let (mut client, answer) = Client::try_connect(&broker, &connecting("c", &scram));
            let challenge = challenge(&answer.unwrap());
            let text = String::from_utf8(challenge.clone()).unwrap();
            let (_, salt) = text.split_once(",s=").unwrap();
            assert!(salt.ends_with(",i=4096"), "{text}");
            salts.push(salt.to_owned());
            let last = scram.last(&challenge).unwrap();
            client.send_auth(ReasonCode::ContinueAuthentication, METHOD, last.as_bytes());
            let (reason, why) = refusal(client);
            assert_eq!(reason, ReasonCode::NotAuthorized);
            assert_eq!(why, "the user name or the password is wrong");
        }
        if round == 0 {
            users.set("dan", "scram-sha-256");
            broker.signal(Signal::HUP);
            eventually("a reload", || broker.log().contains("Configuration reloaded"));
        }
    }
    assert_eq!(salts[..3], salts[3..], "a user's salt is always the same");
    salts.truncate(3);
    salts.dedup();
    assert_eq!(salts.len(), 3);
}

/// The authenticated user is the one for rules and the client identifier, although CONNECT names none.
#[test]
fn the_proved_user_is_the_user() {
    let users = Users::new();
    let acl = users.0.path().join("acl");
    std::fs::write(&acl, "user ann\ntopic readwrite own/#\n").unwrap();
    let broker = users
        .setup()
        .listener("use_username_as_clientid true")
        .listener(&format!("acl_file {}", acl.display()))
        .start();
    let mut inside = Vec::new();
    for number in 0..3 {
        let mut scram = ScramClient::new("ann", "ann-pw", "nonce");
        inside.push(join(
            &broker,
            &connecting(&format!("c{number}"), &scram),
            &mut scram,
        ));
    }
    let mut last = inside.pop().unwrap();
    for mut older in inside {
        assert_eq!(older.expect_closed().0, Some(ReasonCode::SessionTakenOver));
    }
    assert_eq!(last.subscribe("own/x", QoS::AtMostOnce), 0);
    assert_eq!(
        last.subscribe("other", QoS::AtMostOnce),
        ReasonCode::NotAuthorized as u8
    );
}

/// [MQTT-3.1.2-24]
#[test]
fn a_client_without_room_for_the_challenge_is_refused() {
    let users = Users::new();
    let broker = users.setup().start();
    let scram = ScramClient::new("ann", "ann-pw", "nonce");
    let small = Property::MaximumPacketSize(40.try_into().unwrap());
    let answer = Client::try_connect(&broker, &connecting("c", &scram).property(small)).1;
    assert!(
        matches!(answer.unwrap().packet(), Packet::ConnAck(connack) if connack.reason == ReasonCode::PacketTooLarge)
    );
}

/// A verifier also checks a password that is sent.
#[test]
fn the_password_may_be_sent_as_well() {
    let users = Users::new();
    let broker = users.setup().start();
    Client::connect(&broker, &Options::new("a").user("ann", "ann-pw")).disconnect();
    let (client, _) = Client::try_connect(&broker, &Options::new("b").v5().user("ann", "bob-pw"));
    drop(client);
    let wrong = Client::try_connect(&broker, &Options::new("c").v5().user("ann", "x")).1;
    let Packet::ConnAck(connack) = wrong.as_ref().unwrap().packet() else {
        panic!("{wrong:?}");
    };
    assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
}

/// [MQTT-4.12.0-1]
#[test]
fn methods_that_are_not_offered() {
    let users = Users::new();
    let scram = ScramClient::new("ann", "ann-pw", "nonce");
    let broker = users.setup().start();
    for method in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", ""] {
        let client = Client::try_connect(&broker, &options("c", method, &scram.first()));
        let answer = client.1.unwrap();
        let Packet::ConnAck(connack) = answer.packet() else {
            panic!("{method}")
        };
        assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod, "{method}");
    }
    for data in ["", "p=tls-exporter,,n=ann,r=x", &"n".repeat(5000)] {
        let answer = Client::try_connect(&broker, &options("c", METHOD, data)).1;
        let answer = answer.unwrap();
        let Packet::ConnAck(connack) = answer.packet() else {
            panic!("{data}")
        };
        assert_eq!(connack.reason, ReasonCode::NotAuthorized, "{data}");
    }
    let open = Broker::start();
    let answer = Client::try_connect(&open, &connecting("c", &scram)).1.unwrap();
    assert!(
        matches!(answer.packet(), Packet::ConnAck(connack) if connack.reason == ReasonCode::BadAuthenticationMethod),
        "without users there is nothing to prove"
    );
}

/// [MQTT-3.1.2-30]: before CONNACK only AUTH and DISCONNECT are allowed, and a violation affects no session.
#[test]
fn other_packets_before_the_connack() {
    let users = Users::new();
    let broker = users.setup().start();
    let mut scram = ScramClient::new("ann", "ann-pw", "nonce");
    let mut inside = join(&broker, &connecting("c", &scram), &mut scram);
    let begin = || Client::try_connect(&broker, &connecting("c", &ScramClient::new("ann", "ann-pw", "n"))).0;
    for (what, bytes) in [
        ("PINGREQ", &[0xC0, 0][..]),
        ("PUBLISH", &[0x30, 4, 0, 1, b't', 0]),
        ("CONNECT", &[0x10, 0]),
        ("AUTH with 0x00", &[0xF0, 0]),
        ("AUTH with 0x19", &[0xF0, 1, 0x19]),
        ("AUTH without a method", &[0xF0, 2, 0x18, 0]),
    ] {
        let mut client = begin();
        client.send(bytes);
        assert_eq!(refusal(client).0, ReasonCode::ProtocolError, "{what}");
    }
    let mut client = begin();
    client.send(&[0xF0, 0xFF, 0xFF, 0x7F]);
    assert_eq!(refusal(client).0, ReasonCode::PacketTooLarge);
    let mut client = begin();
    client.send_auth(ReasonCode::ContinueAuthentication, "SCRAM-SHA-1", b"x");
    assert_eq!(refusal(client).0, ReasonCode::ProtocolError);
    let mut client = begin();
    client.send(&[0xE0, 0]);
    client.expect_closed();
    inside.ping();
}

/// The exchange counts in the five seconds that a client has for connecting.
#[test]
fn an_exchange_that_is_not_ended_is_closed() {
    let users = Users::new();
    let broker = users.setup().global("connect_timeout 5").start();
    let begun = Instant::now();
    let scram = ScramClient::new("ann", "ann-pw", "nonce");
    let (mut client, _) = Client::try_connect(&broker, &connecting("c", &scram));
    client.expect_closed();
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(9),
        "{took:?}"
    );
    eventually("a line in the log", || broker.log().contains("no answer to AUTH"));
}

/// V40: a guesser has to wait, and nobody else does.
#[test]
fn v40_wrong_proofs_are_slowed_down() {
    let users = Users::new();
    let broker = users.setup().start();
    let mut reasons = Vec::new();
    for _ in 0..30 {
        let mut scram = ScramClient::new("ann", "wrong", "nonce");
        let client = prove(&broker, &connecting("c", &scram), &mut scram);
        reasons.push(refusal(client).0);
    }
    assert!(
        reasons[..10]
            .iter()
            .all(|reason| *reason == ReasonCode::NotAuthorized)
    );
    assert!(
        reasons.contains(&ReasonCode::ConnectionRateExceeded),
        "{reasons:?}"
    );
}

/// [MQTT-4.12.1-1]: messages continue meanwhile, and so does the connection.
#[test]
fn who_is_in_may_prove_itself_again() {
    let users = Users::new();
    let broker = users.setup().start();
    let mut scram = ScramClient::new("ann", "ann-pw", "one");
    let mut client = join(&broker, &connecting("c", &scram), &mut scram);
    client.subscribe("t", QoS::AtMostOnce);
    for round in 0..3 {
        let mut scram = ScramClient::new("ann", "ann-pw", &format!("again{round}"));
        client.send_auth(ReasonCode::ReAuthenticate, METHOD, scram.first().as_bytes());
        let challenge = challenge(&client.expect(PacketType::Auth));
        client.publish("t", b"meanwhile", QoS::AtLeastOnce);
        assert_eq!(client.payloads(1), ["meanwhile"]);
        let last = scram.last(&challenge).unwrap();
        client.send_auth(ReasonCode::ContinueAuthentication, METHOD, last.as_bytes());
        match client.expect(PacketType::Auth).packet() {
            Packet::Auth(auth) => {
                assert_eq!(auth.reason, ReasonCode::Success);
                assert_eq!(auth.properties.authentication_method(), Some(METHOD));
                assert!(scram.trusts(auth.properties.authentication_data().unwrap()));
            }
            other => panic!("{other:?}"),
        }
        client.ping();
    }
}

/// [MQTT-4.12.1-2], [MQTT-4.12.0-7]
#[test]
fn a_re_authentication_that_fails_ends_the_connection() {
    let users = Users::new();
    let broker = users.setup().start();
    let inside = || {
        let mut scram = ScramClient::new("ann", "ann-pw", "one");
        join(&broker, &connecting("c", &scram), &mut scram)
    };
    for (user, password) in [("ann", "wrong"), ("bob", "bob-pw")] {
        let mut client = inside();
        let mut scram = ScramClient::new(user, password, "two");
        client.send_auth(ReasonCode::ReAuthenticate, METHOD, scram.first().as_bytes());
        let challenge = challenge(&client.expect(PacketType::Auth));
        let last = scram.last(&challenge).unwrap();
        client.send_auth(ReasonCode::ContinueAuthentication, METHOD, last.as_bytes());
        assert_eq!(
            client.expect_closed().0,
            Some(ReasonCode::NotAuthorized),
            "{user}"
        );
    }
    let mut client = inside();
    client.send_auth(ReasonCode::ReAuthenticate, "SCRAM-SHA-1", b"x");
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
    let mut client = inside();
    client.send_auth(ReasonCode::ContinueAuthentication, METHOD, b"x");
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
    let mut client = Client::connect(&broker, &Options::new("d").v5().user("ann", "ann-pw"));
    client.send_auth(ReasonCode::ReAuthenticate, METHOD, b"x");
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
}

/// A trace contains the packets of an exchange, and why it failed: at CONNECT and later.
#[test]
fn a_trace_has_what_an_exchange_came_to() {
    let users = Users::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let broker = users
        .setup()
        .global("log_type error")
        .global("connect_timeout 5")
        .global(&format!("control_socket {}", path("control")))
        .start();
    for (subject, value, file) in [("--client", "c", "client"), ("--user", "ann", "user")] {
        let (socket, file) = (path("control"), path(file));
        let arguments = [
            "ctl", "--socket", &socket, "trace", subject, value, "--file", &file,
        ];
        let started = run(&arguments);
        assert_eq!(started.code, Some(0), "{}", started.stderr);
    }
    let scram = |password: &str, nonce: &str| ScramClient::new("ann", password, nonce);
    let mut wrong = scram("wrong", "one");
    let refused = prove(&broker, &connecting("c", &wrong), &mut wrong);
    assert_eq!(refusal(refused).0, ReasonCode::NotAuthorized);
    let silent = scram("ann-pw", "two");
    let (mut silent, _) = Client::try_connect(&broker, &connecting("c", &silent));
    silent.expect_closed();
    let mut right = scram("ann-pw", "three");
    let mut client = join(&broker, &connecting("c", &right), &mut right);
    client.send_auth(ReasonCode::ContinueAuthentication, METHOD, b"x");
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
    let lines = |name: &str| -> Vec<String> {
        let text = read(name);
        // After the first line of each trace file.
        let lines = text.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.map(|(_, line)| line.to_owned()).collect()
    };
    eventually("the last line is there", || {
        read("client").contains(": Ended c at 127.0.0.1:")
    });
    let shown = lines("client");
    assert_eq!(shown.len(), EXCHANGES.len(), "{shown:#?}");
    for (line, begin) in shown.iter().zip(EXCHANGES) {
        assert!(line.starts_with(begin), "{begin}: {shown:#?}");
    }
    assert!(shown[7].ends_with(": no answer to AUTH in time"), "{}", shown[7]);
    assert!(
        shown[14].contains("AUTH with an unexpected reason code"),
        "{}",
        shown[14]
    );
    // The user is known after authentication.
    let of_user = lines("user");
    assert_eq!(of_user.len(), 5, "{of_user:#?}");
    assert!(
        of_user[0].starts_with("Received CONNECT from c at"),
        "{of_user:#?}"
    );
}

/// The start of each line.
const EXCHANGES: [&str; 15] = [
    // The wrong password.
    "Received CONNECT from c at",
    "Sending AUTH to c (rc24, SCRAM-SHA-256)",
    "Received AUTH from c (rc24, SCRAM-SHA-256)",
    "Refused CONNECT from c at",
    "Sending CONNACK to 127.0.0.1:",
    // A missing answer.
    "Received CONNECT from c at",
    "Sending AUTH to c (rc24, SCRAM-SHA-256)",
    "Refused CONNECT from c at",
    // An unexpected AUTH.
    "Received CONNECT from c at",
    "Sending AUTH to c (rc24, SCRAM-SHA-256)",
    "Received AUTH from c (rc24, SCRAM-SHA-256)",
    "Sending CONNACK to c (0, 0)",
    "Received AUTH from c (rc24, SCRAM-SHA-256)",
    "Sending DISCONNECT to c (rc130)",
    "Ended c at 127.0.0.1:",
];

/// With an independent client and its cryptography.
#[test]
fn mqtt_js_proves_itself() {
    let modules = peer("node_modules");
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !has_node || !modules.join("mqtt").is_dir() {
        return skip("mqtt.js");
    }
    let users = Users::new();
    let broker = users.setup().start();
    for (user, password, expected) in [
        ("ann", "ann-pw", "in"),
        ("ann", "bob-pw", "refused 135"),
        ("eve", "ann-pw", "refused 135"),
    ] {
        let mut command = script(Path::new("node"), "mqttjs_scram.js");
        command
            .env("NODE_PATH", &modules)
            .args([&broker.port().to_string(), user, password]);
        let output = command.output().unwrap();
        let output_text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output_text.trim(), expected, "{user}: {errors}");
    }
}

/// A listener that accepts no passwords does not check any.
#[test]
fn a_listener_can_demand_scram() {
    let users = Users::new();
    let broker = users.setup().listener("require_scram true").start();
    let mut scram = ScramClient::new("ann", "ann-pw", "nonce");
    drop(join(&broker, &connecting("c", &scram), &mut scram));
    for password in ["ann-pw", "wrong"] {
        let options = Options::new("c").user("ann", password);
        for options in [options.clone(), options.v5()] {
            let (_, answer) = Client::try_connect(&broker, &options);
            match answer.as_ref().map(Received::packet) {
                Some(Packet::ConnAck(connack)) => assert_eq!(connack.reason, ReasonCode::NotAuthorized),
                other => panic!("no CONNACK but {other:?}"),
            }
        }
    }
    eventually("it is logged", || {
        broker.log().contains("this listener accepts no passwords")
    });
}
