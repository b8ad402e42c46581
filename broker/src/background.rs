//! `-d`: the broker in the background, as a daemon.
//!
//! The process that was started starts the same program once more and waits until that one serves clients or ends. So
//! what is wrong comes to the terminal, the exit code says whether the broker runs, and no process with threads is
//! copied.
//!
//! Invariants: until the second process serves, it has the terminal, and may ask for a passphrase there; from then on
//! it has a session of its own and no terminal. mosquitto goes to the background before it has opened its listeners.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit_code::EXIT_INVALID;

/// What the process is that calls [`start`].
pub(crate) enum Background {
    /// The one that serves: it goes on.
    Second,
    /// The one that was started: it ends with this code.
    First(ExitCode),
}

/// Starts the process that serves, and waits until it does.
///
/// # Errors
/// It cannot be started.
pub(crate) fn start() -> io::Result<Background> {
    let parent = std::os::unix::process::parent_id().to_string();
    if std::env::var(VARIABLE).is_ok_and(|first| first == parent) {
        IS_SECOND.store(true, Ordering::Relaxed);
        return Ok(Background::Second);
    }
    let (mut serves, waited_for) = io::pipe()?;
    let mut words = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0(words.next().unwrap_or_default())
        .args(words)
        .env(VARIABLE, std::process::id().to_string())
        .stdin(waited_for);
    let mut second = command.spawn()?;
    // It has the other end of the pipe, too.
    drop(command);
    if matches!(serves.read(&mut [0]), Ok(1)) {
        return Ok(Background::First(ExitCode::SUCCESS));
    }
    let code = second.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(Background::First(ExitCode::from(code.unwrap_or(EXIT_INVALID))))
}

/// The broker serves: the process that waits for that ends, and this one leaves the terminal.
pub(crate) fn notify_ready() {
    if !IS_SECOND.swap(false, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = leave_terminal() {
        tracing::warn!("The broker runs, and is not quite in the background: {error}");
    }
}

fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    let mut waiting = File::from(rustix::io::dup(rustix::stdio::stdin())?);
    rustix::stdio::dup2_stdin(&nothing)?;
    waiting.write_all(&[1])
}

/// Holds the number of the process that waits.
const VARIABLE: &str = "MIDGE_BACKGROUND_OF";

static IS_SECOND: AtomicBool = AtomicBool::new(false);
