//! Handles AUTH on a connection whose CONNECT was accepted: re-authentication (MQTT 5.0, section 4.12.1).
//!
//! Invariants: a client that named no Authentication Method in CONNECT may not send AUTH [MQTT-4.12.0-7]. The method
//! does not change, and neither does the user, because the session belongs to the user. All other packets are handled
//! as before while the exchange goes on. An exchange that fails closes the connection [MQTT-4.12.1-2].

use mqtt::ReasonCode;
use mqtt::packet::Auth;

use crate::auth::enhanced::{Authenticated, Exchange, Nonces, Refusal, check_method, encode_auth};
use crate::logic::handle::Handler;

/// What a connection that named an Authentication Method needs to do it again.
#[derive(Debug)]
pub(in crate::logic) struct Enhanced {
    user: Box<str>,
    nonces: Nonces,
    /// Of a re-authentication that has begun.
    exchange: Option<Exchange>,
}

/// What an AUTH is answered with.
struct AuthAnswer {
    reason: ReasonCode,
    data: Vec<u8>,
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
}

impl Handler<'_> {
    /// A step of a re-authentication [MQTT-4.12.1-1].
    pub(in crate::logic) fn handle_auth(&mut self, auth: &Auth<'_>) {
        match self.reauthenticate(auth) {
            Ok(AuthAnswer { reason, data }) => {
                self.shard
                    .delivery
                    .send(self.slot, |out, _| encode_auth(reason, &data, out));
            }
            Err(Refusal { reason, why }) if reason == ReasonCode::ProtocolError => {
                self.protocol_error(reason, why);
            }
            Err(Refusal { reason, why }) => self.disconnect(reason, why),
        }
    }

    fn reauthenticate(&mut self, auth: &Auth<'_>) -> Result<AuthAnswer, Refusal> {
        let (policy, connection) = self.shard.delivery.policy_and_connection(self.slot);
        let file = connection
            .as_ref()
            .and_then(|connection| policy.passwords(connection.listener));
        let enhanced = connection
            .and_then(|connection| connection.rare.as_mut()?.enhanced.as_deref_mut())
            .ok_or(Refusal::protocol_error(
                "AUTH though CONNECT named no Authentication Method",
            ))?;
        check_method(auth)?;
        match (auth.reason, enhanced.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                let method = auth.properties.authentication_method().unwrap_or_default();
                let data = auth.properties.authentication_data();
                let (exchange, data) = Exchange::begin(file, method, data, &mut enhanced.nonces)?;
                enhanced.exchange = Some(exchange);
                let reason = ReasonCode::ContinueAuthentication;
                Ok(AuthAnswer { reason, data })
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let proof = exchange.finish(file, auth)?;
                if proof.user != enhanced.user {
                    return Err(Refusal {
                        reason: ReasonCode::NotAuthorized,
                        why: "re-authentication as another user",
                    });
                }
                let reason = ReasonCode::Success;
                let data = proof.data.into_vec();
                Ok(AuthAnswer { reason, data })
            }
            _ => Err(Refusal::protocol_error("AUTH with a reason code that is not due")),
        }
    }
}
