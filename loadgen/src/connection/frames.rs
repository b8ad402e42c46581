//! Cuts received bytes into whole packets.
//!
//! Invariant: a packet is passed on once, and only when it is complete.

use mqtt::frame::{self, Frame};

use super::broken::Broken;

/// Hands each whole packet at the head of `bytes` to `handle`; returns how many bytes they took.
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
