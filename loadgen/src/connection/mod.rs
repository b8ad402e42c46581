//! Connections to the broker.
//!
//! [`non_blocking`] drives many of them in one ring.
//!
//! Invariants: none.

use std::net::IpAddr;

mod non_blocking;

pub use non_blocking::{Broken, Connection, Scratch};

/// The address that a connection leaves from: they take turns.
pub(crate) fn local_address(bind: &[IpAddr], index: usize) -> Option<IpAddr> {
    bind.get(index.checked_rem(bind.len())?).copied()
}
