//! The public keys that sign tokens: a JWKS (RFC 7517) in a file or at a URL.
//!
//! Invariants: a key is used for the algorithms of its kind alone. What is no key for signatures with RSA, P-256, P-384
//! or Ed25519 is passed over, secrets of HMAC among it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::KeyLocation;
use crate::files::{self, FileError};
use crate::limits;

/// Keys of one JWKS.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<TokenKey>);

/// A public key, with what it may verify.
pub(super) struct TokenKey {
    pub(super) identifier: Option<String>,
    pub(super) algorithms: &'static [Algorithm],
    pub(super) key: DecodingKey,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}

impl KeySet {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or has no key that can be used.
    pub(super) fn read(path: &Path) -> Result<KeySet, FileError> {
        let wrong = |why: String| FileError::of_file(path, format!("{why}; {FIX}"));
        let text = files::read_bounded(path, "file of keys", limits::TOKEN_KEYS_BYTES_MAX);
        let text = text.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        KeySet::parse(&text).map_err(|why| wrong(why.to_owned()))
    }

    /// Reads the text of a JWKS.
    ///
    /// # Errors
    /// It is none, or has no key that can be used.
    pub(super) fn parse(text: &[u8]) -> Result<KeySet, &'static str> {
        let tree: Value = serde_json::from_slice(text).map_err(|_| "is no JSON")?;
        let keys = tree
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("has no list `keys`: it is no JWKS")?;
        let keys = keys.iter().take(limits::TOKEN_KEYS_MAX).filter_map(|key| {
            let key: Jwk = serde_json::from_value(key.clone()).ok()?;
            TokenKey::of(&key)
        });
        let keys = KeySet(keys.collect());
        match keys.0.is_empty() {
            true => Err("has no public key of RSA, P-256, P-384 or Ed25519 for signatures"),
            false => Ok(keys),
        }
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn candidates(&self, identifier: Option<&str>, algorithm: Algorithm) -> Vec<&TokenKey> {
        let is_it = |key: &&TokenKey| {
            key.algorithms.contains(&algorithm)
                && identifier.is_none_or(|identifier| key.identifier.as_deref() == Some(identifier))
        };
        self.0
            .iter()
            .filter(is_it)
            .take(limits::TOKEN_KEYS_TRIED_MAX)
            .collect()
    }
}

const FIX: &str = "fix: put the JWKS of the one who signs the tokens there (jwt_keys)";

impl TokenKey {
    fn of(jwk: &Jwk) -> Option<TokenKey> {
        if matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature) {
            return None;
        }
        let algorithms: &'static [Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        Some(TokenKey {
            identifier: jwk.common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}

/// Where keys are read or fetched from, again and again.
pub(super) struct KeySource<'a> {
    location: &'a KeyLocation,
    /// For a URL; or why there is none.
    agent: Result<Agent, String>,
}

impl<'a> KeySource<'a> {
    pub(super) fn new(location: &'a KeyLocation) -> Self {
        let agent = match location {
            KeyLocation::Url { ca, .. } => agent(ca.as_deref()),
            KeyLocation::File(_) => Err("there is no URL".to_owned()),
        };
        Self { location, agent }
    }

    /// The keys as they are now.
    pub(super) fn get(&self) -> Result<KeySet, String> {
        match self.location {
            KeyLocation::File(path) => KeySet::read(path).map_err(|error| error.to_string()),
            KeyLocation::Url { url, .. } => {
                let text = self
                    .agent
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|agent| fetch(agent, url));
                let keys = text.and_then(|text| KeySet::parse(&text).map_err(str::to_owned));
                keys.map_err(|why| format!("The keys of tokens at {url}: {why}"))
            }
        }
    }
}

fn fetch(agent: &Agent, url: &str) -> Result<Vec<u8>, String> {
    let response = agent
        .get(url)
        .call()
        .map_err(|error| format!("cannot be fetched: {error}"))?;
    let mut text = Vec::new();
    let mut reader = response
        .into_body()
        .into_reader()
        .take(limits::TOKEN_KEYS_BYTES_MAX + 1);
    reader
        .read_to_end(&mut text)
        .map_err(|error| format!("cannot be fetched: {error}"))?;
    if text.len() as u64 > limits::TOKEN_KEYS_BYTES_MAX {
        return Err("are larger than keys may be".to_owned());
    }
    Ok(text)
}

/// A client of HTTP that trusts these certificate authorities, or those of the system.
fn agent(ca: Option<&Path>) -> Result<Agent, String> {
    let roots = match ca {
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            read.map_err(|error| format!("{}: cannot be read (jwt_cafile): {error}", path.display()))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let roots: Vec<_> = roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(3)
        .build();
    Ok(config.new_agent())
}

/// How long a server may take to give its keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
