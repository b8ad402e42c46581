//! The programs of the tutorial: the broker, in its folder and with its configuration, on a terminal or without one,
//! and the clients.
//!
//! Invariant: a process that was started here is gone when its value is dropped.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::files::Files;
use super::is_there;
use crate::harness::{eventually, free_port, program};

/// The tutorial's broker while it serves.
pub(super) struct Served {
    child: Child,
    pub(super) port: u16,
    log: std::path::PathBuf,
}

/// A broker that ended by itself.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) text: String,
}

impl Served {
    /// Starts the broker as the tutorial does, with the passphrase in the environment.
    pub(super) fn start(files: &Files, configuration: &str, passphrase: &str) -> Self {
        std::fs::write(files.path("mosquitto.conf"), configuration).unwrap();
        let log = files.path("broker.log");
        let child = Command::new(program())
            .args(["-v", "-c", "mosquitto.conf", "--shards", "1"])
            .current_dir(files.folder())
            .env("MIDGE_KEY_PASSPHRASE", passphrase)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut served = Self {
            child,
            port: port_of(configuration),
            log,
        };
        eventually("the broker listens", || {
            assert!(
                served.child.try_wait().unwrap().is_none(),
                "the broker ended:\n{}",
                served.log()
            );
            TcpStream::connect(("localhost", served.port)).is_ok()
        });
        served
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for words in the log.
    pub(super) fn has_logged(&self, words: &str) {
        let deadline = std::time::Instant::now() + crate::harness::TIMEOUT;
        while !self.log().contains(words) {
            assert!(
                std::time::Instant::now() < deadline,
                "{words:?} is not in\n{}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Subscriptions so far: the log has `TIME: CLIENT QOS FILTER` for each.
    fn subscriptions(&self) -> usize {
        let is_subscription = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            matches!(words[..], [_, _, "0" | "1" | "2", _])
        };
        self.log().lines().filter(is_subscription).count()
    }

    /// Ends it as systemd does; gives the log.
    pub(super) fn end(mut self) -> String {
        terminate(&self.child);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}:\n{}", self.log());
        self.log()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            terminate(&self.child);
        }
        let _reaped = self.child.wait();
    }
}

fn terminate(child: &Child) {
    // It fails only for a process that has ended.
    let _ended = kill_process(Pid::from_child(child), Signal::TERM);
}

fn port_of(configuration: &str) -> u16 {
    let line = configuration.lines().find_map(|line| line.strip_prefix("port "));
    line.unwrap().parse().unwrap()
}

/// Runs a broker that does not start, without a terminal.
pub(super) fn broker_ends(files: &Files, configuration: &str, passphrase: Option<&str>) -> Ended {
    std::fs::write(files.path("mosquitto.conf"), configuration).unwrap();
    let mut command = without_terminal(program());
    command.args(["-c", "mosquitto.conf", "--shards", "1"]);
    command.current_dir(files.folder());
    if let Some(passphrase) = passphrase {
        command.env("MIDGE_KEY_PASSPHRASE", passphrase);
    }
    let ended = command.output().unwrap();
    Ended {
        code: ended.status.code(),
        text: text_of(&ended),
    }
}

/// A program that can ask nobody.
pub(super) fn without_terminal(program: &str) -> Command {
    let mut command = Command::new("setsid");
    command
        .args(["--wait", program])
        .env_remove("MIDGE_KEY_PASSPHRASE")
        .stdin(Stdio::null());
    command
}

/// `loadgen pub` or `loadgen sub`, without a terminal.
pub(super) fn loadgen(word: &str) -> Command {
    let mut command = without_terminal(env!("CARGO_BIN_EXE_midge-loadgen"));
    command.arg(word);
    command
}

/// Standard output and standard error.
pub(super) fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Starts the subscriber, then runs the publisher; gives what the subscriber printed.
pub(super) fn receive(served: &Served, mut subscriber: Command, mut publisher: Command) -> String {
    let before = served.subscriptions();
    let mut waiting = subscriber
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually_subscribed(served, before, &mut waiting);
    let published = publisher.output().unwrap();
    assert!(
        published.status.success(),
        "{publisher:?}: {}",
        text_of(&published)
    );
    let received = waiting.wait_with_output().unwrap();
    assert!(
        received.status.success(),
        "{subscriber:?}: {}",
        text_of(&received)
    );
    String::from_utf8(received.stdout).unwrap()
}

/// A Java program needs its time on a busy machine.
fn eventually_subscribed(served: &Served, before: usize, waiting: &mut Child) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while served.subscriptions() <= before {
        if waiting.try_wait().unwrap().is_some() {
            let mut stderr = String::new();
            waiting
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut stderr)
                .unwrap();
            panic!("the subscriber ended: {stderr}\n{}", served.log());
        }
        assert!(std::time::Instant::now() < deadline, "nobody subscribes");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A program on a terminal of its own, with what is typed there.
pub(super) struct OnTerminal {
    child: Child,
    /// A broker outlives its terminal, and is ended by this.
    pid_file: std::path::PathBuf,
}

impl OnTerminal {
    pub(super) fn start(files: &Files, line: &str, typed: &str) -> Self {
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", line, "/dev/null"])
            .current_dir(files.folder())
            .env_remove("MIDGE_KEY_PASSPHRASE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
        Self {
            child,
            pid_file: files.path("pid"),
        }
    }

    /// Starts `broker -c mosquitto.conf`.
    pub(super) fn broker(files: &Files, configuration: &str, typed: &str) -> Self {
        let text = format!("{configuration}pid_file pid\n");
        std::fs::write(files.path("mosquitto.conf"), text).unwrap();
        Self::start(files, &format!("{} -c mosquitto.conf", program()), typed)
    }

    pub(super) fn serves(&self, port: u16) {
        eventually("the broker listens", || {
            TcpStream::connect(("localhost", port)).is_ok()
        });
    }

    fn terminate_by_file(&self) -> bool {
        let pid = std::fs::read_to_string(&self.pid_file)
            .ok()
            .and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
    }

    /// Waits for the end; gives what was on the screen.
    pub(super) fn end(mut self) -> (ExitStatus, String) {
        let mut screen = Vec::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut screen)
            .unwrap();
        let status = self.child.wait().unwrap();
        (status, String::from_utf8_lossy(&screen).into_owned())
    }

    /// Ends the broker by its pid file; gives what was on the screen.
    pub(super) fn terminate(self) -> String {
        eventually("the pid file", || self.terminate_by_file());
        let (status, screen) = self.end();
        assert!(status.success(), "{screen}");
        screen
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.terminate_by_file();
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// mosquitto itself, over a plain port, lets the users of `passfile` in.
pub(super) fn mosquitto_takes(files: &Files, users: &[&str]) {
    if !is_there("mosquitto", "-h") || !is_there("mosquitto_pub", "--help") {
        return;
    }
    let port = free_port();
    let text =
        format!("listener {port} 127.0.0.1\npassword_file passfile\nallow_anonymous false\nuser root\n");
    std::fs::write(files.path("theirs.conf"), text).unwrap();
    let mut child = Command::new("mosquitto")
        .args(["-c", "theirs.conf"])
        .current_dir(files.folder())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("mosquitto listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let statuses: Vec<_> = users
        .iter()
        .map(|user| {
            let mut publish = Command::new("mosquitto_pub");
            publish.args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-t",
                "t",
                "-n",
                "-q",
                "1",
            ]);
            publish.args(["-u", user, "-P", &format!("{user}-pw")]);
            publish.output().unwrap()
        })
        .collect();
    terminate(&child);
    let _reaped = child.wait();
    for output in statuses {
        assert!(output.status.success(), "{}", text_of(&output));
    }
}
