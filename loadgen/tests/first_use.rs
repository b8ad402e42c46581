//! What a user meets in the first hour: closed and full outputs, Ctrl-C, a file that cannot be written, help.
//!
//! Invariants: none.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

const SHORT: &str =
    "--ledger-only --no-tls --rate max --window 10 --warmup 0.1 --duration 0.3 --pubs 2 --subs 2";

fn command(line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(line.split_whitespace());
    command
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

fn full() -> Stdio {
    Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap())
}

/// A reader may want only the first line: the work is done, the files are written, and nothing panics.
#[test]
fn a_closed_output_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("outcome.json");
    let run = format!("{SHORT} --json {}", json.display());
    for line in [
        "scenarios",
        "--help",
        "conn --help",
        &run,
        "retained --messages 100",
    ] {
        let output = command(line).stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", shown(&output));
        assert!(!shown(&output).contains("panicked"), "{line}: {}", shown(&output));
        let output = command(line).stdout(closed()).stderr(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
    }
    assert!(json.exists(), "the outcome is written all the same");
    let output = command("--no-such-option").stderr(closed()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_full_output_is_a_failure_that_is_named() {
    for line in [
        "scenarios",
        "--help",
        SHORT,
        "conn --no-tls --warmup 0 --duration 0.2",
    ] {
        let output = command(line).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", shown(&output));
        assert!(
            shown(&output).contains("cannot write to standard output: No space left"),
            "{line}: {}",
            shown(&output)
        );
        let output = command(line).stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
}

/// It is reported before a broker is started and a minute of load is wasted.
#[test]
fn a_file_that_cannot_be_written_is_named_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [
        "/nonexistent/outcome.json".to_owned(),
        folder.path().display().to_string(),
        format!("{}/outcome.json", file.display()),
    ] {
        for line in [
            "--pubs 2 --subs 2 --duration 600",
            "conn --duration 600",
            "retained --messages 10000000",
            "selftest --duration 60",
        ] {
            let began = Instant::now();
            let output = command(&format!("{line} --json {path}")).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{line}: {}", shown(&output));
            assert!(shown(&output).contains(&path), "{line}: {}", shown(&output));
            assert!(began.elapsed() < Duration::from_secs(10), "{line}");
        }
    }
    let output = command(&format!("{SHORT} --json {}", file.display()))
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "a file is written over: {}",
        shown(&output)
    );
}

/// With an outcome or without, a script that is interrupted must not continue as if nothing had happened.
#[test]
fn an_interruption_is_exit_130() {
    for line in [
        "--no-tls --pubs 2 --subs 2 --rate max --warmup 0.1 --duration 60",
        "conn --no-tls --warmup 0.1 --duration 60",
        "selftest --duration 60",
    ] {
        let mut child = command(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert!(child.try_wait().unwrap().is_none(), "{line}");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let began = Instant::now();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{line}");
        assert!(began.elapsed() < Duration::from_secs(20), "{line}");
    }
}
