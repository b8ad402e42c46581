//! The commands beside `run`, and what `run` has beside messages, as a person starts them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod fake;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake::Behaviour;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// In closed loop: a busy machine cannot make it invalid.
const SHORT: &str = "--no-tls --rate max --window 10 --warmup 0.2 --duration 0.5 --drain 20";

fn run(line: &str) -> Output {
    Command::new(PROGRAM)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs with `--json`; the exit code is one of these.
fn outcome(line: &str, exit_codes: &[i32]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome.json");
    let output = run(&format!("{line} --json {}", file.display()));
    expect(line, &output, exit_codes);
    json(&file)
}

fn expect(line: &str, output: &Output, exit_codes: &[i32]) {
    let code = output.status.code().unwrap();
    assert!(exit_codes.contains(&code), "{line}: {code}\n{}", shown(output));
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn number(outcome: &Value, path: &str) -> f64 {
    let value = outcome.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("{path} in {outcome}"))
}

#[test]
fn connections_are_made_and_closed_with_and_without_tls() {
    for line in ["--no-tls", "", "--broker-key rsa2048 -V 5"] {
        let line = format!("conn {line} --concurrency 4 --warmup 0.2 --duration 0.5");
        let outcome = outcome(&line, &[0]);
        assert!(number(&outcome, "/rates/made") > 0.0);
        assert_eq!(number(&outcome, "/rates/failed"), 0.0);
        assert!(number(&outcome, "/whole/count") > 0.0);
        assert!(number(&outcome, "/broker/usage/cpu_ns_per_connection") > 0.0);
        let tls = outcome.pointer("/tls").unwrap();
        assert_eq!(tls.is_null(), line.contains("--no-tls"), "{line}");
    }
}

/// On a busy machine connections may start late, which is said: they are all made nevertheless.
#[test]
fn connections_in_open_loop_are_as_many_as_were_asked_for() {
    let outcome = outcome("conn --no-tls --rate 100 --warmup 0.2 --duration 1", &[0, 4]);
    let made = number(&outcome, "/whole/count");
    assert!((made - 100.0).abs() <= 3.0, "{made}");
}

#[test]
fn web_sockets_are_a_stage_of_their_own_with_and_without_tls() {
    for (line, tls) in [("--ws --no-tls", false), ("--ws -V 5", true)] {
        let conn = format!("conn {line} --concurrency 4 --warmup 0.2 --duration 0.5");
        let conn = outcome(&conn, &[0]);
        assert!(number(&conn, "/rates/made") > 0.0);
        assert_eq!(number(&conn, "/rates/failed"), 0.0);
        assert!(number(&conn, "/web_socket/count") > 0.0);
        assert_eq!(conn.pointer("/tls").unwrap().is_null(), !tls, "{line}");
        let short = SHORT.replace("--no-tls ", "");
        let load = format!("run {line} --pubs 3 --subs 3 -q 2 {short}");
        let load = outcome(&load, &[0]);
        assert!(number(&load, "/ledger/received") > 0.0);
        assert_eq!(number(&load, "/connect/web_socket/count"), 6.0, "{line}");
        assert_eq!(load.pointer("/broker/web_socket"), Some(&Value::from(true)));
        assert_eq!(load.pointer("/connect/tls").unwrap().is_null(), !tls, "{line}");
    }
}

/// Against mosquitto: its frames and its answer to the upgrade are another library's.
#[test]
fn web_sockets_to_mosquitto() {
    // mosquitto 2.0.11 wants a listener of its own protocol besides.
    let other = free_port();
    let lines = format!("protocol websockets\nlistener {other} 127.0.0.1\n");
    let Some(mosquitto) = Mosquitto::start_with(&lines) else {
        return;
    };
    let at = format!("-h 127.0.0.1 -p {} --ws", mosquitto.port);
    let line =
        format!("{at} --pubs 2 --subs 2 -q 1 --size 70000 --rate max --window 5 --warmup 0.2 --duration 0.5");
    assert!(number(&outcome(&line, &[0]), "/ledger/received") > 0.0);
    let wrong = run(&format!(
        "conn -h 127.0.0.1 -p {} --duration 0.2 --warmup 0",
        mosquitto.port
    ));
    expect("conn without --ws", &wrong, &[3]);
    let publish = format!("pub {at} -t kept -m value -r -q 1");
    expect(&publish, &run(&publish), &[0]);
    let subscribe = run(&format!("sub {at} -t kept -C 1 -W 10"));
    expect("sub", &subscribe, &[0]);
    assert_eq!(shown(&subscribe), "value\n");
}

#[test]
fn who_answers_no_upgrade_is_named_with_what_may_be_wrong() {
    let port = fake::serve(Behaviour::ClosesOnConnect);
    let http = http_server();
    for (line, part) in [
        (format!("-h 127.0.0.1 -p {port}"), "--ws"),
        (
            format!("-h 127.0.0.1 -p {http} --ws"),
            "404 Not Found; is --ws-path right?",
        ),
        (
            format!("-h 127.0.0.1 -p {http} --ws"),
            &format!("publisher 0 to 127.0.0.1:{http} (WebSocket upgrade)"),
        ),
    ] {
        let output = run(&format!("run {line} --pubs 1 --subs 0 --rate 1"));
        expect(&line, &output, &[3]);
        assert!(shown(&output).contains(part), "{line}: {}", shown(&output));
    }
    let sub = run(&format!("sub -h 127.0.0.1 -p {http} --ws -t a"));
    expect("sub", &sub, &[3]);
    assert!(shown(&sub).contains("404 Not Found"), "{}", shown(&sub));
}

/// Everything at once against our own broker and against mosquitto, both of which take ten aliases.
#[test]
fn properties_leave_the_ledger_clean() {
    let properties = "-V 5 -D connect session-expiry-interval 5 -D connect receive-maximum 10 -D connect maximum-packet-size 1000 \
         -D connect user-property client %i -D connect topic-alias-maximum 5 -D publish message-expiry-interval 60 \
         -D publish content-type text -D publish response-topic reply/%i -D publish correlation-data c%i \
         -D publish payload-format-indicator 0 -D publish user-property a b -D publish user-property a c \
         -D publish topic-alias 10 -D subscribe subscription-identifier 9 -D subscribe user-property d e \
         -D will will-delay-interval 1 --will-topic gone/%i --no-local --retain-as-published --retain-handling new";
    let mosquitto = Mosquitto::start();
    let at = mosquitto.map(|mosquitto| (format!("-h 127.0.0.1 -p {}", mosquitto.port), mosquitto));
    let at = at.iter().map(|(line, _)| line.as_str());
    for at in std::iter::once("--no-tls").chain(at) {
        for qos in ["0", "1", "2"] {
            let short = SHORT.replace("--no-tls ", "");
            let line = format!("run {at} --pubs 3 --subs 3 -q {qos} {properties} {short}");
            let outcome = outcome(&line, &[0]);
            assert!(number(&outcome, "/ledger/received") > 0.0, "{line}");
            let findings = outcome.pointer("/verdict/findings").unwrap().to_string();
            assert!(!findings.contains("Alias"), "{findings}");
        }
    }
    let line = format!("run --no-tls --pubs 2 --subs 2 -V 5 -D publish topic-alias 65535 {SHORT}");
    let shown = shown(&run(&line));
    assert!(
        shown.contains("2 publishers sent their topic each time"),
        "{shown}"
    );
}

/// What a client that is not ours makes of them.
#[test]
fn mosquitto_sub_sees_the_properties() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let port = mosquitto.port.to_string();
    let sub = Command::new("mosquitto_sub")
        .args([
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "seen/#",
            "-C",
            "4",
            "-W",
            "20",
        ])
        .args(["-F", "%t %C %R %D %E %P"])
        .stdout(Stdio::piped())
        .spawn();
    let Ok(sub) = sub else {
        eprintln!("skipped: mosquitto_sub is not installed");
        return;
    };
    // It says nothing when it is subscribed: retained messages wait for it.
    let properties = "-V 5 -D publish content-type text/x -D publish response-topic reply/to -D publish correlation-data 12 \
         -D publish message-expiry-interval 100 -D publish user-property key value -D publish topic-alias 1";
    for topic in ["seen/one", "seen/two"] {
        let line = format!("pub -h 127.0.0.1 -p {port} -q 1 -r -t {topic} -m x {properties}");
        expect(&line, &run(&line), &[0]);
        std::thread::sleep(Duration::from_millis(300));
    }
    let load = format!(
        "run -h 127.0.0.1 -p {port} -t seen/load/%i --pubs 2 --subs 0 -q 1 --rate 20 --warmup 0 --duration 0.2 {properties}"
    );
    expect(&load, &run(&load), &[0, 4]);
    let seen = String::from_utf8(sub.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 4, "{seen}");
    for topic in ["seen/one", "seen/two", "seen/load/"] {
        let line = lines
            .iter()
            .find(|line| line.starts_with(topic))
            .unwrap_or_else(|| panic!("{topic} in {seen}"));
        assert!(line.ends_with("text/x reply/to 12 100 key:value"), "{line}");
    }
}

/// A server of which no path is MQTT's.
fn http_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The request is short: it comes at once.
            let read = connection.read(&mut [0; 4096]);
            assert!(read.is_ok());
            connection
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        }
    });
    port
}

#[test]
fn clients_are_spread_over_hosts_by_their_numbers() {
    let (Some(first), Some(second)) = (Mosquitto::start(), Mosquitto::start()) else {
        return;
    };
    let hosts = format!("-h 127.0.0.1:{},localhost:{}", first.port, second.port);
    let load = "-q 1 --rate max --window 5 --warmup 0.2 --duration 0.5 --drain 5";
    let pairs = outcome(&format!("run {hosts} --pubs 4 --subs 4 {load}"), &[0]);
    assert!(number(&pairs, "/ledger/received") > 0.0);
    let address = pairs.pointer("/broker/address").and_then(Value::as_str).unwrap();
    assert!(
        address.contains(&first.port.to_string()) && address.contains(&second.port.to_string()),
        "{address}"
    );
    let conn = format!("conn {hosts} --concurrency 2 --warmup 0 --duration 0.3");
    assert_eq!(number(&outcome(&conn, &[0]), "/rates/failed"), 0.0);
    // What is published on one host does not come on the other, and the verdict says why.
    let line = format!(
        "run {hosts} --topics fan-in --pubs 2 --subs 1 -q 1 --rate 20 --warmup 0 --duration 0.3 --drain 0.3"
    );
    let output = run(&line);
    expect(&line, &output, &[1]);
    assert!(shown(&output).contains("bridged"), "{}", shown(&output));
    drop(second);
    let output = run(&format!("run {hosts} --pubs 2 --subs 0 --rate 2"));
    expect(&line, &output, &[3]);
    assert!(
        shown(&output).contains("publisher 1 to localhost"),
        "{}",
        shown(&output)
    );
}

#[test]
fn a_broker_that_refuses_everybody_is_exit_3() {
    let port = fake::serve(Behaviour::RefusesConnect);
    let output = run(&format!("conn -h 127.0.0.1 -p {port} --duration 0.2 --warmup 0"));
    expect("conn", &output, &[3]);
    assert!(shown(&output).contains("Not authorized"), "{}", shown(&output));
}

#[test]
fn every_retained_message_comes_back() {
    let outcome = outcome("retained --messages 3000 --size 20", &[0]);
    assert_eq!(number(&outcome, "/received"), 3_000.0);
    assert!(number(&outcome, "/broker/cpu_ns_per_insert") > 0.0);
}

#[test]
fn the_selftest_states_its_ceilings() {
    let outcome = outcome("selftest --duration 0.3", &[0, 4]);
    for part in ["single", "batched", "received"] {
        assert!(number(&outcome, &format!("/{part}/per_s")) > 0.0, "{outcome}");
        assert!(
            number(&outcome, &format!("/{part}/cpu_ns_per_message")) > 0.0,
            "{outcome}"
        );
    }
    assert_eq!(number(&outcome, "/pacer/unsent"), 0.0);
}

#[test]
fn a_search_ends_and_keeps_what_it_saw() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("search");
    let line = format!(
        "search --no-tls --pubs 4 --subs 4 --rate 50 --slo-p99-ms 0.001 --warmup 0 --duration 0.2 --out {}",
        out.display()
    );
    // No broker delivers within a microsecond.
    expect(&line, &run(&line), &[1, 4]);
    let search = json(&out.join("search.json"));
    assert!(search["points"].as_array().unwrap().len() >= 3);
    assert!(search["found_per_s"].is_null());
    assert!(
        std::fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<svg")
    );
}

#[test]
fn a_run_fills_its_folder_and_the_report_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let line = format!("run --pubs 4 --subs 4 {SHORT} --out {}", out.display());
    expect(&line, &run(&line), &[0]);
    for name in [
        "result.json",
        "windows.csv",
        "latency.hgrm",
        "latency.hlog",
        "report.html",
        "command",
    ] {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let result = json(&out.join("result.json"));
    let received: f64 = result["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interval| number(interval, "/received"))
        .sum();
    assert_eq!(
        received,
        number(&result, "/ledger/received"),
        "every delivery is in an interval"
    );
    std::fs::remove_file(out.join("report.html")).unwrap();
    let again = format!("report {}", out.display());
    expect(&again, &run(&again), &[0]);
    assert!(
        std::fs::read_to_string(out.join("report.html"))
            .unwrap()
            .contains("<svg")
    );
    expect(&line, &run(&line), &[2]);
    let nothing = format!("report {}", folder.path().display());
    expect(&nothing, &run(&nothing), &[2]);
}

#[test]
fn a_named_scenario_is_stamped_with_its_name_and_scale() {
    let line = "--scenario singlenode-p2p-1K-1K-1K-1K --scale 0.01 --rate 2000 --warmup 0.1 --duration 0.5";
    let outcome = outcome(line, &[0, 4]);
    assert_eq!(
        outcome.pointer("/scenario/origin/name"),
        Some(&Value::from("singlenode-p2p-1K-1K-1K-1K"))
    );
    assert_eq!(number(&outcome, "/scenario/origin/scale"), 0.01);
    assert_eq!(number(&outcome, "/scenario/publishers"), 10.0);
    assert_eq!(number(&outcome, "/scenario/duration_s"), 0.5);
    assert_eq!(number(&outcome, "/rates/offered_per_s"), 20.0);
    assert!(shown(&run("scenarios")).contains("singlenode-sharedsub-50K-500-50K-50K"));
}

#[test]
fn a_scenario_file_says_what_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    std::fs::write(
        &file,
        "pubs = 2\nsubs = 2\nqos = 1\nrate = \"max\"\nwindow = 3\nno_tls = true\nwarmup = 0.1\n",
    )
    .unwrap();
    let outcome = outcome(&format!("--scenario {} --duration 0.3", file.display()), &[0]);
    assert_eq!(
        outcome.pointer("/scenario/origin/name"),
        Some(&Value::from("two"))
    );
    assert!(number(&outcome, "/ledger/received") > 0.0);
}

/// Against mosquitto, so that the books are proved with a broker that is not ours.
#[test]
fn each_group_of_a_shared_subscription_gets_each_message_once() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let line = format!(
        "-h 127.0.0.1 -p {} --share 2 --pubs 4 --subs 6 -q 1 --threads 2 --rate max --window 5 --warmup 0.2 --duration 0.5 --drain 20",
        mosquitto.port
    );
    let outcome = outcome(&line, &[0]);
    let [sent, expected, received] =
        ["sent", "expected", "received"].map(|count| number(&outcome, &format!("/ledger/{count}")));
    assert!(sent > 0.0);
    assert_eq!((expected, received), (2.0 * sent, 2.0 * sent));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Ended with the test.
struct Mosquitto {
    process: Child,
    port: u16,
}

impl Mosquitto {
    /// `None`, with a line, where it is not installed; in CI it has to be.
    fn start() -> Option<Mosquitto> {
        Mosquitto::start_with("")
    }

    /// With more lines for its listener.
    fn start_with(lines: &str) -> Option<Mosquitto> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(
            &file,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\n{lines}"),
        )
        .unwrap();
        let started = Command::new("mosquitto")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed");
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let mosquitto = Mosquitto { process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "mosquitto does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(mosquitto)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn clients_have_the_addresses_names_wills_and_payloads_that_were_asked_for() {
    let line = format!(
        "--bind 127.0.0.2,127.0.0.3 --client-id my-%k-%i --will-topic gone/%i --will-payload bye -u user%i -P any \
         -t of/%u/%c --payload n=%i --ramp 0.2 --pubs 3 --subs 3 {SHORT}"
    );
    let outcome = outcome(&line, &[0]);
    assert!(number(&outcome, "/ledger/received") > 0.0);
    assert!(
        number(&outcome, "/connect/wall_ns") >= 100e6,
        "the ramp takes its time"
    );
}

#[test]
fn a_run_of_nothing_is_no_success() {
    for (line, exit_code, part) in [
        ("--pubs 0 --subs 2", 1, "nothing was sent"),
        ("--pubs 2 --subs 0 --rate 100", 1, "give --subs or -q 1"),
        ("--pubs 2 --subs 2 -t own/%i --rate 0.001", 1, "nothing was sent"),
        ("--pubs 2 --subs 2 --idle", 0, "no messages"),
    ] {
        let output = run(&format!("{line} --no-tls --warmup 0 --duration 0.3"));
        // On a busy machine the generator may be late besides, which is said first.
        let busy = if exit_code == 1 { 4 } else { exit_code };
        expect(line, &output, &[exit_code, busy]);
        assert!(shown(&output).contains(part), "{line}: {}", shown(&output));
    }
}

#[test]
fn connections_come_and_go_beside_a_load() {
    let outcome = outcome(&format!("--churn 100 --pubs 2 --subs 2 {SHORT}"), &[0]);
    let made = number(&outcome, "/churn/made");
    assert!((30.0..=80.0).contains(&made), "{made}");
    assert_eq!(number(&outcome, "/churn/failed"), 0.0);
}

#[test]
fn what_breaks_is_connected_again_where_that_is_wanted() {
    let port = fake::serve(Behaviour::ClosesOnPublish);
    let line = format!(
        "-h 127.0.0.1 -p {port} --pubs 2 --subs 1 -q 1 --rate 20 --reconnect --warmup 0 --duration 1 --drain 0.3"
    );
    let output = run(&line);
    let text = shown(&output);
    assert!(text.contains("were made again"), "{text}");
    assert!(!text.contains(" 0 were made again"), "{text}");
}

#[test]
fn metrics_are_served_while_it_runs() {
    let mut child = Command::new(PROGRAM)
        .args(
            "--no-tls --pubs 1 --subs 1 --rate 100 --warmup 0 --duration 3 --metrics 127.0.0.1:0"
                .split_whitespace(),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("loadgen_messages_sent_total"), "{answer}");
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 4)));
}

#[test]
fn midge_and_mosquitto_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    let line = format!(
        "compare --with mosquitto,no-such --scenario pairs-w1 --rounds 1 --duration 0.3 --warmup 0.1 --out {}",
        out.display()
    );
    let output = run(&line);
    expect(&line, &output, &[2]);
    assert!(shown(&output).contains("no-such"), "{}", shown(&output));
    let line = line.replace(",no-such", "");
    let output = run(&line);
    if shown(&output).contains("not installed") {
        assert!(std::env::var_os("CI").is_none(), "mosquitto is not installed");
        eprintln!("skipped: mosquitto is not installed");
        return;
    }
    expect(&line, &output, &[0, 4]);
    for broker in ["midge", "mosquitto", "mosquitto-nagle"] {
        let raw = json(&out.join(format!("raw/pairs-w1/{broker}/1.json")));
        assert!(
            number(&raw, "/broker/usage/cpu_ns_per_delivery") > 0.0,
            "{broker}"
        );
        assert!(
            out.join(format!("configurations/{broker}.conf")).exists(),
            "{broker}"
        );
    }
    for name in [
        "README.md",
        "command",
        "machine.json",
        "report.html",
        "selftest.json",
        "summary.csv",
        "summary.json",
        "versions.json",
    ] {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    assert!(
        shown(&output).contains("broker CPU per message"),
        "{}",
        shown(&output)
    );
}
