//! The encoded PUBLISH packets of a publisher: one, or one of each size.
//!
//! Invariants: the payload is at the end of its packet. If payloads differ in size, the sizes of a publisher's
//! messages are drawn by their weights from a generator with its own seed, so that two runs send the same.

use mqtt::error::EncodeError;
use mqtt::publish_template::PublishTemplate;

use crate::scenario::payload;
use crate::scenario::payload_sizes::PayloadSizes;

/// An encoded PUBLISH, in which the stamp and the Packet Identifier are patched before sending.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) template: PublishTemplate,
    pub(super) payload_bytes: usize,
    /// The checksum of the payload after its head, if messages are verified.
    pub(super) crc_of_filler: Option<u32>,
}

impl Packet {
    pub(super) fn new(
        payload: &[u8],
        is_verified: bool,
        encode: impl FnOnce(&[u8]) -> Result<PublishTemplate, EncodeError>,
    ) -> Result<Packet, EncodeError> {
        Ok(Packet {
            template: encode(payload)?,
            payload_bytes: payload.len(),
            crc_of_filler: is_verified.then(|| payload::crc_of_filler(payload)),
        })
    }
}

/// The packets of all sizes.
#[derive(Debug)]
pub(super) struct Mixture {
    /// Each with the cumulative weight up to it.
    packets: Vec<(u32, Packet)>,
    random: fastrand::Rng,
}

impl Mixture {
    pub(super) fn new(
        sizes: &PayloadSizes,
        seed: u64,
        mut packet: impl FnMut(usize) -> Result<Packet, EncodeError>,
    ) -> Result<Mixture, EncodeError> {
        let mut sum = 0_u32;
        let mut packets = Vec::new();
        for &(bytes, weight) in sizes.weighted() {
            sum = sum.saturating_add(weight);
            packets.push((sum, packet(bytes)?));
        }
        let random = fastrand::Rng::with_seed(seed);
        Ok(Mixture { packets, random })
    }

    /// The packet of the next message.
    #[inline]
    pub(super) fn draw(&mut self) -> Option<&Packet> {
        let sum = self.packets.last().map_or(0, |(sum, _)| *sum);
        let drawn = self.random.u32(0..sum.max(1));
        let found = self.packets.iter().find(|(up_to, _)| drawn < *up_to);
        found.map(|(_, packet)| packet)
    }
}
