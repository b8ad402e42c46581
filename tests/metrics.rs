//! What `/metrics` says of a broker that is used: each number for its reason.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use mqtt::{Packet, QoS, ReasonCode};
use serde_json::Value;

use crate::harness::api::{metric, metrics, start_with_api};
use crate::harness::{Certificates, Client, Options, Prometheus, Setup, eventually, free_port};
use crate::real_clients::skip;

fn expect(port: u16, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        eventually(&format!("{name} is {value}"), || metric(port, name) == *value);
    }
}

#[test]
fn each_end_of_a_connection_has_its_reason() {
    let (broker, port) = start_with_api(Setup::default(), 2, "");
    Client::connect(&broker, &Options::new("leaves")).disconnect();
    Client::connect(&broker, &Options::new("cuts")).cut();
    let _older = Client::connect(&broker, &Options::new("twice"));
    let mut newer = Client::connect(&broker, &Options::new("twice"));
    let _silent = Client::connect(&broker, &Options::new("silent").keep_alive_s(1));
    newer.send(b"\x00\x00");
    newer.expect_closed();
    let (_refused, answer) = Client::try_connect(&broker, &Options::new("").persistent());
    let answer = answer.unwrap();
    let Packet::ConnAck(connack) = answer.packet() else {
        panic!("{answer:?}");
    };
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
    Client::open(&broker).cut();
    let of = |reason: &str| format!("midge_disconnects_total{{reason=\"{reason}\"}}");
    expect(
        port,
        &[
            (&of("client"), 1.0),
            (&of("closed_without_disconnect"), 1.0),
            (&of("session_taken_over"), 1.0),
            (&of("malformed_packet"), 1.0),
            (&of("keep_alive_timeout"), 1.0),
            (&of("server_shutting_down"), 0.0),
            (
                "midge_connects_refused_total{reason=\"client_identifier_not_valid\"}",
                1.0,
            ),
            ("midge_connects_refused_total{reason=\"not_authorized\"}", 0.0),
            ("midge_clients_connected", 0.0),
        ],
    );
    assert!(metric(port, "midge_connections_without_connect_total") >= 1.0);
}

/// Every packet is counted by its type, and every message by its QoS and by the time that it took.
#[test]
fn packets_messages_and_their_time() {
    for shards in [1, 2] {
        let (broker, port) = start_with_api(Setup::default(), shards, "");
        let mut subscribers: Vec<_> = (0..4)
            .map(|number| Client::connect(&broker, &Options::new(&format!("s{number}"))))
            .collect();
        for subscriber in &mut subscribers {
            subscriber.subscribe("t", QoS::ExactlyOnce);
        }
        let mut publisher = Client::connect(&broker, &Options::new("p"));
        for (qos, count) in [(QoS::AtMostOnce, 5), (QoS::AtLeastOnce, 3), (QoS::ExactlyOnce, 2)] {
            for _ in 0..count {
                publisher.publish("t", b"x", qos);
            }
        }
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.payloads(10).len(), 10);
            subscriber.ping();
        }
        expect_packets(port);
        let page = metrics(port);
        let sum = |prefix: &str, qos: u8| -> f64 {
            let of_qos = format!("qos=\"{qos}\"");
            let lines = page
                .lines()
                .filter(|line| line.starts_with(prefix) && line.contains(&of_qos));
            lines
                .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
                .sum()
        };
        for (qos, count) in [(0, 20.0), (1, 12.0), (2, 8.0)] {
            assert_eq!(
                sum("midge_latency_seconds_count", qos),
                count,
                "QoS {qos}, {shards} shards"
            );
            let mean_s = sum("midge_latency_seconds_sum", qos) / count;
            assert!((1e-6..1.0).contains(&mean_s), "{mean_s}");
        }
        let busy = metric(port, "midge_shard_busy_seconds_total{shard=\"0\"}");
        assert!(busy > 0.0 && busy < 20.0, "{busy}");
        let received = metric(port, "midge_packets_received_total");
        let by_type: f64 = page
            .lines()
            .filter(|line| line.starts_with("midge_packets_total{direction=\"received\""))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum();
        assert_eq!(by_type, received);
    }
}

/// What five clients, one of whom published ten messages to the others, exchanged.
fn expect_packets(port: u16) {
    let packets = |direction: &str, kind: &str| {
        format!("midge_packets_total{{direction=\"{direction}\",type=\"{kind}\"}}")
    };
    let publishes = |direction: &str, qos: u8| {
        format!("midge_publishes_total{{direction=\"{direction}\",qos=\"{qos}\"}}")
    };
    expect(
        port,
        &[
            (&packets("received", "connect"), 5.0),
            (&packets("sent", "connack"), 5.0),
            (&packets("received", "publish"), 10.0),
            (&packets("sent", "publish"), 40.0),
            (&packets("sent", "puback"), 3.0),
            (&packets("received", "puback"), 12.0),
            (&packets("received", "pubrec"), 8.0),
            (&packets("sent", "pubrel"), 8.0),
            (&packets("received", "pubrel"), 2.0),
            (&packets("sent", "pubcomp"), 2.0),
            (&packets("received", "subscribe"), 4.0),
            (&packets("sent", "suback"), 4.0),
            (&packets("received", "pingreq"), 4.0),
            (&packets("sent", "pingresp"), 4.0),
            (&publishes("received", 0), 5.0),
            (&publishes("received", 1), 3.0),
            (&publishes("received", 2), 2.0),
            (&publishes("sent", 0), 20.0),
            (&publishes("sent", 1), 12.0),
            (&publishes("sent", 2), 8.0),
        ],
    );
}

/// A message that waits in the queue of a client that is away is nobody's latency.
#[test]
fn messages_of_a_queue_are_not_in_the_latency() {
    let (broker, port) = start_with_api(Setup::default(), 1, "");
    let options = Options::new("away").persistent();
    let mut away = Client::connect(&broker, &options);
    away.subscribe("t", QoS::AtLeastOnce);
    away.disconnect();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", b"x", QoS::AtLeastOnce);
    let mut away = Client::connect(&broker, &options);
    assert_eq!(away.payloads(1), ["x"]);
    expect(
        port,
        &[
            ("midge_publishes_total{direction=\"sent\",qos=\"1\"}", 1.0),
            ("midge_latency_seconds_count{shard=\"0\",qos=\"1\"}", 0.0),
        ],
    );
}

#[test]
fn handshakes_certificates_and_listeners() {
    let certificates = Certificates::new();
    let setup = Setup::default().tls(&certificates).listener("max_connections 3");
    let (broker, port) = start_with_api(setup, 1, "");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = certificates.client_config(&[version], false);
        Client::connect(&broker, &Options::new("a").tls(config)).disconnect();
    }
    // The start asks whether the port is open.
    let unfinished = "midge_tls_handshakes_total{result=\"unfinished\"}";
    let unfinished_before = metric(port, unfinished);
    // One that speaks no TLS.
    let mut plain = std::net::TcpStream::connect(broker.address()).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let listener = format!("{{listener=\"127.0.0.1:{}\"}}", broker.port());
    let of = |name: &str| format!("midge_listener_connections{name}{listener}");
    expect(
        port,
        &[
            ("midge_tls_handshakes_total{result=\"TLSv1.3\"}", 1.0),
            ("midge_tls_handshakes_total{result=\"TLSv1.2\"}", 1.0),
            ("midge_tls_handshakes_total{result=\"failed\"}", 1.0),
            (unfinished, unfinished_before),
            (&of(""), 0.0),
        ],
    );
    let _silent: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(broker.address()).unwrap())
        .collect();
    expect(port, &[(&of(""), 3.0)]);
    assert!(metric(port, &of("_accepted_total")) >= 6.0);
    let _one_more = std::net::TcpStream::connect(broker.address()).unwrap();
    expect(port, &[(&of("_refused_total"), 1.0)]);
    let not_after = metric(
        port,
        &format!("midge_certificate_not_after_timestamp_seconds{listener}"),
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(not_after > now.as_secs_f64(), "{not_after}");
    let (open, most) = (metric(port, "process_open_fds"), metric(port, "process_max_fds"));
    assert!(open > 5.0 && open < most, "{open} of {most}");
}

/// The names that the rules and the dashboard of dist/ use are on the page.
#[test]
fn rules_and_dashboard_name_what_is_there() {
    let (_broker, port) = start_with_api(Setup::default().tls(&Certificates::new()), 2, "");
    let page = metrics(port);
    let samples: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist");
    for file in ["prometheus/midge-rules.yml", "grafana/midge.json"] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let names: BTreeSet<&str> = words
            .filter(|word| word.starts_with("midge_") || word.starts_with("process_"))
            .collect();
        assert!(names.len() > 8, "{names:?}");
        for name in names {
            assert!(samples.contains(name), "{file} names {name}, which is not there");
        }
    }
    let dashboard = std::fs::read_to_string(format!("{folder}/grafana/midge.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn promtool_accepts_metrics_and_rules() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return skip("promtool");
    }
    let (_broker, port) = start_with_api(Setup::default().tls(&Certificates::new()), 2, "");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(metrics(port).as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/prometheus");
    for arguments in [
        ["check", "rules", "midge-rules.yml"],
        ["test", "rules", "midge-rules-test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A real Prometheus scrapes, takes the rules, and answers every query of the dashboard with something.
#[test]
fn a_real_prometheus_scrapes() {
    let certificates = Certificates::new();
    let (broker, port) = start_with_api(Setup::default().tls(&certificates), 2, "");
    let tls = certificates.client_config(&[&rustls::version::TLS13], false);
    let mut clients =
        ["a", "b", "c"].map(|name| Client::connect(&broker, &Options::new(name).tls(tls.clone())));
    clients[0].subscribe("t", QoS::AtLeastOnce);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/prometheus/midge-rules.yml");
    let Some(prometheus) = Prometheus::scraping(port, Some(Path::new(rules))) else {
        return skip("prometheus");
    };
    let query = |expression: &str| prometheus.query(expression);
    eventually("it has scraped", || query("midge_clients_connected") == ["3"]);
    assert_eq!(query("up"), ["1"]);
    assert_eq!(query("count(midge_packets_total)"), ["30"]);
    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/grafana/midge.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "10s");
        assert!(!expression.contains('$'), "{expression}");
        eventually(&expression, || {
            clients[1].publish("t", b"1", QoS::AtLeastOnce);
            !query(&expression).is_empty()
        });
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
}

/// Histograms that can be added up, the label of the run, and the verdict, which is served for a while after the end.
#[test]
fn a_real_prometheus_scrapes_a_run_of_the_load_generator() {
    let port = free_port();
    let Some(prometheus) = Prometheus::scraping(port, None) else {
        return skip("prometheus");
    };
    let line = format!(
        "--no-tls --pubs 2 --subs 2 --rate 200 --warmup 0 --duration 3 --run-label nightly \
         --metrics 127.0.0.1:{port} --metrics-keep 60"
    );
    let mut load = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"))
        .args(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let query = |expression: &str| prometheus.query(expression);
    eventually("a verdict is scraped", || {
        query("sum(loadgen_verdict{run=\"nightly\"})") == ["1"]
    });
    assert_eq!(query("loadgen_messages_sent_total{run=\"nightly\"}"), ["600"]);
    let quantile = query("histogram_quantile(0.5, sum by (le) (loadgen_latency_seconds_bucket)) > 0");
    assert_eq!(quantile.len(), 1);
    // As Ctrl-C does.
    let interrupt = Command::new("kill")
        .args(["-INT", &load.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    // That of the signal, or of what was wrong with the run on a busy machine.
    let code = load.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 1 | 4 | 5)), "{code:?}");
}
