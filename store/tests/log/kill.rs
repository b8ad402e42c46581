//! A process that is killed while it commits.
//!
//! Invariants: the process that writes is this test program, run again with an environment variable.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{open, publish, session, waiting};

const FOLDER: &str = "STORE_TEST_KILLED_IN";

/// Does nothing in a normal run of the tests; it is the writer when [`killed_at_any_time`] starts it.
#[test]
fn writer() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let (mut log, recovered) = open(Path::new(&folder));
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    let mut next = recovered.sessions.first().map_or(0, |session| session.next_order);
    let mut out = std::io::stderr();
    loop {
        for _ in 0..fastrand::u64(1..20) {
            publish(&mut shard, next, 1, next, format!("message {next}").as_bytes());
            next += 1;
        }
        shard.submit();
        log.step().unwrap();
        // One write for the whole line, so that a kill cannot cut it.
        out.write_all(format!("durable {next}\n").as_bytes()).unwrap();
    }
}

#[test]
fn killed_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..8 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::writer", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stderr.take().unwrap()).lines();
        let mut first = lines.next();
        std::thread::sleep(Duration::from_millis(fastrand::u64(1..60)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        while let Some(line) = first.take().or_else(|| lines.next()) {
            if let Some(number) = line.unwrap().strip_prefix("durable ") {
                acknowledged = number.parse().unwrap();
            }
        }
        let (_log, recovered) = open(folder.path());
        assert!(
            recovered.damage.is_none(),
            "round {round}: {:?}",
            recovered.damage
        );
        let messages = waiting(&recovered, 1);
        assert!(
            messages.len() >= acknowledged,
            "round {round}: {} of {acknowledged}",
            messages.len()
        );
        for (number, message) in messages.iter().enumerate() {
            assert_eq!(*message, format!("message {number}").as_bytes(), "round {round}");
        }
    }
    assert!(acknowledged > 0);
}
