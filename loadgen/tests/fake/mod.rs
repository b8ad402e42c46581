//! A server that speaks just enough MQTT to misbehave in one way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use mqtt::encode;
use mqtt::frame::{self, Frame, PacketType};
use mqtt::packet::{ConnAck, Packet, PacketIdentifier};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion::V3_1_1;

/// How the server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    RefusesConnect,
    NeverAnswers,
    ClosesOnConnect,
    RefusesSubscribe,
    GrantsLess,
    SendsRubbish,
    DeliversNothing,
    ClosesOnPublish,
    AcknowledgesWrongly,
}

/// Serves on a free port of 127.0.0.1 until the test process ends.
pub(crate) fn serve(behaviour: Behaviour) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || converse(connection, behaviour));
        }
    });
    port
}

fn converse(mut connection: TcpStream, behaviour: Behaviour) {
    let (mut unread, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = connection.read(&mut chunk) {
        unread.extend_from_slice(&chunk[..count]);
        let mut answer = Vec::new();
        let mut taken = 0;
        while let Ok(Some(frame)) = frame::split(&unread[taken..], u32::MAX) {
            taken += frame.wire_bytes;
            if !respond(&frame, behaviour, &mut answer) {
                return;
            }
        }
        unread.drain(..taken);
        if connection.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Appends the answer; returns false to close the connection.
fn respond(frame: &Frame<'_>, behaviour: Behaviour, answer: &mut Vec<u8>) -> bool {
    match mqtt::decode::packet(frame, V3_1_1).unwrap() {
        Packet::Connect(_) if behaviour == Behaviour::ClosesOnConnect => return false,
        Packet::Connect(_) => match behaviour {
            Behaviour::NeverAnswers => {}
            Behaviour::SendsRubbish => answer.extend_from_slice(&[0xFF; 8]),
            Behaviour::RefusesConnect => connack(ReasonCode::NotAuthorized, answer),
            _ => connack(ReasonCode::Success, answer),
        },
        Packet::Subscribe(subscribe) => {
            let granted = match behaviour {
                Behaviour::RefusesSubscribe => 0x80,
                Behaviour::GrantsLess => 0,
                _ => subscribe
                    .filters
                    .iter()
                    .next()
                    .map_or(0, |(_, options)| options.qos as u8),
            };
            encode::suback(
                subscribe.packet_identifier,
                Properties::EMPTY,
                &[granted],
                V3_1_1,
                answer,
            );
        }
        Packet::Publish(publish) => match (behaviour, publish.packet_identifier) {
            (Behaviour::ClosesOnPublish, _) => return false,
            (Behaviour::AcknowledgesWrongly, _) => puback(PacketIdentifier::MAX, answer),
            (_, Some(identifier)) => puback(identifier, answer),
            (_, None) => {}
        },
        _ => {}
    }
    true
}

fn connack(reason: ReasonCode, answer: &mut Vec<u8>) {
    ConnAck {
        session_present: false,
        reason,
        properties: Properties::EMPTY,
    }
    .encode(V3_1_1, answer);
}

fn puback(identifier: PacketIdentifier, answer: &mut Vec<u8>) {
    encode::ack(
        PacketType::PubAck,
        identifier,
        ReasonCode::Success,
        V3_1_1,
        answer,
    );
}
