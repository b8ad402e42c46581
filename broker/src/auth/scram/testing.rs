//! The client's side of SCRAM-SHA-256, for tests.
//!
//! Invariants: none.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::verifier::{ScramKey, client_key, hmac_sha256, salted, server_key, sha256};

/// A client that proves a password.
#[derive(Debug)]
pub struct ScramClient {
    password: String,
    header: String,
    bare: String,
    /// What the server has to say at the end.
    expected: Option<String>,
}

impl ScramClient {
    /// A client of this user and password with a nonce of its own choice.
    #[must_use]
    pub fn new(user: &str, password: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            password: password.to_owned(),
            header: "n,,".to_owned(),
            bare: format!("n={user},r={nonce}"),
            expected: None,
        }
    }

    /// The same with another header.
    #[must_use]
    pub fn header(mut self, header: &str) -> Self {
        header.clone_into(&mut self.header);
        self
    }

    /// The client-first-message of RFC 5802.
    #[must_use]
    pub fn first(&self) -> String {
        format!("{}{}", self.header, self.bare)
    }

    /// client-final-message; `None` if the server's message is not one.
    pub fn last(&mut self, server_first: &[u8]) -> Option<String> {
        let server_first = std::str::from_utf8(server_first).ok()?;
        let mut attributes = server_first.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
        let iterations: NonZeroU32 = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        let salted = salted(self.password.as_bytes(), iterations, &salt);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.header));
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let key = client_key(&salted);
        let signature = hmac_sha256(&sha256(&key), &[signed.as_bytes()]);
        let mut proof: ScramKey = key;
        proof
            .iter_mut()
            .zip(signature)
            .for_each(|(byte, with)| *byte ^= with);
        let expected = hmac_sha256(&server_key(&salted), &[signed.as_bytes()]);
        self.expected = Some(format!("v={}", STANDARD.encode(expected)));
        Some(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Whether the server's last message proves that it knows the verifier.
    #[must_use]
    pub fn trusts(&self, server_final: &[u8]) -> bool {
        self.expected
            .as_ref()
            .is_some_and(|expected| expected.as_bytes() == server_final)
    }
}
