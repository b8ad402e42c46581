//! Where the broker gets the passphrase of an encrypted private key: from the file that the listener names, a systemd
//! credential, the environment, or the terminal, in this order.
//!
//! Invariants: the terminal is used only before the broker serves clients, so a reload never waits for a person.
//! Passphrases that were typed, and keys that were read as root, are kept for reloads, in memory that is overwritten
//! when it is freed. No passphrase is ever logged.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use transport::tls::{KeyPassphrase, PASSPHRASE_VARIABLE, Passphrase};

/// The name of the systemd credential.
pub const CREDENTIAL: &str = "midge-key-passphrase";

/// The passphrases of a broker's private keys.
#[derive(Debug, Default)]
pub struct Passphrases {
    typed: Mutex<HashMap<PathBuf, Passphrase>>,
    /// The keys that were read as root.
    keys: Mutex<HashMap<PathBuf, Passphrase>>,
    /// The broker serves clients, so the terminal is no longer used.
    serves: AtomicBool,
}

impl Passphrases {
    /// The terminal is not used after this call.
    pub fn forget_terminal(&self) {
        self.serves.store(true, Ordering::Relaxed);
    }

    /// The source for one listener, with its `key_passphrase_file`.
    pub fn for_listener<'a>(&'a self, file: Option<&'a Path>) -> ListenerPassphrase<'a> {
        ListenerPassphrase {
            all: self,
            file,
            ask: Passphrase::from_terminal,
        }
    }

    fn remembered(&self, key: &Path) -> Option<Passphrase> {
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        typed.get(key).cloned()
    }

    fn remember(&self, key: &Path, passphrase: &Passphrase) {
        let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        typed.insert(key.to_owned(), passphrase.clone());
    }
}

/// The source of the passphrase of one listener's key.
#[derive(Clone, Copy, Debug)]
pub struct ListenerPassphrase<'a> {
    all: &'a Passphrases,
    file: Option<&'a Path>,
    ask: fn(&Path, u32) -> io::Result<Passphrase>,
}

impl KeyPassphrase for ListenerPassphrase<'_> {
    fn passphrase(&self, key: &Path, refused: u32) -> Result<Option<Passphrase>, String> {
        let remembered = self.all.remembered(key);
        if let Some(found) = self.without_a_person() {
            let found = match found {
                Ok(passphrase) => {
                    self.all.remember(key, &passphrase);
                    Ok(passphrase)
                }
                // Its file may also have been readable by root only.
                Err(why) => remembered.ok_or(why),
            };
            // If asked again, the same source would return the same.
            return found.map(|passphrase| Some(passphrase).filter(|_| refused == 0));
        }
        if self.all.serves.load(Ordering::Relaxed) {
            return match remembered {
                Some(passphrase) => Ok(Some(passphrase).filter(|_| refused == 0)),
                None => Err("a running broker cannot ask for the passphrase: restart it".to_owned()),
            };
        }
        if refused == 0 && remembered.is_some() {
            // Another listener has the same key.
            return Ok(remembered);
        }
        let passphrase = (self.ask)(key, refused).map_err(|error| no_terminal(&error))?;
        self.all.remember(key, &passphrase);
        Ok(Some(passphrase))
    }

    fn keep_key(&self, key: &Path, bytes: &[u8]) {
        // A process that reads it as another user can read it again.
        if rustix::process::geteuid().is_root() {
            let mut keys = self.all.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.insert(key.to_owned(), Passphrase::new(bytes.to_vec()));
        }
    }

    fn kept_key(&self, key: &Path) -> Option<Passphrase> {
        let keys = self.all.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).cloned()
    }
}

impl ListenerPassphrase<'_> {
    /// The passphrase from the file, the credential or the environment.
    fn without_a_person(&self) -> Option<Result<Passphrase, String>> {
        if let Some(file) = self.file {
            return Some(Passphrase::from_file(file, "key_passphrase_file"));
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join(CREDENTIAL))
            .filter(|path| path.exists());
        if let Some(path) = credential {
            return Some(Passphrase::from_file(&path, "credential"));
        }
        Passphrase::from_environment().map(Ok)
    }
}

fn no_terminal(error: &io::Error) -> String {
    format!(
        "there is no terminal to ask for its passphrase ({error}): put it into a file of mode 600 and name \
        the file with key_passphrase_file, or set the environment variable {PASSPHRASE_VARIABLE}, or use \
        systemd's LoadCredential={CREDENTIAL}:FILE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(_: &Path, _: u32) -> io::Result<Passphrase> {
        Err(io::Error::from_raw_os_error(libc::ENXIO))
    }

    fn source<'a>(
        all: &'a Passphrases,
        file: Option<&'a Path>,
        ask: fn(&Path, u32) -> io::Result<Passphrase>,
    ) -> ListenerPassphrase<'a> {
        ListenerPassphrase { all, file, ask }
    }

    /// A `Passphrase` can only be compared by what it opens, so these tests compare whether there is one.
    fn is_given(answer: &Result<Option<Passphrase>, String>) -> bool {
        matches!(answer, Ok(Some(_)))
    }

    #[test]
    fn a_file_comes_before_the_terminal_and_speaks_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        std::fs::write(&file, "secret\n").unwrap();
        let all = Passphrases::default();
        let source = source(&all, Some(&file), |_, _| panic!("the terminal is asked"));
        assert!(is_given(&source.passphrase(Path::new("k"), 0)));
        assert!(matches!(source.passphrase(Path::new("k"), 1), Ok(None)));
    }

    #[test]
    fn no_terminal_is_one_sentence_with_the_ways_out() {
        let all = Passphrases::default();
        let why = source(&all, None, absent)
            .passphrase(Path::new("k"), 0)
            .unwrap_err();
        for word in [
            "no terminal",
            "key_passphrase_file",
            PASSPHRASE_VARIABLE,
            "LoadCredential",
        ] {
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn the_terminal_is_asked_again_and_remembered_for_reloads() {
        let all = Passphrases::default();
        let typing = source(&all, None, |_, refused| {
            Ok(Passphrase::new(format!("attempt {refused}").into_bytes()))
        });
        assert!(is_given(&typing.passphrase(Path::new("k"), 0)));
        assert!(is_given(&typing.passphrase(Path::new("k"), 1)));
        let silent = source(&all, None, absent);
        assert!(
            is_given(&silent.passphrase(Path::new("k"), 0)),
            "the same key again"
        );
        all.forget_terminal();
        assert!(is_given(&typing.passphrase(Path::new("k"), 0)));
        assert!(matches!(typing.passphrase(Path::new("k"), 1), Ok(None)));
        assert!(
            typing
                .passphrase(Path::new("other"), 0)
                .unwrap_err()
                .contains("restart")
        );
    }
}
