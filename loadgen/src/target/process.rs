//! A broker in a separate process: starts it, waits until it listens, watches it and ends it.
//!
//! Invariants: a process that was started here is ended by its process id when the [`BrokerProcess`] is dropped, and
//! by the kernel if the generator is killed before that. Two things would break this: starting it from a thread that
//! ends before the program does, because the kernel watches the thread; and a program that changes its user, because
//! the kernel then no longer ends it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use transport::socket::reserve_port;

use crate::system::cpus::Cpus;
use crate::system::error::{EXIT_USAGE, Failure};
use crate::system::hide_password::PASSWORD_VARIABLE;
use crate::system::output::note;

/// The first argument with which this program becomes the broker of a run.
pub const BROKER_WORD: &str = "broker";

/// The first argument with which this program becomes another one, pinned and watched: a peer of a comparison.
pub const PEER_WORD: &str = "peer";

/// A broker in a separate process.
#[derive(Debug)]
pub struct BrokerProcess {
    process: Child,
    /// What it writes to its standard output and error.
    log: File,
}

impl BrokerProcess {
    /// Starts our broker with these arguments.
    ///
    /// # Errors
    /// The errors of starting a process.
    pub fn own(
        words: impl IntoIterator<Item = OsString>,
        cpus: Option<&Cpus>,
    ) -> Result<BrokerProcess, Failure> {
        BrokerProcess::spawn(BROKER_WORD, words, cpus)
    }

    /// Starts another program, given by its name or path first.
    ///
    /// # Errors
    /// The errors of starting a process; a missing program is reported when it is waited for.
    pub fn peer(
        words: impl IntoIterator<Item = OsString>,
        cpus: Option<&Cpus>,
    ) -> Result<BrokerProcess, Failure> {
        BrokerProcess::spawn(PEER_WORD, words, cpus)
    }

    fn spawn(
        kind: &str,
        words: impl IntoIterator<Item = OsString>,
        cpus: Option<&Cpus>,
    ) -> Result<BrokerProcess, Failure> {
        let program = std::env::current_exe().map_err(Failure::system("cannot find this program's file"))?;
        let kept =
            tempfile::tempfile().map_err(Failure::system("cannot make a file for the broker's log"))?;
        let open_log = || {
            kept.try_clone()
                .map_err(Failure::system("cannot open the broker's log"))
        };
        let (log, output) = (open_log()?, open_log()?);
        let mut command = Command::new(program);
        command
            .args([kind, &std::process::id().to_string()])
            // The password is for the clients.
            .env_remove(PASSWORD_VARIABLE)
            .arg(cpus.map_or(ANY_CPU.to_owned(), Cpus::to_string))
            .args(words)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            // A signal from the terminal is for the generator, which ends the broker after its report.
            .process_group(0);
        let process = command
            .spawn()
            .map_err(Failure::system("cannot start the broker"))?;
        Ok(BrokerProcess { process, log: kept })
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it accepts connections on `address`.
    ///
    /// # Errors
    /// That it ended or never listened, with the end of its log; an interruption.
    pub fn wait_until_it_listens(
        &mut self,
        address: SocketAddr,
        interrupted: &AtomicBool,
    ) -> Result<(), Failure> {
        self.wait_until_it_listens_within(address, LISTENS_WITHIN, interrupted)
    }

    /// The same with a time limit.
    ///
    /// # Errors
    /// As [`BrokerProcess::wait_until_it_listens`].
    pub fn wait_until_it_listens_within(
        &mut self,
        address: SocketAddr,
        within: Duration,
        interrupted: &AtomicBool,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < within {
            self.check_alive()?;
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            if TcpStream::connect_timeout(&address, LISTENS_WITHIN).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        let log = self.end_of_log();
        Err(Failure::Broker(format!(
            "the broker does not listen on {address} after {within:?}{log}"
        )))
    }

    /// Ends it as `kill -9` does, and waits until it has ended.
    ///
    /// # Errors
    /// The errors of killing a process.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.process
            .kill()
            .and_then(|()| self.process.wait().map(drop))
            .map_err(Failure::system("cannot kill the broker"))
    }

    /// Checks that it still runs; the error contains the end of its log.
    ///
    /// # Errors
    /// That it has ended.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::Broker(format!(
                "the broker ended ({status}){}",
                self.end_of_log()
            ))),
            Err(error) => Err(Failure::Broker(format!("cannot watch the broker: {error}"))),
        }
    }

    /// The end of what the broker wrote.
    fn end_of_log(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.log.rewind().and_then(|()| self.log.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match text.trim() {
            "" => String::new(),
            _ if read.is_err() => String::new(),
            text => {
                let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
                format!(
                    "; its log ends with:\n  {}",
                    lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
                )
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let began = Instant::now();
        if let Some(pid) = pid.filter(|_| !self.has_ended()) {
            // It fails only if the process has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        while began.elapsed() < ENDS_WITHIN {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What this process does when its first argument is [`BROKER_WORD`]: the second is the process id of the
/// generator, the third the CPUs to run on, the rest are the broker's arguments.
pub fn become_broker(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    if let Err(code) = prepare_child(BROKER_WORD, &mut arguments) {
        return code;
    }
    broker::run(std::iter::once(OsString::from(BROKER_WORD)).chain(arguments))
}

/// What this process does when its first argument is [`PEER_WORD`]: it becomes the program that the rest names.
pub fn become_peer(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    if let Err(code) = prepare_child(PEER_WORD, &mut arguments) {
        return code;
    }
    let Some(program) = arguments.next() else {
        return ExitCode::from(EXIT_USAGE);
    };
    // A broker that does not raise its limit itself could not accept the clients of the larger loads.
    transport::socket::raise_descriptor_limit();
    let failed = Command::new(&program).args(arguments).exec();
    note(&format!("cannot start {}: {failed}", program.display()));
    ExitCode::FAILURE
}

/// Ensures that this process ends with its parent, and runs on the given CPUs.
fn prepare_child(kind: &str, arguments: &mut impl Iterator<Item = OsString>) -> Result<(), ExitCode> {
    let parent = arguments
        .next()
        .and_then(|word| word.to_str()?.parse::<u32>().ok());
    let cpus = arguments.next().unwrap_or_default();
    let is_child = || parent == Some(parent_id());
    // Checked twice: the parent may end before the kernel watches it.
    if !is_child() || set_parent_process_death_signal(Some(Signal::KILL)).is_err() || !is_child() {
        note(&format!(
            "{kind} is started by loadgen only; to start the broker, use the program `broker`"
        ));
        return Err(ExitCode::from(EXIT_USAGE));
    }
    let cpus = cpus.to_str().and_then(|list| list.parse::<Cpus>().ok());
    if let Some(Err(error)) = cpus.as_ref().map(Cpus::confine_this_thread) {
        note(&format!("cannot run on the given CPUs: {error}"));
        return Err(ExitCode::FAILURE);
    }
    Ok(())
}

/// A free port of 127.0.0.1, which the kernel assigns to no other process while this is held.
#[derive(Debug)]
pub struct FreeAddress {
    /// The address that it listens on.
    pub address: SocketAddr,
    _reserved: OwnedFd,
}

impl FreeAddress {
    /// Finds a free port.
    ///
    /// # Errors
    /// The errors of binding a port.
    pub fn find() -> Result<FreeAddress, Failure> {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (reserved, port) =
            reserve_port(localhost).map_err(Failure::system("cannot find a free port on 127.0.0.1"))?;
        Ok(FreeAddress {
            address: SocketAddr::new(localhost, port),
            _reserved: reserved,
        })
    }
}

/// The first line that a program prints when it is started with `words`; `None` if it cannot be started.
pub fn first_line_of(program: &OsStr, words: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    Some(line.unwrap_or_default().to_owned())
}

/// In place of a list of CPUs: all that are allowed.
const ANY_CPU: &str = "any";
/// Time limit for a broker to listen, if nothing else is known about it.
pub const LISTENS_WITHIN: Duration = Duration::from_secs(20);
/// Time limit for the broker to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Time between two checks of the process.
const POLL: Duration = Duration::from_millis(20);
/// Lines of its log to show.
const LOG_LINES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_becomes_a_broker_of_a_foreign_parent() {
        for become_one in [become_broker, become_peer] as [fn([OsString; 1]) -> ExitCode; 2] {
            let code = become_one([OsString::from("x")]);
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
        }
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(first_line_of(OsStr::new("/nonexistent/broker"), &["-h"]), None);
        assert_eq!(
            first_line_of(OsStr::new("sh"), &["-c", "echo; echo one; echo two"]).as_deref(),
            Some("one")
        );
    }
}
