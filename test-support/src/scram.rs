//! The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without code of the broker, so that each checks the other.
//!
//! Invariants: none.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A client that proves that it knows a password.
#[derive(Debug)]
pub struct ScramClient {
    password: String,
    header: String,
    bare: String,
    /// What the server must send at the end.
    expected: Option<String>,
}

impl ScramClient {
    /// A client with this user and password and a nonce of its own.
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
        let mut salted = [0; 32];
        pbkdf2::derive(
            PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.header));
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let mut proof = hmac_sha256(&salted, b"Client Key");
        let stored_key = digest::digest(&SHA256, &proof);
        let signature = hmac_sha256(stored_key.as_ref(), signed.as_bytes());
        proof
            .iter_mut()
            .zip(signature)
            .for_each(|(byte, with)| *byte ^= with);
        let server_key = hmac_sha256(&salted, b"Server Key");
        let expected = hmac_sha256(&server_key, signed.as_bytes());
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

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}
