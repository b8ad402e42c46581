//! The packets that a client received.
//!
//! Invariants: none.

use broker::limits;
use mqtt::{Packet, ProtocolVersion};

/// One packet that a client received.
#[derive(Clone, Debug)]
pub struct Received {
    version: ProtocolVersion,
    bytes: Vec<u8>,
}

impl Received {
    pub(super) fn new(version: ProtocolVersion, bytes: Vec<u8>) -> Self {
        Self { version, bytes }
    }

    /// The packet; `None` if the bytes are not a packet in the client's version.
    #[must_use]
    pub fn packet(&self) -> Option<Packet<'_>> {
        let frame = mqtt::frame::split(&self.bytes, limits::PACKET_BYTES_MAX).ok()??;
        mqtt::decode::packet(&frame, self.version).ok()
    }

    /// The packet as it was received, with its fixed header.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
