//! The program as a user starts it: against its own broker, and against servers that misbehave in one way each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod fake;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake::Behaviour;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");
/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

/// These tests check whether everything arrives: on a busy machine the rate is invalid, which is not a failure.
const SHORT: &str = "--ledger-only --rate max --warmup 0.2 --duration 0.5 --drain 20";

/// The words with one space between them: sentences that are wrapped for a terminal in one line.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(line: &str) -> Output {
    Command::new(PROGRAM)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs and returns the outcome that is written; the exit code must be one of these.
fn outcome(line: &str, exit_codes: &[i32]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome.json");
    let output = run(&format!("{line} --json {}", file.display()));
    let exit_code = output.status.code().unwrap();
    assert!(
        exit_codes.contains(&exit_code),
        "{line}: {exit_code}\n{}",
        shown(&output)
    );
    serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap()
}

fn number(outcome: &Value, path: &str) -> u64 {
    let value = outcome.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{path} in {outcome}"))
}

#[test]
fn the_bare_command_loads_its_own_broker_over_tls_and_ends_it() {
    let line = format!("--pubs 20 --subs 20 --window 4 --cpus 0 --broker-cpus 0 {SHORT}");
    let outcome = outcome(&line, &[0]);
    assert_eq!(number(&outcome, "/schema"), 3);
    assert_eq!(keys(&outcome), SCHEMA_3);
    assert_eq!(outcome.pointer("/scenario/duration_s"), Some(&Value::from(0.5)));
    assert_eq!(outcome.pointer("/scenario/version"), Some(&Value::from("3.1.1")));
    assert_eq!(outcome.pointer("/scenario/credentials"), None);
    assert!(number(&outcome, "/ledger/received") > 0);
    assert_eq!(
        number(&outcome, "/ledger/received"),
        number(&outcome, "/ledger/sent")
    );
    for nothing in ["lost", "duplicate", "reordered", "foreign"] {
        assert_eq!(number(&outcome, &format!("/ledger/{nothing}")), 0, "{nothing}");
    }
    let tls = outcome.pointer("/broker/tls").and_then(Value::as_str).unwrap();
    assert!(tls.starts_with("TLS 1.3 TLS_"), "{tls}");
    assert_eq!(number(&outcome, "/connect/tls/count"), 40);
    assert!(number(&outcome, "/broker/usage/cpu_ns") > 0);
    assert!(number(&outcome, "/broker/usage/rss_bytes_loaded") > 0);
    assert!(
        !is_alive(number(&outcome, "/broker/pid")),
        "the broker is still there"
    );
}

#[test]
fn nothing_is_lost_in_any_shape_version_or_qos() {
    for (line, listeners) in [
        ("-q 0 -V 3 --pubs 6 --subs 6 --window 7", 1),
        ("-q 1 -V 4 --pubs 6 --subs 3 --threads 2", 1),
        ("-q 2 -V 5 --pubs 3 --subs 6 --threads 2", 2),
        ("-q 0 -V 5 -t fan-out --pubs 2 --subs 30 --threads 2", 30),
        ("-q 1 -V 5 -t fan-in --pubs 30 --subs 1", 1),
        ("-q 2 -V 4 -t a/%i/b --pubs 4 --subs 4 -s 16", 1),
        ("-q 1 -t one/topic --pubs 3 --subs 2 -s 100000 --window 1", 2),
    ] {
        let outcome = outcome(&format!("{line} --no-tls -u user%i -P any {SHORT}"), &[0]);
        let [sent, received] =
            ["sent", "received"].map(|count| number(&outcome, &format!("/ledger/{count}")));
        assert!(sent > 0, "{line}");
        assert_eq!(received, listeners * sent, "{line}");
    }
}

#[test]
fn a_flood_waits_for_no_delivery_and_its_losses_are_a_figure() {
    let line = "--ledger-only --rate flood --no-tls --pubs 8 --subs 8 --warmup 0.2 --duration 0.5 --drain 20";
    let outcome = outcome(line, &[0]);
    assert_eq!(outcome.pointer("/scenario/load"), Some(&Value::from("flood")));
    let [sent, received, lost] =
        ["sent", "received", "lost"].map(|count| number(&outcome, &format!("/ledger/{count}")));
    assert!(received > 0);
    assert_eq!(sent, received + lost);
    assert!(number(&outcome, "/broker/usage/rss_bytes_peak") > 0);
    assert!(number(&outcome, "/broker/usage/rss_bytes_drained") > 0);
    assert!(number(&outcome, "/drain/backlog") <= sent);
    // With acknowledgements the in-flight window limits the rate, and nothing may be lost.
    let outcome = self::outcome(&format!("{line} -q 1"), &[0]);
    assert!(number(&outcome, "/ledger/received") > 0);
    assert_eq!(number(&outcome, "/ledger/lost"), 0);
}

/// At QoS 1, so that every message that the slow ones did not read meanwhile arrives when they read again.
#[test]
fn slow_subscribers_stop_reading_and_have_a_ledger_of_their_own() {
    let line = "--slow-subs 2 --no-tls -q 1 --pubs 2 --subs 3 -t fan-out --rate 2000 -s 20000 \
                --warmup 0 --duration 1 --threads 2";
    let outcome = outcome(line, &[0, 4]);
    let [sent, received] = ["sent", "received"].map(|count| number(&outcome, &format!("/ledger/{count}")));
    assert_eq!(received, 3 * sent, "the others have everything");
    assert_eq!(number(&outcome, "/slow/ledger/expected"), 2 * sent);
    assert_eq!(number(&outcome, "/slow/ledger/received"), 2 * sent, "{outcome}");
    let [reading, stalled] =
        ["reading", "stalled"].map(|part| number(&outcome, &format!("/slow/{part}/count")));
    assert_eq!(reading + stalled, number(&outcome, "/latency/count"));
    assert!(reading > 0 && stalled > reading, "{reading} {stalled}");
    // 60 % of 2,000 messages of 20 kB are more than sockets can buffer: the broker kept them.
    let [peak, connected] =
        ["peak", "connected"].map(|part| number(&outcome, &format!("/broker/usage/rss_bytes_{part}")));
    assert!(peak > connected + 1_000_000, "{peak} {connected}");
}

/// On a busy machine the verdict may be "limited by the generator": the schedule is kept all the same.
#[test]
fn an_open_loop_run_sends_what_its_schedule_says() {
    let line = "--rate 500 --warmup 0.4 --duration 1 --no-tls --pubs 10 --subs 10 -q 1";
    let outcome = outcome(line, &[0, 4]);
    assert!(number(&outcome, "/ledger/sent").abs_diff(700) <= 10, "{outcome}");
    let measured = number(&outcome, "/ledger/sent_measured");
    assert!(measured.abs_diff(500) <= 10, "{outcome}");
    for histogram in ["latency", "service", "acknowledged", "lag"] {
        let count = number(&outcome, &format!("/{histogram}/count"));
        // An acknowledged message is classified by when it was sent, the others by their intended time.
        let slack = if histogram == "acknowledged" { 50 } else { 0 };
        assert!(
            count.abs_diff(measured) <= slack,
            "{histogram}: {count} of {measured}"
        );
    }
    assert_eq!(
        number(&outcome, "/ledger/lost") + number(&outcome, "/ledger/unsent"),
        0
    );
}

#[test]
fn silent_clients_are_kept_alive() {
    let output = run("--pubs 1 --subs 3 --rate 1 -k 1 --warmup 0 --duration 3 --no-tls");
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", shown(&output));
    assert!(
        !shown(&output).contains("broke during the load"),
        "{}",
        shown(&output)
    );
}

/// A broker does not allow reading its memory, not even by its own user: what is reported of it comes from other
/// sources.
#[test]
fn an_ordinary_user_gets_memory_and_sha_256_of_its_broker() {
    if !geteuid().is_root() {
        return eprintln!("SKIPPED: root alone can run the program as another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let [program, file] = ["loadgen", "outcome.json"].map(|name| folder.path().join(name));
    std::fs::copy(PROGRAM, &program).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let line = format!("--no-tls --pubs 2 --subs 2 {SHORT} --json {}", file.display());
    let output = Command::new(&program)
        .args(line.split(' '))
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let outcome: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    for memory in ["connected", "loaded", "peak", "drained"] {
        let bytes = number(&outcome, &format!("/broker/usage/rss_bytes_{memory}"));
        assert!(bytes > 1_000_000, "{memory}: {bytes}");
    }
    assert!(number(&outcome, "/broker/usage/cpu_ns") > 0);
    let expected = loadgen::system::machine::sha256_of(&program).unwrap();
    let sha256 = outcome.pointer("/broker/sha256").and_then(Value::as_str);
    assert_eq!(sha256, Some(expected.as_str()));
}

#[test]
fn an_interrupted_run_reports_and_leaves_no_broker() {
    // Before it listens, while clients connect, in the warm-up, and during the load.
    for after_ms in [0, 60, 120, 700, 2000] {
        let mut long = LongRun::start();
        std::thread::sleep(Duration::from_millis(after_ms));
        kill_process(Pid::from_child(&long.program), Signal::INT).unwrap();
        let began = Instant::now();
        let status = long.program.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        let log = long.log();
        assert_eq!(status.code(), Some(130), "after {after_ms} ms: {log}");
        assert!(!is_alive(long.broker), "the broker is still there");
    }
}

#[test]
fn a_killed_run_leaves_no_broker() {
    let mut long = LongRun::start();
    std::thread::sleep(Duration::from_millis(700));
    long.program.kill().unwrap();
    long.program.wait().unwrap();
    let began = Instant::now();
    while is_alive(long.broker) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the broker is still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_server_is_exit_3() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(&format!("-h 127.0.0.1 -p {} {SHORT}", address.port()));
    assert_eq!(output.status.code(), Some(3));
    assert!(
        shown(&output).contains("Connection refused"),
        "{}",
        shown(&output)
    );
}

#[test]
fn what_a_server_does_wrong_is_said_and_never_exit_0() {
    for (behaviour, line, exit_code, sentence) in [
        (Behaviour::RefusesConnect, "", 3, "Not authorized"),
        (Behaviour::ClosesOnConnect, "", 3, "give --cafile"),
        (
            Behaviour::NeverAnswers,
            "--connect-timeout 0.3",
            3,
            "no answer within",
        ),
        (Behaviour::RefusesSubscribe, "", 3, "refused a subscription"),
        (Behaviour::GrantsLess, "-q 1", 3, "granted QoS 0"),
        (Behaviour::SendsRubbish, "", 3, "bad packet"),
        (
            Behaviour::DeliversNothing,
            "-q 1 --rate 40 --drain 0.5",
            1,
            "with QoS 1 or 2",
        ),
        (
            Behaviour::ClosesOnPublish,
            "-q 1 --rate 40",
            1,
            "connections broke",
        ),
        (
            Behaviour::AcknowledgesWrongly,
            "-q 1 --rate 40",
            1,
            "not in flight",
        ),
    ] {
        let port = fake::serve(behaviour);
        let base = format!("-h 127.0.0.1 -p {port} --pubs 2 --subs 2 --warmup 0.1 --duration 0.5");
        let output = run(&format!("{base} {line}"));
        // On a busy machine the generator may be late as well, which is reported first.
        let is_late = exit_code == 1 && output.status.code() == Some(4);
        assert!(
            is_late || output.status.code() == Some(exit_code),
            "{behaviour:?}: {}",
            shown(&output)
        );
        assert!(
            joined(&shown(&output)).contains(sentence),
            "{behaviour:?}: {}",
            shown(&output)
        );
    }
}

#[test]
fn too_few_descriptors_are_said_before_anything_connects() {
    let command = format!("ulimit -n 200 && exec {PROGRAM} --pubs 100 --subs 100 -h 127.0.0.1 -p 1");
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("ulimit -Hn 264"), "{}", shown(&output));
}

/// A run that would take a minute, and its broker's process id; ended with the test.
struct LongRun {
    program: Child,
    broker: u64,
    stderr: File,
}

impl LongRun {
    fn start() -> LongRun {
        let line = "--pubs 2 --subs 2 --rate 50 --warmup 1 --duration 60";
        let stderr = tempfile::tempfile().unwrap();
        let mut program = Command::new(PROGRAM);
        program
            .args(line.split_whitespace())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone().unwrap());
        let program = program.spawn().unwrap();
        let mut long = LongRun {
            program,
            broker: 0,
            stderr,
        };
        let children = format!("/proc/{0}/task/{0}/children", long.program.id());
        let began = Instant::now();
        while long.broker == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "no broker was started");
            std::thread::sleep(Duration::from_millis(10));
            let children = std::fs::read_to_string(&children).unwrap();
            long.broker = children
                .split_whitespace()
                .next()
                .map_or(0, |pid| pid.parse().unwrap());
        }
        long
    }

    fn log(&mut self) -> String {
        let mut log = String::new();
        self.stderr.rewind().unwrap();
        self.stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for LongRun {
    fn drop(&mut self) {
        // Both fail if the test has ended it already.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What readers of files with schema 3 may rely on.
const SCHEMA_3: [&str; 26] = [
    "acknowledged",
    "broker",
    "churn",
    "connect",
    "drain",
    "generator",
    "kind",
    "lag",
    "lag_own",
    "latency",
    "ledger",
    "loadgen_version",
    "machine",
    "never_came",
    "quantiles",
    "rates",
    "read_delay",
    "scenario",
    "schema",
    "series",
    "service",
    "slow",
    "started_unix_s",
    "steadiness",
    "verdict",
    "windows",
];

fn keys(outcome: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = outcome.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn is_alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
