//! Hides a secret in the arguments of this process, which every user of the machine can read in `/proc`.
//!
//! Invariants: no other word changes, and none moves. The secret is visible until the call; therefore a program calls
//! it first.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

/// Overwrites each argument of this process that is the secret, or an option that ends with it (`-Psecret`,
/// `--pw=secret`). The program's own copies of its arguments do not change.
///
/// # Errors
/// There is no `/proc`, or the system does not allow the process to write its memory there.
pub fn hide(secret: &OsStr) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (start, end) = arguments_at(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem")?;
    let mut line = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or_default()];
    memory.read_exact_at(&mut line, start)?;
    overwrite(&mut line, secret.as_bytes());
    memory.write_all_at(&line, start)
}

/// The start and the end of the arguments, from `/proc/self/stat`. The name of the program, in parentheses, may
/// contain blanks.
fn arguments_at(stat: &str) -> Option<(u64, u64)> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(ARG_START - FIRST_BEHIND_NAME);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Overwrites the secret in words that end with NUL; its length is not visible afterwards either.
fn overwrite(line: &mut [u8], secret: &[u8]) {
    if secret.is_empty() {
        return;
    }
    for word in line.split_mut(|&byte| byte == 0) {
        let is_option = word.starts_with(b"-") && word.ends_with(secret);
        if !is_option && word != secret {
            continue;
        }
        let kept = word.len() - secret.len();
        if let Some((first, rest)) = word.get_mut(kept..).and_then(<[u8]>::split_first_mut) {
            *first = b'*';
            rest.fill(0);
        }
    }
}

/// Numbers of fields in `/proc/PID/stat`, see proc(5).
const FIRST_BEHIND_NAME: usize = 3;
const ARG_START: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn overwritten(line: &str) -> String {
        let mut words = line.replace(' ', "\0").into_bytes();
        words.push(0);
        overwrite(&mut words, b"secret");
        String::from_utf8(words).unwrap().replace('\0', " ")
    }

    #[test]
    fn only_the_secret_goes() {
        for line in [
            "-P secret",
            "-Psecret",
            "--pw secret",
            "--pw=secret",
            "-u secret",
            "secret",
        ] {
            let hidden = overwritten(line);
            assert!(!hidden.contains("ecret") && hidden.contains('*'), "{hidden}");
            assert_eq!(hidden.len(), line.len() + 1, "nothing moves");
        }
        for line in ["-m secrets -t my/secret", "a b"] {
            assert_eq!(overwritten(line), format!("{line} "));
        }
        let mut line = *b"a\0";
        overwrite(&mut line, b"");
        assert_eq!(&line, b"a\0");
    }

    #[test]
    fn arguments_of_this_process_are_found() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (start, end) = arguments_at(&stat).unwrap();
        let mut line = vec![0; (end - start) as usize];
        fs::File::open("/proc/self/mem")
            .unwrap()
            .read_exact_at(&mut line, start)
            .unwrap();
        assert_eq!(line, fs::read("/proc/self/cmdline").unwrap());
    }
}
