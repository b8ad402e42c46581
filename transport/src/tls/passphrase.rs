//! Where the passphrase of an encrypted private key comes from: the caller knows, this crate only asks.
//!
//! Invariant: a passphrase is overwritten in memory when it is dropped, and never shows in a `Debug` text.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

/// The passphrase of a private key.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
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

/// A source of passphrases. It is asked only for keys that are encrypted.
pub trait KeyPassphrase {
    /// The passphrase of the private key in file `key`. `refused` passphrases of this source were wrong already.
    /// `None` if it has none, or no other one.
    ///
    /// # Errors
    /// Why there is none, as the rest of a sentence that begins "the private key FILE is encrypted, and".
    fn passphrase(&self, key: &Path, refused: u32) -> Result<Option<Passphrase>, String>;
}

/// The source for callers that have no passphrases: an encrypted key is an error.
#[derive(Clone, Copy, Debug)]
pub struct NoPassphrase;

impl KeyPassphrase for NoPassphrase {
    fn passphrase(&self, _: &Path, _: u32) -> Result<Option<Passphrase>, String> {
        Ok(None)
    }
}
