//! Connections without special properties.
//!
//! Invariants: none.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use broker::auth::Verdict;
use broker::logic::{ConnectionId, FirstPacket, Peer, Shard, Timestamp};
use broker::settings::ListenerId;
use mqtt::ProtocolVersion;
use mqtt::packet::Connect;
use mqtt::property::Properties;

/// The origin of a connection without special properties.
#[must_use]
pub fn peer() -> Peer {
    Peer {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000).into(),
        listener: ListenerId(0),
        assigned_client_identifier: None,
        certificate_identity: None,
        verdict: Verdict::Unproved,
        authenticated: None,
    }
}

/// Opens a connection at a shard with the first bytes of a client: a complete CONNECT, and possibly more.
///
/// # Panics
/// If they do not start with a CONNECT.
pub fn open(shard: &mut Shard, now: Timestamp, peer: Peer, bytes: &[u8]) -> ConnectionId {
    let FirstPacket::Connect(connect) = FirstPacket::parse(bytes) else {
        panic!("no CONNECT: {bytes:?}");
    };
    let id = shard.open(now, peer, Ok(&connect));
    let rest = bytes.get(connect.wire_bytes as usize..).unwrap_or_default();
    if !rest.is_empty() {
        shard.receive(now, id, rest);
    }
    id
}

/// A CONNECT without special settings: Clean Start, no keep alive, no Will.
#[must_use]
pub fn connect(version: ProtocolVersion, client_identifier: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_identifier,
        will: None,
        user_name: None,
        password: None,
    }
}
