//! Enhanced authentication (MQTT 5.0, section 4.12): the client proves who it is in an exchange of AUTH packets.
//!
//! Invariants: an exchange is one AUTH to the client and one from it, and is used up by that; it goes by one password file,
//! and comes to nothing if its user has another password by its end. Nothing here reads a clock or a random source: the
//! nonces come from a seed of the connection.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mqtt::ReasonCode;
use mqtt::packet::Auth;
use mqtt::property::{PropertiesBuf, Property};

use super::password_file::PasswordFile;
use super::scram::{self, METHOD, ScramError};
use crate::limits;

/// An exchange that waits for the client's AUTH.
#[derive(Debug)]
pub struct Exchange {
    scram: scram::Exchange,
    file: Arc<PasswordFile>,
}

/// A client that proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The user.
    pub user: Box<str>,
    /// Authentication Data for the client.
    pub data: Box<[u8]>,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For CONNACK or DISCONNECT.
    pub reason: ReasonCode,
    /// For the client and the log.
    pub why: &'static str,
}

/// The nonces of one connection.
#[derive(Clone, Debug)]
pub struct Nonces {
    seed: [u8; 32],
    used: u64,
}

/// What stays of an exchange with the connection that it let in.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who the client is.
    pub user: Box<str>,
    /// Authentication Data of the CONNACK.
    pub data: Box<[u8]>,
    /// For the exchanges to come.
    pub nonces: Nonces,
}

impl Exchange {
    /// Begins with what CONNECT, or an AUTH that re-authenticates, has; the exchange and the Authentication Data of the AUTH
    /// that answers.
    ///
    /// # Errors
    /// The method is not offered [MQTT-4.12.0-1], or the data do not begin an exchange.
    pub fn begin(
        file: Option<&Arc<PasswordFile>>,
        method: &str,
        data: Option<&[u8]>,
        nonces: &mut Nonces,
    ) -> Result<(Exchange, Vec<u8>), Refusal> {
        let file = file.filter(|file| method == METHOD && file.scram_challenge("").is_some());
        let file = file.ok_or(Refusal {
            reason: ReasonCode::BadAuthenticationMethod,
            why: "the Authentication Method is not offered here",
        })?;
        let find = |user: &str| file.scram_challenge(user);
        let (scram, first) = scram::Exchange::begin(bounded(data)?, &nonces.next(), find).map_err(refused)?;
        let exchange = Exchange {
            scram,
            file: Arc::clone(file),
        };
        Ok((exchange, first.into_bytes()))
    }

    /// Ends with the client's AUTH. `file` is the one that is in effect now.
    ///
    /// # Errors
    /// The client is not who it says, or the AUTH is not the one that was due.
    pub fn finish(self, file: Option<&Arc<PasswordFile>>, auth: &Auth<'_>) -> Result<Proof, Refusal> {
        // [MQTT-4.12.0-3]
        if auth.reason != ReasonCode::ContinueAuthentication {
            return Err(Refusal::protocol_error(
                "AUTH without reason code 0x18 during authentication",
            ));
        }
        check_method(auth)?;
        let data = bounded(auth.properties.authentication_data())?;
        let (user, last) = self.scram.finish(data).map_err(refused)?;
        if !file.is_some_and(|file| Arc::ptr_eq(file, &self.file) || file.keeps(&self.file, &user)) {
            return Err(Refusal {
                reason: ReasonCode::NotAuthorized,
                why: "the password was changed during authentication",
            });
        }
        Ok(Proof {
            user,
            data: last.into_bytes().into(),
        })
    }
}

/// That an AUTH names the method of the connection [MQTT-4.12.0-5].
///
/// # Errors
/// It names another one or none.
pub fn check_method(auth: &Auth<'_>) -> Result<(), Refusal> {
    match auth.properties.authentication_method() {
        Some(METHOD) => Ok(()),
        Some(_) => Err(Refusal::protocol_error(
            "AUTH with another Authentication Method than CONNECT",
        )),
        None => Err(Refusal::protocol_error("AUTH without an Authentication Method")),
    }
}

/// Appends an AUTH with the method of the connection and these data [MQTT-4.12.0-2], [MQTT-4.12.0-5].
pub fn encode_auth(reason: ReasonCode, data: &[u8], out: &mut Vec<u8>) {
    let properties = properties(data);
    Auth {
        reason,
        properties: properties.as_properties(),
    }
    .encode(mqtt::ProtocolVersion::V5, out);
}

/// The method of the connection and these data.
#[must_use]
pub fn properties(data: &[u8]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::AuthenticationMethod(METHOD),
        Property::AuthenticationData(data),
    ] {
        // Ours are far below what a property takes.
        let _ = properties.push(property);
    }
    properties
}

impl Nonces {
    /// Those of a connection that has drawn this seed from a secure source.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, used: 0 }
    }

    /// The next one: nobody who does not know the seed can tell it.
    fn next(&mut self) -> String {
        self.used = self.used.wrapping_add(1);
        STANDARD.encode(scram::prf(&self.seed, &self.used.to_le_bytes()))
    }
}

impl Refusal {
    /// A refusal of a packet that was not due.
    #[must_use]
    pub fn protocol_error(why: &'static str) -> Self {
        Self {
            reason: ReasonCode::ProtocolError,
            why,
        }
    }
}

fn refused(error: ScramError) -> Refusal {
    Refusal {
        reason: ReasonCode::NotAuthorized,
        why: error.why(),
    }
}

fn bounded(data: Option<&[u8]>) -> Result<&[u8], Refusal> {
    let data = data.unwrap_or_default();
    if data.len() > limits::AUTHENTICATION_DATA_BYTES_MAX {
        return Err(Refusal {
            reason: ReasonCode::NotAuthorized,
            why: "the Authentication Data is too long",
        });
    }
    Ok(data)
}
