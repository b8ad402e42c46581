//! The broker as a process of its own.
//!
//! Invariant: a process that a test started is gone when its [`Broker`] is dropped, and a broker that left with an
//! error or a panic fails the test, whatever the test itself saw.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use transport::socket::reserve_port;

use super::{Certificates, TIMEOUT};

/// Longer than the broker's own time for closing connections.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// What a broker is started with.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    global: String,
    listener: String,
    shards: Option<u16>,
    descriptors: Option<u32>,
    locked: Option<LockedMemory>,
}

/// RLIMIT_MEMLOCK, and whether root may lock more.
#[derive(Clone, Copy)]
struct LockedMemory {
    kib: u32,
    keeps_right: bool,
}

/// A running broker, with one listener on 127.0.0.1 that lets anonymous clients in.
pub(crate) struct Broker {
    process: Process,
    port: u16,
    folder: TempDir,
}

/// A broker that ended by itself.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Setup {
    /// Adds a line to the configuration of the whole broker.
    pub(crate) fn global(mut self, line: &str) -> Self {
        let _written = writeln!(self.global, "{line}");
        self
    }

    /// Adds a line to the configuration of the listener.
    pub(crate) fn listener(mut self, line: &str) -> Self {
        let _written = writeln!(self.listener, "{line}");
        self
    }

    /// How many shards it runs (`--shards`).
    pub(crate) fn shards(mut self, shards: u16) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The listener speaks TLS with these certificates.
    pub(crate) fn tls(self, certificates: &Certificates) -> Self {
        let path = |name: &str| certificates.path(name).display().to_string();
        self.listener(&format!("certfile {}", path("server.crt")))
            .listener(&format!("keyfile {}", path("server.key")))
            .listener(&format!("cafile {}", path("ca.crt")))
    }

    /// The process may have so many open files.
    pub(crate) fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// The process may lock so much memory, and root too has not the right to lock more.
    pub(crate) fn locked_kib(mut self, kib: u32) -> Self {
        let keeps_right = false;
        self.locked = Some(LockedMemory { kib, keeps_right });
        self
    }

    /// The process may lock so much memory, but root is not bound by that.
    pub(crate) fn locked_kib_but_for_root(mut self, kib: u32) -> Self {
        let keeps_right = true;
        self.locked = Some(LockedMemory { kib, keeps_right });
        self
    }

    /// Starts the broker and waits until it takes connections.
    pub(crate) fn start(&self) -> Broker {
        self.start_at(free_port())
    }

    /// The same at a port of the test's choice.
    pub(crate) fn start_at(&self, port: u16) -> Broker {
        let (mut process, folder) = self.spawn(port);
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if process.has_ended() {
                panic!("the broker did not start:\n{}", process.take_log());
            }
            assert!(
                Instant::now() < deadline,
                "the broker does not listen:\n{}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Broker {
            process,
            port,
            folder,
        }
    }

    fn text(&self, port: u16) -> String {
        // What a test writes into its folders later is for its own user alone.
        let user = if rustix::process::geteuid().is_root() && !self.global.contains("user ") {
            "user root\n"
        } else {
            ""
        };
        format!(
            "{}{user}listener {port} 127.0.0.1\nallow_anonymous true\n{}",
            self.global, self.listener
        )
    }

    fn command(&self, configuration: &Path) -> Command {
        let mut command = if self.descriptors.is_none() && self.locked.is_none() {
            Command::new(program())
        } else {
            let mut shell = Command::new("bash");
            shell.arg("-c").arg(self.limits()).arg(program());
            shell
        };
        command
            .arg("-c")
            .arg(configuration)
            .args(["--shards", &self.shards.unwrap_or(1).to_string()]);
        command
    }

    /// What a shell does to run a program with the limits.
    fn limits(&self) -> String {
        let mut script = String::new();
        if let Some(count) = self.descriptors {
            let _written = write!(script, "ulimit -n {count} && ");
        }
        let mut without_right = "";
        if let Some(locked) = self.locked {
            let _written = write!(script, "ulimit -l {} && ", locked.kib);
            if !locked.keeps_right && rustix::process::geteuid().is_root() {
                without_right = "setpriv --bounding-set -ipc_lock -- ";
            }
        }
        let _written = write!(script, "exec {without_right}\"$0\" \"$@\"");
        script
    }

    /// Starts the broker where it is expected to end by itself, and waits for that.
    pub(crate) fn start_in_vain(&self) -> (ExitStatus, String) {
        let (mut process, _folder) = self.spawn(free_port());
        let status = process.wait(END_TIMEOUT).expect("the broker did not end");
        (status, process.take_log())
    }

    fn spawn(&self, port: u16) -> (Process, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        std::fs::write(&path, self.text(port)).unwrap();
        (Process::spawn(&mut self.command(&path)), folder)
    }

    /// Ends the broker with SIGTERM while it starts, once it has logged this.
    pub(crate) fn end_while_starting(&self, logged: &str) -> (ExitStatus, String) {
        let (mut process, _folder) = self.spawn(free_port());
        super::eventually("it starts", || process.log().contains(logged));
        process.signal(Signal::TERM);
        let status = process.wait(END_TIMEOUT).expect("the broker did not end");
        (status, process.take_log())
    }
}

impl Broker {
    /// A broker with one shard and nothing configured.
    pub(crate) fn start() -> Self {
        Setup::default().start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log().clone()
    }

    /// The folder of its configuration, for files of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes another configuration in place of its own, without a reload.
    pub(crate) fn configure(&self, setup: &Setup) {
        std::fs::write(self.path("broker.conf"), setup.text(self.port)).unwrap();
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end; the log is whole then.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.process.wait(END_TIMEOUT).expect("the broker did not end");
        (status, self.process.take_log())
    }

    /// Ends it without a chance to end itself.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.process.wait(END_TIMEOUT).expect("the broker did not end");
        // The kernel takes the ring apart behind the process: until then the port has a listener that nobody reads.
        super::eventually("the port is free", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_err()
        });
        // It did not leave by itself, so there is nothing to ask for.
        self.process.status = Some(ExitStatus::default());
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// CPU time used so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // User and system time, the 14th and 15th field of proc(5).
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.process.log());
            return;
        }
        if self.process.status.is_none() {
            self.process.signal(Signal::TERM);
            self.process.wait(END_TIMEOUT);
        }
        let status = self.process.status;
        let log = self.process.take_log();
        assert!(
            status.is_some_and(|status| status.success()),
            "the broker left with {status:?}:\n{log}"
        );
        assert!(!log.contains("panicked"), "the broker panicked:\n{log}");
    }
}

/// Runs the broker with these arguments to its end.
pub(crate) fn run(arguments: &[&str]) -> Run {
    let output = Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A port of 127.0.0.1 that the kernel gives to nobody else while these tests run.
pub(crate) fn free_port() -> u16 {
    let (reserved, port) = reserve_port(Ipv4Addr::LOCALHOST.into()).unwrap();
    // Kept until the process ends: a broker may be started on it again.
    std::mem::forget(reserved);
    port
}

/// The path of the broker.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_midge-broker")
}

/// A child whose standard error is collected; killed on drop if it is still there.
struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Process {
    fn spawn(command: &mut Command) -> Self {
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let collected = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _written = writeln!(collected.lock().unwrap(), "{line}");
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
            status: None,
        }
    }

    fn log(&self) -> MutexGuard<'_, String> {
        self.log.lock().unwrap()
    }

    /// The log to its end, for a process that is gone.
    fn take_log(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log().clone()
    }

    fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.status
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
