//! Hides a password on the command line, which every user of the machine can read.
//!
//! Invariants: if it cannot be hidden, the program goes on with the visible password and warns.

use std::ffi::OsStr;

use transport::command_line;

use super::output::note;

/// The environment variable that may contain the password.
pub const PASSWORD_VARIABLE: &str = "MIDGE_PASSWORD";

/// Overwrites the password in the arguments of this process.
pub fn hide(password: &str) {
    if let Err(error) = command_line::hide(OsStr::new(password)) {
        note(&format!(
            "Warning: the password is visible to others in the command line ({error}); the environment \
             variable {PASSWORD_VARIABLE} hides it"
        ));
    }
}
