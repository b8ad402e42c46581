//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side: two messages in, two messages out.
//!
//! `message.rs` parses the client's messages, `verifier.rs` is what the server stores of a password.
//!
//! Invariants: the server never sees the password, and the [`ScramVerifier`] that it stores does not allow anybody to
//! log in. Neither the messages nor their cost reveal whether a user exists: a user without a verifier gets a salt
//! that is always the same for the name, and fails at the proof. Channel binding is not supported, so `p=` is refused
//! and `n` and `y` are accepted. Nothing here is random: the caller supplies the nonce.

mod message;
#[cfg(test)]
mod tests;
mod verifier;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::message::ScramError;
use self::message::{ClientFinal, ClientFirst};
use self::verifier::{KEY_BYTES, ScramKey, hmac_sha256, sha256};
pub use self::verifier::{METHOD, ScramVerifier};

/// The data of the challenge for a client.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The user's verifier, or one that no password fits.
    pub verifier: ScramVerifier,
    /// The user exists and has a verifier.
    pub known: bool,
}

/// An exchange between the server's first message and the client's last.
#[derive(Debug)]
pub struct ScramExchange {
    user: Box<str>,
    challenge: Challenge,
    /// `c=` of the client's last message: the header of its first one.
    binding: String,
    /// The nonces of client and server.
    nonce: String,
    /// Both first messages, as the proof signs them.
    transcript: String,
}

/// The result of a successful exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramProof {
    /// The name of the authenticated user.
    pub user: Box<str>,
    /// The verifier that accepted the proof.
    pub verifier: ScramVerifier,
    /// The server's last message, which proves the server to the client.
    pub server_final: String,
}

impl ScramExchange {
    /// Takes the client's first message and makes the server's. `nonce` is the server's, of printable characters
    /// without a comma; `find` returns the challenge for a user name prepared by RFC 4013.
    ///
    /// # Errors
    /// The exchange cannot continue with this message.
    pub fn begin(
        client_first: &[u8],
        nonce: &str,
        find: impl FnOnce(&str) -> Option<Challenge>,
    ) -> Result<(ScramExchange, String), ScramError> {
        let first = ClientFirst::parse(client_first)?;
        if first.identity.is_some_and(|identity| identity != first.user) {
            return Err(ScramError::Identity);
        }
        let challenge = find(&first.user).ok_or(ScramError::Proof)?;
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&challenge.verifier.salt),
            challenge.verifier.iterations
        );
        let exchange = ScramExchange {
            user: first.user.into(),
            challenge,
            binding: STANDARD.encode(first.header),
            transcript: format!("{},{server_first}", first.bare),
            nonce,
        };
        Ok((exchange, server_first))
    }

    /// The user name that the client claims.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Takes the client's last message.
    ///
    /// # Errors
    /// The client's proof is wrong.
    pub fn finish(self, client_final: &[u8]) -> Result<ScramProof, ScramError> {
        let last = ClientFinal::parse(client_final)?;
        if last.binding != self.binding || last.nonce != self.nonce {
            return Err(ScramError::Mismatch);
        }
        let signed = format!("{},{}", self.transcript, last.without_proof);
        let Challenge { verifier, known } = self.challenge;
        let fits = proof_fits(&verifier, signed.as_bytes(), &last.proof);
        if !(fits && known) {
            return Err(ScramError::Proof);
        }
        let signature = hmac_sha256(&verifier.server_key, &[signed.as_bytes()]);
        Ok(ScramProof {
            user: self.user,
            verifier,
            server_final: format!("v={}", STANDARD.encode(signature)),
        })
    }
}

/// Bytes that cannot be computed without the key.
#[must_use]
pub fn prf(key: &[u8], input: &[u8]) -> [u8; KEY_BYTES] {
    hmac_sha256(key, &[input])
}

/// RFC 5802, section 3: the proof is the client's key, masked by a signature that is unique to this exchange.
fn proof_fits(verifier: &ScramVerifier, signed: &[u8], proof: &[u8; KEY_BYTES]) -> bool {
    let signature = hmac_sha256(&verifier.stored_key, &[signed]);
    let mut client_key: ScramKey = [0; KEY_BYTES];
    for ((key, proof), signature) in client_key.iter_mut().zip(proof).zip(signature) {
        *key = proof ^ signature;
    }
    verify_slices_are_equal(&sha256(&client_key), &verifier.stored_key).is_ok()
}
