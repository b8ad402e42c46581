//! The client's messages of RFC 5802, section 7.
//!
//! Invariants: a parsed message conforms to the grammar; optional extensions of the grammar are skipped.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::verifier::KEY_BYTES;

/// Why an exchange failed. No text reveals whether a user exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// Not the expected message of RFC 5802, section 7.
    Malformed,
    /// The client asks for channel binding, or for an extension that the server must know.
    Unsupported,
    /// The client wants to act as another user.
    Identity,
    /// The nonce or the header is not that of the exchange.
    Mismatch,
    /// The proof is wrong.
    Proof,
}

impl ScramError {
    /// A text for the client and the log.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Malformed => "the Authentication Data is not the expected SCRAM message",
            Self::Unsupported => "SCRAM channel binding and mandatory extensions are not supported",
            Self::Identity => "a SCRAM authorization identity other than the user is not supported",
            Self::Mismatch => "the SCRAM nonce or header is not the one of this exchange",
            Self::Proof => "the user name or the password is wrong",
        }
    }
}

/// The client-first-message of the grammar.
#[derive(Debug)]
pub(super) struct ClientFirst<'a> {
    /// The header up to and including its second comma.
    pub(super) header: &'a str,
    /// The message without its header.
    pub(super) bare: &'a str,
    /// The authorization identity: the user that the client wants to act as.
    pub(super) identity: Option<String>,
    /// The user name, prepared.
    pub(super) user: String,
    pub(super) nonce: &'a str,
}

/// The client-final-message of the grammar.
#[derive(Debug)]
pub(super) struct ClientFinal<'a> {
    pub(super) binding: &'a str,
    pub(super) nonce: &'a str,
    pub(super) without_proof: &'a str,
    pub(super) proof: [u8; KEY_BYTES],
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Malformed)?;
        match flag {
            // `y`: the client supports channel binding and assumes that the server does not, which is true.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::Unsupported),
            _ => return Err(ScramError::Malformed),
        }
        let (identity, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let identity = match identity {
            "" => None,
            identity => Some(prepared(value(identity, "a=")?)?),
        };
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported);
        }
        let (user, rest) = bare.split_once(',').ok_or(ScramError::Malformed)?;
        let nonce = rest.split_once(',').map_or(rest, |(nonce, _)| nonce);
        let header = text.get(..text.len() - bare.len()).ok_or(ScramError::Malformed)?;
        Ok(Self {
            header,
            bare,
            identity,
            user: prepared(value(user, "n=")?)?,
            nonce: self::nonce(nonce)?,
        })
    }
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(',').ok_or(ScramError::Malformed)?;
        let proof = STANDARD.decode(value(proof, "p=")?).ok();
        let proof = proof.and_then(|proof| proof.try_into().ok());
        let (binding, rest) = without_proof.split_once(',').ok_or(ScramError::Malformed)?;
        let nonce = rest.split_once(',').map_or(rest, |(nonce, _)| nonce);
        Ok(Self {
            binding: value(binding, "c=")?,
            nonce: self::nonce(nonce)?,
            without_proof,
            proof: proof.ok_or(ScramError::Malformed)?,
        })
    }
}

/// The value of an attribute, which must not be empty.
fn value<'a>(attribute: &'a str, name: &str) -> Result<&'a str, ScramError> {
    let value = attribute.strip_prefix(name);
    value
        .filter(|value| !value.is_empty())
        .ok_or(ScramError::Malformed)
}

fn nonce(attribute: &str) -> Result<&str, ScramError> {
    let nonce = value(attribute, "r=")?;
    if nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        Ok(nonce)
    } else {
        Err(ScramError::Malformed)
    }
}

/// A saslname, in which `,` and `=` are written `=2C` and `=3D`, prepared by SASLprep.
fn prepared(name: &str) -> Result<String, ScramError> {
    let mut plain = String::with_capacity(name.len());
    let mut parts = name.split('=');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (character, rest) = match part.split_at_checked(2) {
            Some(("2C", rest)) => (',', rest),
            Some(("3D", rest)) => ('=', rest),
            _ => return Err(ScramError::Malformed),
        };
        plain.push(character);
        plain.push_str(rest);
    }
    let prepared = stringprep::saslprep(&plain).map_err(|_| ScramError::Malformed)?;
    if prepared.is_empty() {
        return Err(ScramError::Malformed);
    }
    Ok(Cow::into_owned(prepared))
}
