//! Hides a password on the command line, which every user of the machine can read. The program starts itself again in
//! the same process, with the password in the environment, which only the same user can read.
//!
//! Invariant: apart from the password the process has the same words as before. If the program cannot be started again,
//! it goes on with the visible password.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The environment variable that may hold the password.
pub const PASSWORD_VARIABLE: &str = "MIDGE_PASSWORD";

/// Letters and names of the password's option.
const OPTIONS: [&str; 3] = ["-P", "--pw", "--password"];

/// Starts the program again without the password that its words have. Does not return then.
pub fn hide(words: &[OsString], password: &str) {
    let without = strip(words, OsStr::new(password));
    if without.len() == words.len() {
        return;
    }
    let (Ok(program), Some((name, rest))) = (std::env::current_exe(), without.split_first()) else {
        return;
    };
    // It comes back only if it failed, and then the password stays where it was.
    let _failed = Command::new(program)
        .arg0(name)
        .args(rest)
        .env(PASSWORD_VARIABLE, password)
        .exec();
}

/// The words without the option that has this value.
fn strip(words: &[OsString], value: &OsStr) -> Vec<OsString> {
    let is_whole = |word: &OsStr| {
        OPTIONS.iter().any(|option| {
            let separator = if option.starts_with("--") { "=" } else { "" };
            let mut whole = OsString::from(format!("{option}{separator}"));
            whole.push(value);
            word == whole
        })
    };
    let mut rest = Vec::with_capacity(words.len());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let is_option = OPTIONS.iter().any(|option| word == option);
        if is_option && words.peek().is_some_and(|next| *next == value) {
            words.next();
        } else if !is_whole(word) {
            rest.push(word.clone());
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_goes() {
        for line in [
            "loadgen pub -u a -P secret -t secret",
            "loadgen pub -u a -Psecret -t secret",
            "loadgen pub -u a --pw secret -t secret",
            "loadgen pub -u a --password=secret -t secret",
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let rest = strip(&words, OsStr::new("secret"));
            assert_eq!(rest, ["loadgen", "pub", "-u", "a", "-t", "secret"], "{line}");
        }
        let message = ["loadgen", "pub", "-m", "-P", "-P", "secret"].map(OsString::from);
        assert_eq!(
            strip(&message, OsStr::new("secret")),
            ["loadgen", "pub", "-m", "-P"]
        );
    }
}
