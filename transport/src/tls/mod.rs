//! Creates TLS configurations for rustls from files, with one plain sentence for each possible error, and runs TLS on
//! connections.
//!
//! [`server_config_with`] and [`client_config_with`] use what `files` and `private_key` read. `own_certificate` checks
//! the program's own certificate before peers do, and `chain` completes it. `client_verifier` and `server_verifier`
//! check the certificates of peers, with `peer_check`; `refusal` describes what is wrong with them, `issue` has the
//! commands for better ones, and `fault` describes all other errors. `connection` is one connection: a `handshake`,
//! then `records` under their `protection`.
//!
//! `client_config.rs` and `server_config.rs` are the two configurations, with `ciphers.rs` and `passphrase.rs`.
//! `identity.rs` gets a client's identity from its certificate; `version1.rs` and `revocation.rs` are for certificates
//! of version 1; `key_update.rs` renews keys, `key_log.rs` writes them to a file.
//!
//! Invariants: an error names the file and what to do. Nothing here does I/O except reading files, and writing that of
//! `key_log`.

mod certificate;
mod chain;
mod ciphers;
mod client_config;
mod client_verifier;
pub(crate) mod connection;
mod fault;
mod files;
pub(crate) mod handshake;
mod identity;
mod issue;
mod key_log;
mod key_update;
mod own_certificate;
mod passphrase;
mod peer_check;
mod private_key;
mod protection;
pub(crate) mod records;
pub(crate) mod refusal;
mod revocation;
mod server_config;
mod server_verifier;
#[cfg(test)]
pub(crate) mod tests;
mod version1;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client_config::{ClientTls, client_config, client_config_with};
pub use connection::TlsError;
pub use identity::{IdentityError, IdentityKind, checked as checked_identity, client_identity};
pub use key_log::KeyLogFile;
pub use passphrase::{KeyPassphrase, NoPassphrase, PASSPHRASE_VARIABLE, Passphrase};
pub use server_config::{ServerTls, ServerTlsConfig, server_config, server_config_with};

/// A TLS version that can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// This version and all later ones.
    fn and_newer(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            TlsVersion::V1_2 => rustls::ALL_VERSIONS,
            TlsVersion::V1_3 => TlsVersion::supported(Some(self)),
        }
    }

    /// Only one of them, or both.
    fn supported(only: Option<TlsVersion>) -> &'static [&'static rustls::SupportedProtocolVersion] {
        static TLS12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
        static TLS13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match only {
            None => rustls::ALL_VERSIONS,
            Some(TlsVersion::V1_2) => &TLS12,
            Some(TlsVersion::V1_3) => &TLS13,
        }
    }
}

/// What is wrong with a file that TLS requires.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read {what} {}: {source}; check the path and that the user who runs this may read it",
        path.display()
    )]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// The path of the file that this is about.
        path: PathBuf,
        /// The reason that the system reports.
        source: io::Error,
    },
    /// The file is not PEM, or contains no block of this kind.
    #[error(
        "{what} {0} cannot be used: {detail}; fix: name a file with a block that begins with `-----BEGIN {1}-----`; \
         if this one is DER, `openssl {2} -inform DER -in {0} -out NEW` makes such a file",
        path.display(), block.label(), block.command()
    )]
    NotPem {
        /// What the file is for.
        what: &'static str,
        /// What should be in it.
        block: PemBlock,
        /// The path of the file that this is about.
        path: PathBuf,
        /// What was found instead.
        detail: String,
    },
    /// The private key is encrypted, and the caller has no passphrases.
    #[error(
        "the private key {} is encrypted; write a plain copy with `openssl pkey -in FILE -out PLAIN` and \
         protect it with chmod 600",
        path.display()
    )]
    EncryptedKey {
        /// The path of the file that this is about.
        path: PathBuf,
    },
    /// The private key is encrypted, and there is no passphrase.
    #[error("the private key {} is encrypted, and {detail}", path.display())]
    NoPassphrase {
        /// The path of the file that this is about.
        path: PathBuf,
        /// Why there is none, and what to do.
        detail: String,
    },
    /// The passphrase does not open the private key.
    #[error(
        "wrong passphrase for the private key {}; `openssl pkey -noout -in FILE` asks for it and says whether \
         it is right",
        path.display()
    )]
    WrongPassphrase {
        /// The path of the file that this is about.
        path: PathBuf,
    },
    /// The private key is encrypted with a method that is not supported.
    #[error(
        "the private key {} is encrypted with a method that is not supported ({detail}); encrypt it again with \
         `openssl pkey -aes256 -in FILE -out NEW`",
        path.display()
    )]
    KeyEncryption {
        /// The path of the file that this is about.
        path: PathBuf,
        /// What was found instead, or its algorithm.
        detail: String,
    },
    /// The certificate does not belong to this key.
    #[error(
        "the certificate {} and the private key {} do not belong together; `openssl x509 -noout -pubkey -in \
         CERTIFICATE` and `openssl pkey -pubout -in KEY` must print the same: name the key that the \
         certificate's request was made with, or make a new certificate for this key",
        certificate.display(), key.display()
    )]
    NotTogether {
        /// The path of the file with the certificate.
        certificate: PathBuf,
        /// The path of the file with the key.
        key: PathBuf,
    },
    /// The certificate does not belong to the key that was read earlier, and the file of the key can no longer be
    /// read.
    #[error(
        "the private key {} can no longer be read ({cause}), so the key that was read at the start was used instead, \
         and the certificate {} does not belong to it; fix: let the user who runs this read the key's file, or restart \
         it as root",
        key.display(), certificate.display()
    )]
    NotOfKeptKey {
        /// The path of the file with the certificate.
        certificate: PathBuf,
        /// The path of the file with the key.
        key: PathBuf,
        /// Why it cannot be read.
        cause: String,
    },
    /// The file has the right kind, but cannot be used.
    #[error("{what} {}: {detail}", path.display())]
    Unusable {
        /// What the file is for.
        what: &'static str,
        /// The path of the file that this is about.
        path: PathBuf,
        /// Why, and what to do.
        detail: String,
    },
    /// A list of cipher suites leaves none.
    #[error("{0}")]
    Ciphers(String),
    /// rustls refuses the certificate or key.
    #[error("certificate {} with key {}: {source}", certificate.display(), key.display())]
    Refused {
        /// The path of the file with the certificate.
        certificate: PathBuf,
        /// The path of the file with the key.
        key: PathBuf,
        /// The reason that rustls reports.
        source: rustls::Error,
    },
    /// The CA's certificates cannot be used.
    #[error("CA file {}: {detail}", path.display())]
    Authority {
        /// The path of the file that this is about.
        path: PathBuf,
        /// What is wrong with them, and what to do.
        detail: String,
    },
}

/// The kinds of blocks that are read from PEM files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemBlock {
    /// A certificate of somebody.
    Certificate,
    /// A list of certificates that are revoked.
    RevocationList,
    /// A key in one of its forms.
    PrivateKey,
}

impl PemBlock {
    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::RevocationList => "X509 CRL",
            Self::PrivateKey => "PRIVATE KEY",
        }
    }

    /// The command of `openssl` that converts it.
    fn command(self) -> &'static str {
        match self {
            Self::Certificate => "x509",
            Self::RevocationList => "crl",
            Self::PrivateKey => "pkey",
        }
    }
}

/// aws-lc-rs without post-quantum key exchange, whose key shares double the bytes and the cost of a handshake.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| {
        use rustls::NamedGroup::{X25519, secp256r1, secp384r1};
        [X25519, secp256r1, secp384r1].contains(&group.name())
    });
    Arc::new(provider)
}
