//! The lines of `-d`: each packet that is sent or received, on standard error, in mosquitto_pub's format.
//!
//! Invariant: no payload and no secret is shown.

use mqtt::frame::{self, REMAINING_LENGTH_MAX};
use mqtt::packet::{Packet, PacketIdentifier, Publish};
use mqtt::version::ProtocolVersion;

use crate::system::output::show_progress;

/// Shows packets that a client sends, if it shows them.
pub(super) fn sending(client: Option<&str>, mut packets: &[u8], version: ProtocolVersion) {
    let Some(client) = client else { return };
    while let Ok(Some(frame)) = frame::split(packets, REMAINING_LENGTH_MAX + 5) {
        let text = match mqtt::decode::packet(&frame, version) {
            Ok(packet) => text(&packet),
            Err(_) => format!("{:?}", frame.packet_type).to_uppercase(),
        };
        show_progress(&format!("Client {} sending {text}", client.escape_debug()));
        packets = packets.get(frame.wire_bytes..).unwrap_or_default();
    }
}

/// Shows a packet that was received.
pub(super) fn received(client: Option<&str>, packet: &Packet<'_>) {
    if let Some(client) = client {
        show_progress(&format!(
            "Client {} received {}",
            client.escape_debug(),
            text(packet)
        ));
    }
}

/// Shows the CONNACK with which the broker accepts the client.
pub(super) fn accepted(client: Option<&str>) {
    if let Some(client) = client {
        show_progress(&format!("Client {} received CONNACK (0)", client.escape_debug()));
    }
}

fn text(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(_) => "CONNECT".to_owned(),
        Packet::ConnAck(connack) => format!("CONNACK ({})", connack.reason as u8),
        Packet::Publish(publish) => publish_text(publish),
        Packet::PubAck(ack) => format!("PUBACK (m{}, rc{})", ack.packet_identifier, ack.reason as u8),
        Packet::PubRec(ack) => format!("PUBREC (m{}, rc{})", ack.packet_identifier, ack.reason as u8),
        Packet::PubRel(ack) => format!("PUBREL (m{}, rc{})", ack.packet_identifier, ack.reason as u8),
        Packet::PubComp(ack) => format!("PUBCOMP (m{}, rc{})", ack.packet_identifier, ack.reason as u8),
        Packet::Subscribe(subscribe) => format!("SUBSCRIBE (m{})", subscribe.packet_identifier),
        Packet::SubAck(suback) => {
            let codes: Vec<_> = suback.reason_codes.iter().map(u8::to_string).collect();
            format!("SUBACK (m{}, {})", suback.packet_identifier, codes.join(", "))
        }
        Packet::Unsubscribe(unsubscribe) => format!("UNSUBSCRIBE (m{})", unsubscribe.packet_identifier),
        Packet::UnsubAck(unsuback) => format!("UNSUBACK (m{})", unsuback.packet_identifier),
        Packet::PingReq => "PINGREQ".to_owned(),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT ({})", disconnect.reason as u8),
        Packet::Auth(_) => "AUTH".to_owned(),
    }
}

fn publish_text(publish: &Publish<'_>) -> String {
    format!(
        "PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(publish.dup),
        publish.qos as u8,
        u8::from(publish.retain),
        publish.packet_identifier.map_or(0, PacketIdentifier::get),
        publish.topic.escape_debug(),
        publish.payload.len()
    )
}
