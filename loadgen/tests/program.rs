//! The program as a person starts it: against its own broker, and against servers that misbehave in one way each.

mod fake;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake::Behaviour;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// Short, and in closed loop: a busy machine cannot make it invalid.
const SHORT: &[&str] = &[
    "--rate",
    "max",
    "--warmup",
    "0.2",
    "--duration",
    "0.5",
    "--drain",
    "20",
];

fn run(arguments: &[&[&str]]) -> Output {
    Command::new(PROGRAM).args(arguments.concat()).output().unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs and gives the outcome that it writes.
fn outcome(arguments: &[&[&str]], exit_code: i32) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome.json");
    let json = ["--json", file.to_str().unwrap()];
    let output = run(&[arguments.concat().as_slice(), &json]);
    assert_eq!(
        output.status.code(),
        Some(exit_code),
        "{arguments:?}: {}",
        shown(&output)
    );
    serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap()
}

fn number(outcome: &serde_json::Value, path: &str) -> u64 {
    outcome
        .pointer(path)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("{path} in {outcome}"))
}

#[test]
fn the_bare_command_loads_its_own_broker_over_tls_and_ends_it() {
    let outcome = outcome(&[SHORT, &["--pubs", "20", "--subs", "20", "--window", "4"]], 0);
    assert_eq!(number(&outcome, "/schema"), 1);
    assert!(number(&outcome, "/ledger/received") > 0);
    assert_eq!(
        number(&outcome, "/ledger/received"),
        number(&outcome, "/ledger/sent")
    );
    for nothing in ["lost", "duplicate", "reordered", "foreign"] {
        assert_eq!(number(&outcome, &format!("/ledger/{nothing}")), 0, "{nothing}");
    }
    let tls = outcome
        .pointer("/broker/tls")
        .and_then(serde_json::Value::as_str)
        .unwrap();
    assert!(tls.starts_with("TLSv1_3 TLS13_"), "{tls}");
    assert_eq!(number(&outcome, "/connect/tls/count"), 40);
    assert!(
        number(&outcome, "/broker/usage/cpu_ns") > 0
            && number(&outcome, "/broker/usage/rss_bytes_loaded") > 0
    );
    assert!(
        !is_alive(number(&outcome, "/broker/pid")),
        "the broker is still there"
    );
}

#[test]
fn nothing_is_lost_in_any_shape_version_or_qos() {
    let table: [(&[&str], u64); 7] = [
        (
            &[
                "-q", "0", "-V", "3", "--pubs", "6", "--subs", "6", "--window", "7",
            ],
            1,
        ),
        (
            &[
                "-q",
                "1",
                "-V",
                "4",
                "--pubs",
                "6",
                "--subs",
                "3",
                "--threads",
                "2",
            ],
            1,
        ),
        (
            &[
                "-q",
                "2",
                "-V",
                "5",
                "--pubs",
                "3",
                "--subs",
                "6",
                "--threads",
                "2",
            ],
            2,
        ),
        (
            &[
                "-q",
                "0",
                "-V",
                "5",
                "-t",
                "fan-out",
                "--pubs",
                "2",
                "--subs",
                "30",
                "--threads",
                "2",
            ],
            30,
        ),
        (
            &[
                "-q", "1", "-V", "5", "-t", "fan-in", "--pubs", "30", "--subs", "1",
            ],
            1,
        ),
        (
            &[
                "-q", "2", "-V", "4", "-t", "a/%i/b", "--pubs", "4", "--subs", "4", "-s", "16",
            ],
            1,
        ),
        (
            &[
                "-q",
                "1",
                "-t",
                "one/topic",
                "--pubs",
                "3",
                "--subs",
                "2",
                "-s",
                "100000",
                "--window",
                "1",
            ],
            2,
        ),
    ];
    for (arguments, listeners) in table {
        let outcome = outcome(&[SHORT, &["--no-tls", "-u", "user%i", "-P", "any"], arguments], 0);
        assert!(number(&outcome, "/ledger/sent") > 0, "{arguments:?}");
        assert_eq!(
            number(&outcome, "/ledger/received"),
            listeners * number(&outcome, "/ledger/sent"),
            "{arguments:?}"
        );
    }
}

#[test]
fn an_open_loop_run_sends_what_its_schedule_says() {
    // On a busy machine the verdict may be "limited by the generator": the schedule is kept all the same.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outcome.json");
    let pace = [
        "--rate",
        "500",
        "--warmup",
        "0.4",
        "--duration",
        "1",
        "--no-tls",
        "--pubs",
        "10",
        "--subs",
        "10",
        "-q",
        "1",
    ];
    let output = run(&[&pace, &["--json", file.to_str().unwrap()]]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", shown(&output));
    let outcome: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(number(&outcome, "/ledger/sent").abs_diff(700) <= 10, "{outcome}");
    assert!(
        number(&outcome, "/ledger/sent_measured").abs_diff(500) <= 10,
        "{outcome}"
    );
    assert_eq!(
        number(&outcome, "/latency/count"),
        number(&outcome, "/ledger/sent_measured")
    );
    assert_eq!(
        number(&outcome, "/service/count"),
        number(&outcome, "/ledger/sent_measured")
    );
    assert_eq!(
        number(&outcome, "/lag/count"),
        number(&outcome, "/ledger/sent_measured")
    );
    assert_eq!(
        number(&outcome, "/ledger/lost") + number(&outcome, "/ledger/unsent"),
        0
    );
}

#[test]
fn an_interrupted_run_reports_and_leaves_no_broker() {
    let (mut program, broker) = start_long_run();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&program),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let began = Instant::now();
    let status = program.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(matches!(status.code(), Some(0 | 4)), "{status}");
    assert!(!is_alive(broker), "the broker is still there");
}

#[test]
fn a_killed_run_leaves_no_broker() {
    let (mut program, broker) = start_long_run();
    program.kill().unwrap();
    program.wait().unwrap();
    let began = Instant::now();
    while is_alive(broker) {
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
    let output = run(&[&["-h", "127.0.0.1", "-p", &address.port().to_string()], SHORT]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        shown(&output).contains("Connection refused"),
        "{}",
        shown(&output)
    );
}

#[test]
fn what_a_server_does_wrong_is_said_and_never_exit_0() {
    let table: [(Behaviour, &[&str], i32, &str); 8] = [
        (Behaviour::RefusesConnect, &[], 3, "Not authorized"),
        (
            Behaviour::SaysNothing,
            &["--connect-timeout", "0.3"],
            3,
            "no answer within",
        ),
        (Behaviour::RefusesSubscribe, &[], 3, "refused a subscription"),
        (Behaviour::GrantsLess, &["-q", "1"], 3, "granted QoS 0"),
        (Behaviour::SendsRubbish, &[], 3, "bad packet"),
        (
            Behaviour::DeliversNothing,
            &["-q", "1", "--rate", "40", "--drain", "0.5"],
            1,
            "with QoS 1 or 2",
        ),
        (
            Behaviour::ClosesOnPublish,
            &["-q", "1", "--rate", "40"],
            1,
            "connections broke",
        ),
        (
            Behaviour::AcknowledgesWrongly,
            &["-q", "1", "--rate", "40"],
            1,
            "not in flight",
        ),
    ];
    for (behaviour, arguments, exit_code, sentence) in table {
        let port = fake::serve(behaviour).to_string();
        let base = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "--pubs",
            "2",
            "--subs",
            "2",
            "--warmup",
            "0.1",
            "--duration",
            "0.5",
        ];
        let output = run(&[&base, arguments]);
        assert_eq!(
            output.status.code(),
            Some(exit_code),
            "{behaviour:?}: {}",
            shown(&output)
        );
        assert!(
            shown(&output).contains(sentence),
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

/// Starts a run that would take a minute, and gives its broker's process id.
fn start_long_run() -> (Child, u64) {
    let arguments = [
        "--pubs",
        "2",
        "--subs",
        "2",
        "--warmup",
        "0.1",
        "--duration",
        "60",
    ];
    let program = Command::new(PROGRAM)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    loop {
        let children = format!("/proc/{0}/task/{0}/children", program.id());
        let children = std::fs::read_to_string(children).unwrap();
        if let Some(broker) = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
        {
            // Long enough to be in the middle of it on most machines; what is asserted holds at any moment.
            std::thread::sleep(Duration::from_millis(700));
            return (program, broker);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no broker was started");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
