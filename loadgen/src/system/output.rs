//! Writes text to standard output and standard error.
//!
//! Invariant: nothing here panics, whatever reads the other end. If the reader is gone, the output is dropped; if a
//! write fails for another reason, that is a [`Failure`]. `println!` and `eprintln!` would break this, because they
//! panic.

use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Failure;

/// Writes to standard output. If it is a pipe whose reader is gone, this succeeds.
///
/// # Errors
/// Any other error of writing, such as a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::system("cannot write to standard output")(error))
        }
        _ => Ok(()),
    }
}

/// From now on [`note`] writes nothing, as the user wants to see no errors.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Writes a line with the program's name to standard error; it is lost if nothing reads it.
pub fn note(line: &str) {
    if IS_QUIET.load(Ordering::Relaxed) {
        return;
    }
    show_progress(&format!("loadgen: {line}"));
}

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Writes a line about progress to standard error; it is lost if nothing reads it.
pub fn show_progress(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
