//! MQTT 3.1, 3.1.1 and 5.0 on the wire, without any I/O.
//!
//! The path of a packet: [`frame::split`] cuts one packet out of the read buffer, [`decode::packet`] decodes it to a
//! borrowed [`packet::Packet`], and each packet's `encode` appends it to an output buffer. [`publish_template`]
//! encodes a PUBLISH once for many subscribers. [`topic`] has the rules of topic names and filters.
//!
//! `property.rs` has properties, `reason.rs` reason codes, `version.rs` protocol versions, `error.rs` what is wrong
//! with bytes.
//!
//! Invariants: nothing in this crate allocates on the path of a PUBLISH, and nothing that a peer sends makes it panic.
#![forbid(unsafe_code)]

pub mod decode;
pub mod encode;
pub mod error;
pub mod frame;
pub mod packet;
pub mod property;
pub mod publish_template;
pub mod reason;
pub mod topic;
pub mod version;
mod wire;

pub use error::DecodeError;
pub use packet::{Packet, PacketIdentifier, QoS};
pub use reason::ReasonCode;
pub use version::ProtocolVersion;

#[cfg(test)]
mod tests;
