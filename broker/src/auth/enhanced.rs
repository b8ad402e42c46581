//! Enhanced authentication (MQTT 5.0, section 4.12): the client proves its identity in an exchange of AUTH packets.
//!
//! Invariants: an exchange is one AUTH to the client and one from it, and cannot be reused. It fails if its user has
//! another password by its end. It keeps no password file in memory until then, because clients may delay it as long
//! as they like. Nothing here reads a clock or a random source: the nonces come from a seed of the connection.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mqtt::ReasonCode;
use mqtt::packet::Auth;
use mqtt::property::{PropertiesBuf, Property};

use super::Authentication;
use super::password_file::PasswordFile;
use super::scram::{self, METHOD, ScramError, ScramExchange, ScramProof};
use crate::limits;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// An exchange that waits for the AUTH of the client.
#[derive(Debug)]
pub struct Exchange {
    scram: ScramExchange,
}

/// The result for a client that proved its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The name of the user.
    pub user: Box<str>,
    /// Authentication Data for the client.
    pub data: Box<[u8]>,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code for CONNACK or DISCONNECT.
    pub reason: ReasonCode,
    /// A text for the client and the log.
    pub why: &'static str,
}

/// The nonces of one connection.
#[derive(Clone, Debug)]
pub struct Nonces {
    seed: [u8; 32],
    used: u64,
}

/// What remains of a successful exchange, with its connection.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// The user name of the client.
    pub user: Box<str>,
    /// Authentication Data of the CONNACK.
    pub data: Box<[u8]>,
    /// Nonces for further exchanges.
    pub nonces: Nonces,
}

impl Exchange {
    /// Begins with the data of a CONNECT, or of an AUTH that re-authenticates. Returns the exchange and the
    /// Authentication Data of the AUTH that answers.
    ///
    /// # Errors
    /// The method is not supported [MQTT-4.12.0-1], or the data do not begin an exchange.
    pub fn begin(
        file: Option<&Arc<PasswordFile>>,
        method: &str,
        data: Option<&[u8]>,
        nonces: &mut Nonces,
    ) -> Result<(Exchange, Vec<u8>), Refusal> {
        let file = file.filter(|file| method == METHOD && file.offers_scram());
        let file = file.ok_or(Refusal {
            reason: ReasonCode::BadAuthenticationMethod,
            why: "the Authentication Method is not supported",
        })?;
        let find = |user: &str| file.scram_challenge(user);
        let (scram, first) = ScramExchange::begin(bounded(data)?, &nonces.next(), find).map_err(refused)?;
        Ok((Exchange { scram }, first.into_bytes()))
    }

    /// The user name that the client claims.
    #[must_use]
    pub fn user(&self) -> &str {
        self.scram.user()
    }

    /// Ends with the client's AUTH. `file` is the password file that is in effect now.
    ///
    /// # Errors
    /// The client did not prove its identity, or the AUTH is not the expected one.
    pub fn finish(self, file: Option<&Arc<PasswordFile>>, auth: &Auth<'_>) -> Result<Proof, Refusal> {
        // [MQTT-4.12.0-3]
        if auth.reason != ReasonCode::ContinueAuthentication {
            return Err(Refusal::protocol_error(
                "AUTH without reason code 0x18 during authentication",
            ));
        }
        check_method(auth)?;
        let data = bounded(auth.properties.authentication_data())?;
        let ScramProof {
            user,
            verifier,
            server_final,
        } = self.scram.finish(data).map_err(refused)?;
        let now = file.and_then(|file| file.scram_challenge(&user));
        if !now.is_some_and(|now| now.known && now.verifier == verifier) {
            return Err(Refusal {
                reason: ReasonCode::NotAuthorized,
                why: "the password was changed during authentication",
            });
        }
        Ok(Proof {
            user,
            data: server_final.into_bytes().into(),
        })
    }
}

/// Checks that an AUTH names the method of the connection [MQTT-4.12.0-5].
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
        // Our properties are far below the limit.
        let _ = properties.push(property);
    }
    properties
}

impl Nonces {
    /// Nonces of a connection that has drawn this seed from a secure source.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, used: 0 }
    }

    /// The next nonce, which cannot be guessed without the seed.
    fn next(&mut self) -> String {
        self.used = self.used.wrapping_add(1);
        STANDARD.encode(scram::prf(&self.seed, &self.used.to_le_bytes()))
    }
}

impl Refusal {
    /// A refusal of an unexpected packet.
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

impl Authentication {
    /// Begins an exchange for a CONNECT with this method and data; it costs microseconds.
    ///
    /// # Errors
    /// There is none to begin.
    pub fn begin_exchange(
        &self,
        listener: ListenerId,
        method: &str,
        data: Option<&[u8]>,
        nonces: &mut Nonces,
    ) -> Result<(Exchange, Vec<u8>), Refusal> {
        Exchange::begin(self.scram_file(listener).as_ref(), method, data, nonces)
    }

    /// Ends an exchange with the client's AUTH. Who failed often for a user is refused here before the proof is looked
    /// at, as there is nothing to compute that could be queued.
    ///
    /// # Errors
    /// The client is not let in.
    pub fn finish_exchange(
        &self,
        now: Timestamp,
        listener: ListenerId,
        address: IpAddr,
        exchange: Exchange,
        auth: &Auth<'_>,
    ) -> Result<Proof, Refusal> {
        let back_off = &self.shared.back_off;
        let claimant = back_off.claimant(address, exchange.user());
        if back_off.not_before(claimant) > now {
            return Err(Refusal {
                reason: ReasonCode::ConnectionRateExceeded,
                why: "too many wrong passwords for this user from this address, try again later",
            });
        }
        exchange
            .finish(self.scram_file(listener).as_ref(), auth)
            .inspect_err(|_| back_off.failed(now, claimant, None))
    }

    /// The users that may prove themselves in an exchange; none where certificates name the users.
    fn scram_file(&self, listener: ListenerId) -> Option<Arc<PasswordFile>> {
        if self.certificate_names_user(listener) {
            return None;
        }
        self.policy().passwords(listener).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::Path;

    use test_support::ScramClient;

    use super::*;
    use crate::auth::password::{Algorithm, PasswordHash};

    fn file(password: &str) -> Arc<PasswordFile> {
        let cheap = Algorithm::ScramSha256 {
            iterations: NonZeroU32::MIN,
        };
        let hash = PasswordHash::make(password.as_bytes(), cheap).unwrap();
        let text = format!("ann:{hash}\n");
        Arc::new(PasswordFile::parse(Path::new("p"), text.as_bytes()).unwrap())
    }

    /// The result of an exchange that begins with one file and ends with another one.
    fn exchanged(before: &Arc<PasswordFile>, after: Option<&Arc<PasswordFile>>) -> Result<Proof, ReasonCode> {
        let mut scram = ScramClient::new("ann", "pw", "n");
        let mut nonces = Nonces::new([1; 32]);
        let begun = Exchange::begin(Some(before), METHOD, Some(scram.first().as_bytes()), &mut nonces);
        let (exchange, challenge) = begun.unwrap();
        let last = scram.last(&challenge).unwrap();
        let properties = properties(last.as_bytes());
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            properties: properties.as_properties(),
        };
        exchange.finish(after, &auth).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn the_password_must_be_the_same_at_the_end() {
        let before = file("pw");
        assert_eq!(&*exchanged(&before, Some(&before)).unwrap().user, "ann");
        let anew = file("pw");
        assert_eq!(exchanged(&before, Some(&anew)), Err(ReasonCode::NotAuthorized));
        assert_eq!(exchanged(&before, None), Err(ReasonCode::NotAuthorized));
    }

    #[test]
    fn an_exchange_keeps_no_file_alive() {
        let file = file("pw");
        let first = ScramClient::new("ann", "pw", "n").first();
        let mut nonces = Nonces::new([1; 32]);
        let begun = Exchange::begin(Some(&file), METHOD, Some(first.as_bytes()), &mut nonces);
        assert!(begun.is_ok());
        assert_eq!(Arc::strong_count(&file), 1);
    }

    #[test]
    fn nonces_differ_and_depend_on_the_seed() {
        let mut one = Nonces::new([1; 32]);
        let mut other = Nonces::new([2; 32]);
        let all = [one.next(), one.next(), other.next()];
        assert!(all[0] != all[1] && all[0] != all[2]);
        assert!(all.iter().all(|nonce| !nonce.contains(',')));
    }
}
