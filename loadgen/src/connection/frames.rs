//! Splits received bytes into complete packets.
//!
//! Invariant: a packet is passed on once, and only when it is complete.

use mqtt::frame::{self, Frame};

use super::broken::Broken;

/// Passes each complete packet at the front of `bytes` to `handle`; returns their number of bytes.
#[inline]
pub(super) fn each_frame(
    bytes: &[u8],
    packet_bytes_max: u32,
    mut handle: impl FnMut(&Frame<'_>) -> Result<(), Broken>,
) -> Result<usize, Broken> {
    let mut taken = 0;
    while let Some(frame) = frame::split(bytes.get(taken..).unwrap_or_default(), packet_bytes_max)? {
        handle(&frame)?;
        taken += frame.wire_bytes;
    }
    Ok(taken)
}
