//! Asking for a password: twice, and without showing it.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::PasswdError;

/// The password as it was given twice: on the terminal, or by a program on standard input.
pub(super) fn ask_twice() -> Result<String, PasswdError> {
    let (first, second) = if io::stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map_err(PasswdError::Prompt);
        (ask("Password: ")?, ask("Reenter password: ")?)
    } else {
        let mut lines = io::stdin().lock().lines();
        let mut next = || {
            let ended = || io::Error::other("standard input ended, the password is expected there twice");
            let line = lines.next().unwrap_or_else(|| Err(ended()));
            line.map_err(PasswdError::Prompt)
        };
        (next()?, next()?)
    };
    if first == second {
        Ok(first)
    } else {
        Err(PasswdError::Mismatch)
    }
}
