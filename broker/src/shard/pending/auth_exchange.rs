//! The exchange of AUTH packets of a CONNECT with an Authentication Method (MQTT 5.0, section 4.12).
//!
//! Invariants: a client in an exchange may send only AUTH or DISCONNECT [MQTT-3.1.2-30]. The exchange ends with the
//! pending connection, and so within its time; the client's packets are bounded by [`limits::AUTH_BYTES_MAX`].

use mqtt::{Packet, ProtocolVersion, ReasonCode, decode, frame};

use super::{DOES_NOT_READ, Next, PendingConnection, Phase};
use crate::auth::Authentication;
use crate::auth::enhanced::{Authenticated, Exchange, Nonces, Refusal, encode_auth};
use crate::limits;
use crate::logic::ConnectRequest;
use crate::shard::tracer::{ShownConnect, Tracer};
use crate::time::Timestamp;

/// A CONNECT whose client has to prove its identity.
pub(super) struct ChallengedConnect {
    pub(super) connect: Box<ConnectRequest>,
    /// Present until the client's AUTH has come.
    exchange: Option<Exchange>,
    nonces: Nonces,
    /// The traces and logs in which its packets are shown, if any.
    pub(super) shown: Option<ShownConnect>,
}

impl PendingConnection {
    /// Sends the challenge for the Authentication Method of the CONNECT, or refuses the client if the method has none.
    pub(super) fn begin_exchange(&mut self, authentication: &Authentication) -> Next {
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::error!("the operating system provides no random bytes for an authentication: {error}");
            return Next::CloseLogged;
        }
        let mut nonces = Nonces::new(seed);
        let (exchange, packet) = match self.challenge(authentication, &mut nonces) {
            Ok(begun) => begun,
            Err(refusal) => return Next::Refuse(refusal),
        };
        let Phase::CheckingCredentials(checked) = std::mem::replace(&mut self.phase, Phase::Connect) else {
            debug_assert!(false, "an exchange begins with a CONNECT");
            return Next::CloseLogged;
        };
        self.phase = Phase::Challenged(Box::new(ChallengedConnect {
            connect: checked.connect,
            exchange: Some(exchange),
            nonces,
            shown: None,
        }));
        let mut sealed = Vec::new();
        self.stream.seal(&packet, &mut sealed);
        if self.send(&sealed) {
            next(&self.plain)
        } else {
            Next::Close(DOES_NOT_READ)
        }
    }

    /// The exchange and the AUTH that begins it.
    fn challenge(
        &self,
        authentication: &Authentication,
        nonces: &mut Nonces,
    ) -> Result<(Exchange, Vec<u8>), Refusal> {
        let Phase::CheckingCredentials(checked) = &self.phase else {
            return Err(Refusal::protocol_error("no CONNECT before AUTH"));
        };
        let (method, data) = match checked.connect.authentication.as_deref() {
            Some(asked) => (&*asked.method, asked.data.as_deref()),
            None => ("", None),
        };
        let (exchange, data) = authentication.begin_exchange(self.listener, method, data, nonces)?;
        let mut packet = Vec::new();
        encode_auth(ReasonCode::ContinueAuthentication, &data, &mut packet);
        let packet_bytes_max = checked.connect.packet_bytes_max;
        if packet_bytes_max.is_some_and(|bytes_max| packet.len() > bytes_max.get() as usize) {
            return Err(Refusal {
                reason: ReasonCode::PacketTooLarge,
                why: "the Maximum Packet Size has no room for the AUTH packet",
            });
        }
        Ok((exchange, packet))
    }

    /// Shows the CONNECT and the challenge, if there is one.
    pub(super) fn show_challenge(&mut self, tracer: &Tracer) {
        if let Phase::Challenged(challenge) = &mut self.phase
            && tracer.is_on()
        {
            challenge.shown = Some(tracer.show_challenge(self.address, &challenge.connect));
        }
    }

    /// Shows the AUTH packet at the front of the received bytes, where the CONNECT was shown.
    pub(super) fn show_answer(&self, tracer: &Tracer, auth_bytes: usize) {
        if let Some(shown) = self.shown() {
            tracer.show_answer(shown, self.plain.get(..auth_bytes).unwrap_or_default());
        }
    }

    /// The place where the CONNECT was shown, if it was.
    pub(super) fn shown(&self) -> Option<&ShownConnect> {
        match &self.phase {
            Phase::Challenged(challenge) => challenge.shown.as_ref(),
            _ => None,
        }
    }

    /// Ends the exchange with the AUTH packet at the front of the received bytes, and returns the identity of the
    /// client.
    ///
    /// # Errors
    /// The client did not prove its identity.
    pub(super) fn finish_exchange(
        &mut self,
        now: Timestamp,
        authentication: &Authentication,
        auth_bytes: usize,
    ) -> Result<Authenticated, Refusal> {
        let bytes = std::mem::take(&mut self.plain);
        let not_due = Refusal::protocol_error("an unexpected AUTH");
        let Phase::Challenged(challenge) = &mut self.phase else {
            return Err(not_due);
        };
        let exchange = challenge.exchange.take().ok_or(not_due)?;
        if bytes.len() > auth_bytes {
            return Err(Refusal::protocol_error(
                "a packet after AUTH, before the authentication was complete",
            ));
        }
        let auth = auth(&bytes).ok_or(Refusal::protocol_error("a malformed AUTH"))?;
        let proof =
            authentication.finish_exchange(now, self.listener, self.address.machine(), exchange, &auth)?;
        Ok(Authenticated {
            user: proof.user,
            data: proof.data,
            nonces: challenge.nonces.clone(),
        })
    }
}

/// The next step after the CONNECT.
pub(super) fn next(plain: &[u8]) -> Next {
    // Before its length is known: a packet other than AUTH may have any length.
    if plain.first().is_some_and(|first| !matches!(first >> 4, 14 | 15)) {
        return Next::Refuse(Refusal::protocol_error(
            "a packet other than AUTH before the authentication was complete",
        ));
    }
    match frame::split(plain, limits::AUTH_BYTES_MAX) {
        Ok(None) => Next::Receive,
        Ok(Some(frame)) if frame.packet_type == frame::PacketType::Disconnect => {
            Next::Close("it disconnected during authentication")
        }
        Ok(Some(frame)) => Next::FinishExchange(frame.wire_bytes),
        Err(error) => Next::Refuse(Refusal {
            reason: error.reason(),
            why: "the AUTH is malformed or too large",
        }),
    }
}

fn auth(bytes: &[u8]) -> Option<mqtt::packet::Auth<'_>> {
    let frame = frame::split(bytes, limits::AUTH_BYTES_MAX).ok()??;
    match decode::packet(&frame, ProtocolVersion::V5).ok()? {
        Packet::Auth(auth) => Some(auth),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.1.2-30]
    #[test]
    fn only_auth_and_disconnect_may_follow() {
        let mut packet = Vec::new();
        encode_auth(ReasonCode::ContinueAuthentication, b"data", &mut packet);
        for cut in 0..packet.len() {
            assert!(matches!(next(&packet[..cut]), Next::Receive), "{cut}");
        }
        assert!(matches!(next(&packet), Next::FinishExchange(bytes) if bytes == packet.len()));
        assert!(matches!(next(&[0xE0, 0]), Next::Close(_)));
        for first in (0..14_u8).map(|packet_type| packet_type << 4) {
            let refused = next(&[first]);
            assert!(
                matches!(refused, Next::Refuse(why) if why.reason == ReasonCode::ProtocolError),
                "{first:#x}"
            );
        }
    }

    #[test]
    fn an_auth_is_bounded_before_it_has_come() {
        let announced = next(&[0xF0, 0xFF, 0xFF, 0x7F]);
        assert!(matches!(announced, Next::Refuse(why) if why.reason == ReasonCode::PacketTooLarge));
    }
}
