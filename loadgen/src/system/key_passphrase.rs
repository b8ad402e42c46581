//! Where the passphrase of a client's encrypted private key comes from: a file, an argument of the caller, the
//! environment, or the terminal, in this order.
//!
//! Invariant: a person is asked once, whatever the number of keys. No message contains a passphrase.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use transport::tls::{KeyPassphrase, PASSPHRASE_VARIABLE, Passphrase};

/// The passphrase of the keys of one or more clients.
#[derive(Debug)]
pub struct ClientPassphrase {
    file: Option<PathBuf>,
    given: Option<Passphrase>,
    typed: Mutex<Option<Passphrase>>,
    ask: fn(&Path, u32) -> io::Result<Passphrase>,
}

impl ClientPassphrase {
    /// A source with the file of `--key-pass-file` and a passphrase from a properties file.
    pub fn new(file: Option<PathBuf>, given: Option<Passphrase>) -> ClientPassphrase {
        ClientPassphrase {
            file,
            given,
            typed: Mutex::new(None),
            ask: Passphrase::from_terminal,
        }
    }

    fn without_a_person(&self) -> Option<Result<Passphrase, String>> {
        if let Some(file) = &self.file {
            return Some(Passphrase::from_file(file, "--key-pass-file"));
        }
        if let Some(given) = &self.given {
            return Some(Ok(given.clone()));
        }
        Passphrase::from_environment().map(Ok)
    }
}

impl KeyPassphrase for ClientPassphrase {
    fn passphrase(&self, key: &Path, refused: u32) -> Result<Option<Passphrase>, String> {
        if let Some(found) = self.without_a_person() {
            // Asking the same source again would give the same passphrase.
            return found.map(|passphrase| Some(passphrase).filter(|_| refused == 0));
        }
        let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        if refused == 0 && typed.is_some() {
            return Ok(typed.clone());
        }
        let passphrase = (self.ask)(key, refused).map_err(|error| no_terminal(&error))?;
        *typed = Some(passphrase.clone());
        Ok(Some(passphrase))
    }
}

fn no_terminal(error: &io::Error) -> String {
    format!(
        "there is no terminal on which to ask for its passphrase ({error}): put it into a file of mode 600 and \
         name that with --key-pass-file, into a properties file as ssl.client.key.passphrase, or into the \
         environment variable {PASSPHRASE_VARIABLE}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typing(ask: fn(&Path, u32) -> io::Result<Passphrase>) -> ClientPassphrase {
        ClientPassphrase {
            ask,
            ..ClientPassphrase::new(None, None)
        }
    }

    #[test]
    fn a_person_is_asked_once_for_all_keys_and_again_when_it_was_wrong() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let source = typing(|_, _| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            Ok(Passphrase::new(b"secret".to_vec()))
        });
        for key in ["a", "b", "c"] {
            assert!(source.passphrase(Path::new(key), 0).unwrap().is_some());
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        assert!(source.passphrase(Path::new("c"), 1).unwrap().is_some());
        assert_eq!(ASKED.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_was_given_comes_before_the_terminal_and_speaks_once() {
        let given = ClientPassphrase {
            ask: |_, _| panic!("the terminal is asked"),
            ..ClientPassphrase::new(None, Some(Passphrase::new(b"secret".to_vec())))
        };
        assert!(given.passphrase(Path::new("k"), 0).unwrap().is_some());
        assert!(given.passphrase(Path::new("k"), 1).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_no_passphrase_and_no_terminal_are_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        let why = |file: &Path| {
            ClientPassphrase::new(Some(file.to_owned()), None)
                .passphrase(Path::new("k"), 0)
                .unwrap_err()
        };
        assert!(why(&file).contains("cannot be read"));
        let absent = typing(|_, _| Err(io::Error::from(io::ErrorKind::NotFound)));
        let why = absent.passphrase(Path::new("k"), 0).unwrap_err();
        for word in [
            "no terminal",
            "--key-pass-file",
            PASSPHRASE_VARIABLE,
            "ssl.client.key.passphrase",
        ] {
            assert!(why.contains(word), "{why}");
        }
    }
}
