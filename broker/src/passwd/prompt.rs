//! Reads a password from the terminal.
//!
//! Invariants: a password is read twice, and the terminal does not show it.

use std::io::{self, BufRead as _, IsTerminal as _};

/// Why no password was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PromptError {
    /// Neither the terminal nor standard input gave one.
    #[error("the password cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The second password differs from the first.
    #[error("the passwords do not match")]
    Mismatch,
}

/// The password as it was given twice: on the terminal, or by a program on standard input.
pub(super) fn ask_twice() -> Result<String, PromptError> {
    let (first, second) = if io::stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map_err(PromptError::Unreadable);
        (ask("Password: ")?, ask("Reenter password: ")?)
    } else {
        let mut lines = io::stdin().lock().lines();
        let mut next = || {
            let ended = || io::Error::other("standard input ended, but must contain the password twice");
            let line = lines.next().unwrap_or_else(|| Err(ended()));
            line.map_err(PromptError::Unreadable)
        };
        (next()?, next()?)
    };
    if first == second {
        Ok(first)
    } else {
        Err(PromptError::Mismatch)
    }
}
