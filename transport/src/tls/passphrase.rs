//! Reads the passphrase of an encrypted private key from a file, the environment or the terminal. The caller decides
//! the order of these sources.
//!
//! Invariants: a passphrase is overwritten in memory when it is dropped, and no `Debug` text or message contains it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// The environment variable that may contain the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "MIDGE_KEY_PASSPHRASE";

/// The passphrase of a private key, or the bytes of its file: bytes that are kept secret.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes ownership of the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The first line of a file; `name` is the user's term for the file, for the message.
    ///
    /// # Errors
    /// The file cannot be read, or is too large for a passphrase.
    pub fn from_file(path: &Path, name: &str) -> Result<Passphrase, String> {
        let unreadable = |error: io::Error| {
            format!(
                "its {name} {} cannot be read: {error}; check the path and that the user who runs this may read it",
                path.display()
            )
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        let file = File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(format!(
                "its {name} {} is not a passphrase: it has more than {FILE_BYTES_MAX} bytes",
                path.display()
            ));
        }
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(Self::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
    }

    /// The passphrase in [`PASSPHRASE_VARIABLE`], if it is set.
    #[must_use]
    pub fn from_environment() -> Option<Passphrase> {
        let text = std::env::var_os(PASSPHRASE_VARIABLE)?;
        Some(Self::new(text.into_encoded_bytes()))
    }

    /// What a person types on the terminal, which does not show it. `refused` is the number of passphrases that were
    /// wrong.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn from_terminal(key: &Path, refused: u32) -> io::Result<Passphrase> {
        let again = if refused > 0 { "Wrong. " } else { "" };
        let typed = rpassword::prompt_password(format!(
            "{again}Passphrase of the private key {}: ",
            key.display()
        ))?;
        Ok(Self::new(typed.into_bytes()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// A source of passphrases. It is used only for keys that are encrypted.
pub trait KeyPassphrase {
    /// The passphrase of the private key in file `key`. `refused` passphrases of this source were wrong already.
    /// Returns `None` if it has none, or no other one.
    ///
    /// # Errors
    /// Why there is none, as the rest of a sentence that begins "the private key FILE is encrypted, and".
    fn passphrase(&self, key: &Path, refused: u32) -> Result<Option<Passphrase>, String>;

    /// Keeps the bytes of the private key file `key`, for a process that may not read it later.
    fn keep_key(&self, _key: &Path, _bytes: &[u8]) {}

    /// The bytes of the private key file `key` from when it could be read, if the process may no longer read it.
    fn kept_key(&self, _key: &Path) -> Option<Passphrase> {
        None
    }
}

/// The source for callers that have no passphrases: an encrypted key is an error.
#[derive(Clone, Copy, Debug)]
pub struct NoPassphrase;

impl KeyPassphrase for NoPassphrase {
    fn passphrase(&self, _: &Path, _: u32) -> Result<Option<Passphrase>, String> {
        Ok(None)
    }
}

/// Largest number of bytes of a passphrase's file.
const FILE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        let read = || Passphrase::from_file(&file, "key_passphrase_file");
        assert!(read().unwrap_err().contains("cannot be read"));
        for text in ["secret", "secret\n", "secret\r\nmore"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read().unwrap().as_bytes(), b"secret");
        }
        std::fs::write(&file, vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        assert!(read().unwrap_err().contains("4096"));
    }
}
