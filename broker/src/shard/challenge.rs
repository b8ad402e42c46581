//! From a CONNECT with an Authentication Method to the verdict: the exchange of AUTH packets (MQTT 5.0, section 4.12).
//!
//! Invariants: the CONNECT stays at the front of the greeting's bytes and what follows it is the exchange's alone; a client
//! that is in an exchange may send AUTH or DISCONNECT and nothing else [MQTT-3.1.2-30]. The exchange ends with the greeting,
//! and so within its time; what a client may send for it is bounded by [`limits::AUTH_BYTES_MAX`].

use std::os::fd::AsFd as _;

use mqtt::{Packet, ProtocolVersion, ReasonCode, decode, frame};
use transport::socket;

use super::ShardLoop;
use super::greeting::Greeting;
use super::login::connect;
use super::token::Place;
use crate::auth::Verdict;
use crate::auth::enhanced::{Authenticated, Exchange, Nonces, Refusal, encode_auth};
use crate::limits;

/// An exchange of a greeting.
pub(super) struct Challenged {
    exchange: Exchange,
    nonces: Nonces,
}

/// What follows the CONNECT.
enum Answer {
    Incomplete,
    /// An AUTH that ends here.
    Auth(usize),
    Disconnect,
    Refused(Refusal),
}

impl ShardLoop {
    /// Sends the challenge, unless there is none.
    pub(super) fn challenge(&mut self, place: Place) {
        match self.begin_exchange(place) {
            Some(Ok(())) => self.answered(place),
            Some(Err(refusal)) => self.find_home(place, Verdict::Failed(refusal)),
            None => self.drop_greeting(place, "it does not read"),
        }
    }

    /// Goes on with what has come since the challenge.
    pub(super) fn answered(&mut self, place: Place) {
        let Some(greeting) = self.greetings.get(place) else {
            return;
        };
        match answer(&greeting.plain) {
            Answer::Incomplete => self.listen_to(place),
            Answer::Auth(end) => self.finish_exchange(place, end),
            Answer::Disconnect => self.drop_greeting(place, "it left during authentication"),
            Answer::Refused(refusal) => self.find_home(place, Verdict::Failed(refusal)),
        }
    }

    /// `None`: the client does not take the challenge.
    fn begin_exchange(&mut self, place: Place) -> Option<Result<(), Refusal>> {
        let greeting = self.greetings.get(place)?;
        let connect = connect(&greeting.plain)?;
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::error!("no random bytes for an authentication: {error}");
            return None;
        }
        let mut nonces = Nonces::new(seed);
        let method = connect.properties.authentication_method()?;
        let data = connect.properties.authentication_data();
        let begun = self
            .authentication
            .begin_exchange(greeting.listener, method, data, &mut nonces);
        let (exchange, challenge) = match begun {
            Ok(begun) => begun,
            Err(refusal) => return Some(Err(refusal)),
        };
        let mut packet = Vec::new();
        encode_auth(ReasonCode::ContinueAuthentication, &challenge, &mut packet);
        let packet_bytes_max = connect.properties.maximum_packet_size();
        if packet_bytes_max.is_some_and(|bytes_max| packet.len() > bytes_max.get() as usize) {
            return Some(Err(Refusal {
                reason: ReasonCode::PacketTooLarge,
                why: "the Maximum Packet Size has no room for the AUTH packet",
            }));
        }
        greeting.challenged = Some(Box::new(Challenged { exchange, nonces }));
        tell(greeting, &packet).then_some(Ok(()))
    }

    fn finish_exchange(&mut self, place: Place, end: usize) {
        let Some(greeting) = self.greetings.get(place) else {
            return;
        };
        let Some(Challenged { exchange, nonces }) = greeting.challenged.take().map(|challenged| *challenged)
        else {
            return;
        };
        let (listener, address) = (greeting.listener, greeting.address.ip());
        let begin = connect_bytes(&greeting.plain);
        let bytes = greeting.plain.get(begin..end).unwrap_or_default();
        let proof = match auth(bytes) {
            _ if greeting.plain.len() > end => Err(Refusal::protocol_error(
                "a packet behind AUTH, before the authentication was over",
            )),
            Some(auth) => self
                .authentication
                .finish_exchange(self.now, listener, address, exchange, &auth),
            None => Err(Refusal::protocol_error("a malformed AUTH")),
        };
        greeting.plain.truncate(begin);
        match proof {
            Ok(proof) => {
                greeting.authenticated = Some(Box::new(Authenticated {
                    user: proof.user,
                    data: proof.data,
                    nonces,
                }));
                self.find_home(place, Verdict::Proved);
            }
            Err(refusal) => self.find_home(place, Verdict::Failed(refusal)),
        }
    }

    fn drop_greeting(&mut self, place: Place, why: &str) {
        if let Some(greeting) = self.greetings.remove(place) {
            tracing::info!("Client {} refused: {why}.", greeting.address);
            greeting.cut();
        }
    }
}

/// Sends a packet of a few hundred bytes; a socket that does not take it whole is not worth waiting for.
fn tell(greeting: &mut Greeting, packet: &[u8]) -> bool {
    let mut sealed = Vec::new();
    let wire = if greeting.stream.is_plain() {
        packet
    } else {
        greeting.stream.seal(packet, &mut sealed);
        &sealed
    };
    socket::send_now(greeting.socket.as_fd(), wire).is_ok_and(|sent| sent == wire.len())
}

/// Bytes of the CONNECT at the front.
fn connect_bytes(plain: &[u8]) -> usize {
    let frame = frame::split(plain, limits::CONNECT_BYTES_MAX).ok().flatten();
    frame.map_or(0, |frame| frame.wire_bytes)
}

fn answer(plain: &[u8]) -> Answer {
    let begin = connect_bytes(plain);
    let rest = plain.get(begin..).unwrap_or_default();
    let not_due = || {
        Answer::Refused(Refusal::protocol_error(
            "a packet other than AUTH before the authentication was over",
        ))
    };
    // Before its length has come: what is not AUTH may be as long as it likes.
    if rest.first().is_some_and(|first| !matches!(first >> 4, 14 | 15)) {
        return not_due();
    }
    match frame::split(rest, limits::AUTH_BYTES_MAX) {
        Ok(None) => Answer::Incomplete,
        Ok(Some(frame)) if frame.packet_type == frame::PacketType::Disconnect => Answer::Disconnect,
        Ok(Some(frame)) => Answer::Auth(begin + frame.wire_bytes),
        Err(error) => Answer::Refused(Refusal {
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
    use mqtt::packet::Connect;
    use mqtt::property::Properties;

    use super::*;

    fn connected() -> Vec<u8> {
        let mut bytes = Vec::new();
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_identifier: "c",
            will: None,
            user_name: None,
            password: None,
        };
        connect.encode(&mut bytes).unwrap();
        bytes
    }

    fn after_connect(rest: &[u8]) -> Answer {
        answer(&[connected().as_slice(), rest].concat())
    }

    /// [MQTT-3.1.2-30]
    #[test]
    fn only_auth_and_disconnect_may_follow() {
        let begin = connected().len();
        let mut packet = Vec::new();
        encode_auth(ReasonCode::ContinueAuthentication, b"data", &mut packet);
        for cut in 0..packet.len() {
            assert!(
                matches!(after_connect(&packet[..cut]), Answer::Incomplete),
                "{cut}"
            );
        }
        assert!(matches!(after_connect(&packet), Answer::Auth(end) if end == begin + packet.len()));
        assert!(matches!(after_connect(&[0xE0, 0]), Answer::Disconnect));
        for first in (0..14_u8).map(|packet_type| packet_type << 4) {
            let refused = after_connect(&[first]);
            assert!(
                matches!(refused, Answer::Refused(why) if why.reason == ReasonCode::ProtocolError),
                "{first:#x}"
            );
        }
    }

    #[test]
    fn an_auth_is_bounded_before_it_has_come() {
        let announced = after_connect(&[0xF0, 0xFF, 0xFF, 0x7F]);
        assert!(matches!(announced, Answer::Refused(why) if why.reason == ReasonCode::PacketTooLarge));
    }
}
