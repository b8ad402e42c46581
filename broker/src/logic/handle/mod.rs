//! One handler for each packet that a client sends.
//!
//! `connect.rs` is CONNECT (`admit.rs` decides, `granted.rs` has what it grants, `connack.rs` answers), `auth.rs`
//! AUTH, `publish.rs` PUBLISH (`alias.rs` its Topic Alias, `no_space.rs` a full disk, `control.rs` what is
//! for the broker), `ack.rs` PUBACK to PUBCOMP,
//! then `subscribe.rs` and `unsubscribe.rs` (`filters.rs`: over several turns), `ping.rs` and `disconnect.rs`.
//!
//! Invariant: a [`Handler`] belongs to a client whose CONNECT was accepted and whose connection is not closing; a step
//! that closes it is the last one.

mod ack;
mod admit;
mod alias;
pub(in crate::logic) mod auth;
mod connack;
mod connect;
mod control;
mod disconnect;
pub(in crate::logic) mod filters;
mod granted;
pub(in crate::logic) mod no_space;
mod ping;
pub(in crate::logic) mod publish;
mod subscribe;
mod unsubscribe;

use mqtt::ReasonCode;

use super::Shard;
use super::connection::ConnectionSlot;
use super::session::SessionSlot;

/// The handling of a packet: the data that each of its steps needs.
#[derive(Debug)]
pub(super) struct Handler<'a> {
    pub(super) shard: &'a mut Shard,
    /// The connection that it came on.
    pub(super) slot: ConnectionSlot,
    /// The session of its client.
    pub(super) session: SessionSlot,
}

impl Handler<'_> {
    /// Closes the connection because the client broke the protocol; in MQTT 5.0 a DISCONNECT has the reason.
    pub(super) fn protocol_error(&mut self, reason: ReasonCode, why: &str) {
        self.shard.protocol_error(self.slot, reason, why);
    }

    /// Closes the connection on the broker's decision; in MQTT 5.0 a DISCONNECT has the reason.
    pub(super) fn disconnect(&mut self, reason: ReasonCode, why: &str) {
        self.shard.disconnect(self.slot, reason, why);
    }
}
