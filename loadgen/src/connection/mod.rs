//! Connections to the broker, shared by the generator, the connect measurement, the retained measurement and the
//! clients.
//!
//! [`Connection`] is one of many in a ring, [`BlockingConnection`] is a single one. [`opening`] takes a connection of
//! a ring from TCP to CONNECT. [`login`] writes CONNECT and checks the answer, for both kinds of connection.
//! `non_blocking.rs` and `blocking.rs` are the two kinds; `frames.rs` splits bytes into packets, `broken.rs` has the
//! reasons for which a connection ends, `slot_token.rs` the names of connections in a ring.
//!
//! Invariant: CONNACK, SUBACK and DISCONNECT are checked here and nowhere else.

mod blocking;
mod broken;
mod frames;
pub mod login;
mod non_blocking;
pub mod opening;
mod slot_token;

use std::net::IpAddr;

pub use blocking::{BlockingConnection, Destination, WholePacket};
pub use broken::Broken;
pub use non_blocking::{Connection, Scratch};
pub(crate) use slot_token::SlotToken;

/// The local address of a connection: they are used in rotation.
pub(crate) fn local_address(bind: &[IpAddr], index: usize) -> Option<IpAddr> {
    bind.get(index.checked_rem(bind.len())?).copied()
}
