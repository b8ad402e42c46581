//! Connections to the broker: the engine that the generator, the connect measurement, the retained measurement and the
//! clients share.
//!
//! [`Connection`] is one of many in a ring, [`BlockingConnection`] is one alone; [`opening`] takes a connection of a
//! ring from TCP to CONNECT, [`login`] writes CONNECT and checks what answers it, whichever kind the connection is
//! of.
//!
//! `non_blocking.rs` and `blocking.rs` are the two kinds; `frames.rs` cuts packets, `broken.rs` is why one ends.
//!
//! Invariant: a CONNACK, a SUBACK and a DISCONNECT are checked here and nowhere else.

mod blocking;
mod broken;
mod frames;
pub mod login;
mod non_blocking;
pub mod opening;

use std::net::IpAddr;

pub use blocking::{BlockingConnection, WholePacket};
pub use broken::Broken;
pub use non_blocking::{Connection, Scratch};

/// The address that a connection leaves from: they take turns.
pub(crate) fn local_address(bind: &[IpAddr], index: usize) -> Option<IpAddr> {
    bind.get(index.checked_rem(bind.len())?).copied()
}
