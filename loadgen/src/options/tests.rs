//! Tables of command lines and their meanings; the help text as it is printed.

use std::num::NonZeroU16;
use std::path::PathBuf;

use mqtt::packet::{QoS, RetainHandling};
use mqtt::version::ProtocolVersion;

use super::letters::CLASHING_LETTERS;
use super::*;
use crate::scenario::Load;
use crate::scenario::Scenario;
use crate::scenario::properties::Carrier;
use crate::scenario::schedule::Arrival;
use crate::scenario::topics::Topics;
use crate::target::request::TargetRequest;
use crate::target::request::{OwnRequest, TlsRequest};
use clap::Args as _;

fn request(line: &str) -> Result<RunRequest, clap::Error> {
    parse(format!("loadgen {line}").split_whitespace().map(OsString::from))
}

fn scenario(line: &str) -> Scenario {
    request(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .scenario
}

#[test]
fn the_bare_command_starts_its_own_broker_over_tls_at_one_message_per_publisher() {
    let request = request("--pubs 1000 --subs 1000").unwrap();
    assert!(matches!(
        request.target,
        TargetRequest::OwnBroker(OwnRequest { tls: true, shards, cpus: None, users: false, .. }) if shards >= 1
    ));
    assert_eq!(
        request.scenario.load,
        Load::Scheduled {
            rate_per_s: 1000.0,
            arrival: Arrival::Uniform
        }
    );
    assert_eq!(
        (request.scenario.payload_bytes, request.scenario.qos),
        (64, QoS::AtMostOnce)
    );
    assert_eq!(
        (
            request.scenario.warmup.as_secs(),
            request.scenario.duration.as_secs()
        ),
        (5, 10)
    );
    assert_eq!(
        request,
        super::parse(["run", "--pubs", "1000", "--subs", "1000"].map(OsString::from)).unwrap()
    );
}

#[test]
fn letters_mean_what_they_mean_to_mosquitto_pub() {
    let request =
        request("-h broker.example -p 1999 -q 2 -u user%i -P secret -t a/%i -r -k 7 -V mqttv5 -s 100")
            .unwrap();
    let running = TargetRequest::Running {
        hosts: vec![("broker.example".into(), 1999)],
        tls: None,
        web_socket: None,
        key_pass_file: None,
        pid: None,
    };
    assert_eq!(request.target, running);
    let scenario = request.scenario;
    assert_eq!(scenario.qos, QoS::ExactlyOnce);
    assert_eq!(scenario.topics, Topics::Pattern("a/%i".into()));
    assert_eq!(
        (scenario.retain, scenario.keep_alive_s, scenario.payload_bytes),
        (true, 7, 100)
    );
    assert_eq!(scenario.version, ProtocolVersion::V5);
    assert_eq!(scenario.credentials.user_name.as_deref(), Some("user%i"));
    assert_eq!(scenario.credentials.password.as_deref(), Some("secret"));
}

#[test]
fn versions_in_all_spellings() {
    for (word, version) in [
        ("3", ProtocolVersion::V3_1),
        ("mqttv31", ProtocolVersion::V3_1),
        ("4", ProtocolVersion::V3_1_1),
        ("mqttv311", ProtocolVersion::V3_1_1),
        ("5", ProtocolVersion::V5),
        ("mqttv5", ProtocolVersion::V5),
    ] {
        assert_eq!(scenario(&format!("-V {word}")).version, version, "{word}");
    }
}

#[test]
fn tls_to_a_running_broker() {
    let port_and_tls = |line: &str| match request(line).unwrap().target {
        TargetRequest::Running { hosts, tls, .. } => (hosts[0].1, tls),
        other => panic!("{other:?}"),
    };
    assert_eq!(port_and_tls("-h a"), (1883, None));
    let (port, tls) = port_and_tls("-h a --cafile ca.crt");
    assert_eq!((port, tls.clone().unwrap().insecure), (8883, false));
    assert_eq!(tls, port_and_tls("-h a --cacertfile ca.crt").1);
    assert_eq!(tls, port_and_tls("-h a --ca ca.crt").1);
    let (port, tls) = port_and_tls("-h a --insecure --cert c --key k -p 5");
    let certificate = Some((PathBuf::from("c"), PathBuf::from("k")));
    assert_eq!(
        (port, tls),
        (
            5,
            Some(TlsRequest {
                ca: None,
                certificate,
                insecure: true,
                ..TlsRequest::default()
            })
        )
    );
}

#[test]
fn web_sockets_have_a_path_and_ports_of_their_own() {
    let target = |line: &str| {
        request(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .target
    };
    for (line, port, path) in [
        ("-h a", 1883, None),
        ("-h a --ws", 8083, Some("/mqtt")),
        ("-h a --ws --ws-path /x?y=1 --insecure", 8084, Some("/x?y=1")),
        ("-h a --ws -p 80", 80, Some("/mqtt")),
    ] {
        let TargetRequest::Running {
            hosts, web_socket, ..
        } = target(line)
        else {
            panic!("{line}");
        };
        assert_eq!((hosts[0].1, web_socket.as_deref()), (port, path), "{line}");
    }
    assert!(matches!(
        target("--ws"),
        TargetRequest::OwnBroker(OwnRequest { tls: true, web_socket: Some(path), .. }) if path == "/mqtt"
    ));
}

#[test]
fn several_hosts_have_the_port_of_all_or_their_own() {
    let TargetRequest::Running { hosts, .. } = request("-h a,b:5,[::1]:6 -p 7").unwrap().target else {
        panic!("no hosts");
    };
    assert_eq!(hosts, [("a".into(), 7), ("b".into(), 5), ("::1".into(), 6)]);
}

#[test]
fn properties_and_the_options_of_subscriptions() {
    let line = "-V 5 -D publish content-type text -D connect user-property a b \
                --retain-handling new -D publish topic-alias 2";
    let scenario = scenario(line);
    let connect = scenario.properties.of(Carrier::Connect, Some(0)).unwrap();
    assert_eq!(connect.as_properties().iter().count(), 1);
    assert_eq!(scenario.properties.topic_alias().map(NonZeroU16::get), Some(2));
    assert_eq!(
        scenario.subscription.retain_handling,
        Some(RetainHandling::SendIfNew)
    );
}

#[test]
fn rates() {
    let uniform = |rate_per_s| Load::Scheduled {
        rate_per_s,
        arrival: Arrival::Uniform,
    };
    assert_eq!(scenario("--pubs 7").load, uniform(7.0));
    assert_eq!(scenario("--rate 0.5").load, uniform(0.5));
    assert_eq!(
        scenario("--rate 10 --poisson").load,
        Load::Scheduled {
            rate_per_s: 10.0,
            arrival: Arrival::Poisson
        }
    );
    assert_eq!(scenario("--rate max").load, Load::Saturating { window: 100 });
    assert_eq!(
        scenario("--max-rate --window 1").load,
        Load::Saturating { window: 1 }
    );
    assert!(scenario("--one-per-write").one_per_write && !scenario("--rate max").one_per_write);
    assert_eq!(scenario("--rate flood").load, Load::Flood);
    let tenth = scenario("--pubs 50 --subs 20 --slow-subs 10 --rate 100 --churn 30 --scale 0.1");
    assert_eq!((tenth.load, tenth.churn_per_s), (uniform(10.0), 3.0));
    assert_eq!(
        (tenth.publishers, tenth.subscribers, tenth.slow_subscribers),
        (5, 2, 1)
    );
    assert_eq!(scenario("--tls --pubs 1").inflight, 20);
    assert_eq!(scenario("--rate max --window 300").inflight, 300);
    assert_eq!(scenario("--rate max --window 300 --inflight 5").inflight, 5);
}

#[test]
fn the_tutorial_has_a_thousand_clients_with_a_user_and_a_password_of_their_own() {
    let one = request("--scenario mtls-tutorial").unwrap();
    assert!(matches!(
        one.target,
        TargetRequest::OwnBroker(OwnRequest {
            tls: true,
            users: true,
            ..
        })
    ));
    assert_eq!((one.scenario.publishers, one.scenario.subscribers), (500, 500));
    assert_eq!(one.scenario.credentials.user_name.as_deref(), Some("client-%i"));
    let other = request("--scenario mtls-tutorial --pubs 3").unwrap();
    assert_eq!((other.scenario.publishers, other.scenario.subscribers), (3, 500));
    assert_ne!(
        one.scenario.credentials.password,
        other.scenario.credentials.password
    );
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence_and_exit_2() {
    for (line, part) in [
        ("--size 15", "16"),
        ("--rate 0", "--rate"),
        ("--rate fast", "max"),
        ("--rate -1", "-1"),
        ("-q 3", "0, 1 or 2"),
        ("--window 0 --rate max", "--window"),
        ("--pubs 0 --subs 0", "nothing to connect"),
        ("--subs 0 --rate max", "--subs"),
        ("--subs 0 --rate flood", "--subs"),
        ("--pubs 0 --rate flood", "without publishers"),
        ("--subs 0 --slow-subs 1", "--slow-subs"),
        ("--share 2 --slow-subs 1", "--slow-subs"),
        ("--pubs 0 --slow-subs 1 --client-id a%i --idle", "%k"),
        ("--duration 0", "--duration"),
        ("--duration 1000000", "39 hours"),
        ("--topics a/+", "--topics"),
        ("--tls -h a", "--cafile"),
        ("-h a,,b", "not a host"),
        ("-h a:x", "no port"),
        ("-h a,b --broker-pid 1", "--broker-pid"),
        ("--ws --ws-path mqtt", "must start with /"),
        ("--tls --no-tls", "--no-tls"),
        ("-p 1883", "--host"),
        ("--cert c -h a", "--key"),
        ("-c 10", "--pubs"),
        ("-I 10", "--rate"),
        ("-i10", "--rate"),
        ("-h a -L mqtt://b", "--host"),
        ("--pubs 999999 --subs 2", "1000000"),
        ("-t fan-in --pubs 10000 --subs 10000", "100000000 pairs"),
        ("--nonsense", "--nonsense"),
        ("-D publish content-type text", "-V 5"),
        ("-D 5", "3 values required"),
        ("-V 5 -D will content-type text", "--will-topic"),
        (
            "-V 5 -D publish content-type a -D publish content-type b",
            "already",
        ),
        ("--retain-as-published", "-V 5"),
        ("--share 2 --no-local -V 5", "--no-local"),
        ("--scenario other", "mtls-tutorial"),
        ("--scenario mtls-tutorial --no-tls", "--no-tls"),
        ("--scenario mtls-tutorial -u me", "--username"),
    ] {
        let error = request(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn no_letter_is_both_taken_and_refused() {
    let command = RunArguments::augment_args(clap::Command::new("loadgen"));
    let taken: Vec<char> = command.get_arguments().filter_map(clap::Arg::get_short).collect();
    assert!(
        CLASHING_LETTERS.iter().all(|(letter, _)| !taken.contains(letter)),
        "{taken:?}"
    );
}

#[test]
fn a_password_is_in_no_debug_output() {
    let shown = format!("{:?}", scenario("-u a -P opensesame"));
    assert!(!shown.contains("opensesame"), "{shown}");
}
