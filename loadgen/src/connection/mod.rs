//! Connections to the broker: the engine that the generator, the connect measurement, the retained measurement and the
//! clients share.
//!
//! [`Connection`] is one of many in a ring, [`BlockingConnection`] is one alone; [`opening`] takes a connection of a
//! ring from TCP to CONNECT, [`login`] writes CONNECT and checks what answers it, whichever kind the connection is
//! of.
//!
//! Invariant: a CONNACK, a SUBACK and a DISCONNECT are checked here and nowhere else.

mod blocking;
mod broken;
pub mod login;
mod non_blocking;
pub mod opening;

use std::net::IpAddr;

use mqtt::frame::{self, Frame};

pub use blocking::{BlockingConnection, WholePacket};
pub use broken::Broken;
pub use non_blocking::{Connection, Scratch};

/// The address that a connection leaves from: they take turns.
pub(crate) fn local_address(bind: &[IpAddr], index: usize) -> Option<IpAddr> {
    bind.get(index.checked_rem(bind.len())?).copied()
}

/// Hands each whole packet at the head of `bytes` to `handle`; returns how many bytes they took.
#[inline]
fn each_frame(
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
