//! Handles AUTH on a connection whose CONNECT was accepted: re-authentication (MQTT 5.0, section 4.12.1).
//!
//! Invariants: a client that named no Authentication Method in CONNECT may not send AUTH [MQTT-4.12.0-7]. The method
//! does not change, and neither does the user, because the session belongs to the user. All other packets are handled
//! as before during the exchange. An exchange that fails closes the connection [MQTT-4.12.1-2].

use mqtt::ReasonCode;
use mqtt::packet::Auth;

use crate::auth::enhanced::{Refusal, encode_auth};
use crate::logic::handle::Handler;
use crate::logic::reauthentication::AuthAnswer;

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
            .and_then(|connection| policy.passwords(connection.listener()));
        let enhanced =
            connection
                .and_then(|connection| connection.enhanced())
                .ok_or(Refusal::protocol_error(
                    "AUTH though CONNECT named no Authentication Method",
                ))?;
        enhanced.step(file, auth)
    }
}
