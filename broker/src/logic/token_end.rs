//! The end of connections whose clients were let in by a token.
//!
//! Invariants: a session has such a timer only while it has a connection of such a client, and one at most.

use mqtt::ReasonCode;

use crate::logic::Shard;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::SessionSlot;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

impl Shard {
    /// The connection that a session has just got is to end then, if that is known.
    pub(super) fn end_connection_at(&mut self, session: SessionSlot, ends_at: Option<Timestamp>) {
        let Some(of_session) = self.delivery.clients.session_mut(session) else {
            return unreachable_state("a session that has just got its connection");
        };
        of_session.set_ends_at(ends_at);
        if let Some(ends_at) = ends_at {
            self.timers.set(ends_at, Timer::TokenEnd { session });
        }
    }

    /// The token of a client has expired: it may come again with another one.
    pub(super) fn end_with_token(&mut self, session: SessionSlot) {
        let link = self.delivery.clients.link(session);
        if let Some(of_session) = self.delivery.clients.session_mut(session) {
            of_session.set_ends_at(None);
        }
        if let Some(slot) = link {
            self.disconnect(slot, ReasonCode::MaximumConnectTime, "its token has expired");
        }
    }
}
