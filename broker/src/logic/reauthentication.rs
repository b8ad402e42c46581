//! The state for re-authentication of a connection that named an Authentication Method (MQTT 5.0, section 4.12.1).
//!
//! Invariants: the method does not change, and neither does the user. An exchange ends with its second AUTH.

use std::sync::Arc;

use mqtt::ReasonCode;
use mqtt::packet::Auth;

use crate::auth::enhanced::{Authenticated, Exchange, Nonces, Refusal, check_method};
use crate::auth::password_file::PasswordFile;

/// The state that a connection with an Authentication Method needs for re-authentication.
#[derive(Debug)]
pub(super) struct Enhanced {
    user: Box<str>,
    nonces: Nonces,
    /// The exchange of a re-authentication in progress.
    exchange: Option<Exchange>,
}

/// The data of the answer to an AUTH.
#[derive(Debug)]
pub(super) struct AuthAnswer {
    pub(super) reason: ReasonCode,
    pub(super) data: Vec<u8>,
}

impl Enhanced {
    pub(super) fn new(authenticated: Authenticated) -> Self {
        let Authenticated { user, nonces, .. } = authenticated;
        Self {
            user,
            nonces,
            exchange: None,
        }
    }

    /// A step of a re-authentication [MQTT-4.12.1-1]; `file` has the passwords of the connection's listener.
    pub(super) fn step(
        &mut self,
        file: Option<&Arc<PasswordFile>>,
        auth: &Auth<'_>,
    ) -> Result<AuthAnswer, Refusal> {
        check_method(auth)?;
        match (auth.reason, self.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let method = auth.properties.authentication_method().unwrap_or_default();
                let data = auth.properties.authentication_data();
                let (exchange, data) = Exchange::begin(file, method, data, &mut self.nonces)?;
                self.exchange = Some(exchange);
                let reason = ReasonCode::ContinueAuthentication;
                Ok(AuthAnswer { reason, data })
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proof = exchange.finish(file, auth)?;
                if proof.user != self.user {
                    return Err(Refusal {
                        reason: ReasonCode::NotAuthorized,
                        why: "re-authentication as another user",
                    });
                }
                let reason = ReasonCode::Success;
                let data = proof.data.into_vec();
                Ok(AuthAnswer { reason, data })
            }
            _ => Err(Refusal::protocol_error("AUTH with an unexpected reason code")),
        }
    }
}
