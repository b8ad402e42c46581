//! The shard's work for pending connections, from received bytes until the connection is sent to the shard that owns
//! the session.
//!
//! Invariants: a connection is sent to its owner only after authentication, so no session is changed before. While
//! other threads check the password, nothing is received on the connection, and its time since accept continues to
//! run. When the shard shuts down, new clients are answered here, because the logic then refuses all of them.

use std::path::Path;
use std::sync::Arc;

use transport::ring::ReceiveBuffer;
use transport::socket::Socket;
use transport::websocket::handshake::Page;

use super::refused::{Ended, RefusedAtAccept, TOO_MUCH_PENDING};
use super::{Next, PendingConnection, Phase};
use crate::auth::enhanced::Authenticated;
use crate::auth::{Check, Credentials, Verdict};
use crate::logic::{ClientEvent, ShardCounters, owner_shard};
use crate::settings::ListenerId;
use crate::shard::ShardLoop;
use crate::shard::token::{PendingId, Subject};
use crate::shard::transfer::ConnectionTransfer;

impl ShardLoop {
    /// A connection that a listener accepted.
    pub(in crate::shard) fn begin_pending(&mut self, listener: usize, socket: Socket) {
        let in_effect = &self.configured.in_effect;
        let listening = self.acceptor.listening(listener);
        let bans = &self.access.bans;
        let pending = listening.map(|it| PendingConnection::new(it, in_effect, bans, socket));
        match pending {
            Some(Ok(pending)) => {
                let id = self.pending.insert(self.now, pending);
                self.receive_pending(id);
            }
            Some(Err(Some(RefusedAtAccept {
                address,
                reason,
                detail,
            }))) => {
                let event =
                    ClientEvent::refused(self.now, reason, "", Some(address.machine()), Some(&detail));
                self.logic.counters().events.add(event);
            }
            Some(Err(None)) | None => {}
        }
    }

    pub(in crate::shard) fn receive_pending(&mut self, id: PendingId) {
        if let Some(pending) = self.pending.get(id) {
            self.ring.receive(&pending.socket, Subject::Pending(id).token());
        }
    }

    pub(in crate::shard) fn pending_received(&mut self, id: PendingId, buffer: ReceiveBuffer) {
        let pending = self.pending.get(id);
        let counters = self.logic.counters();
        let next = pending.map(|pending| receive(pending, self.ring.bytes(&buffer), counters));
        self.ring.recycle(buffer);
        self.pending_advanced(id, next);
    }

    /// The same for bytes that the turn in which they came had no time for.
    pub(in crate::shard) fn pending_received_before(&mut self, id: PendingId, bytes: &[u8]) {
        let pending = self.pending.get(id);
        let next = pending.map(|pending| {
            pending.postponed_bytes -= bytes.len() as u32;
            receive(pending, bytes, self.logic.counters())
        });
        self.pending_advanced(id, next);
    }

    /// A turn has no time for bytes of a pending connection: they count as kept until then. Returns false if it is
    /// gone.
    pub(in crate::shard) fn pending_postponed(&mut self, id: PendingId, bytes: usize) -> bool {
        if let Some(pending) = self.pending.get(id) {
            pending.postponed_bytes += bytes as u32;
            self.bound_pending(id);
        }
        self.pending.get(id).is_some()
    }

    fn pending_advanced(&mut self, id: PendingId, next: Option<Next>) {
        if let Some(next) = next {
            self.bound_pending(id);
            self.advance_pending(id, next);
        }
    }

    /// Counts the bytes that a pending connection keeps now, and closes connections that exceed the bound.
    fn bound_pending(&mut self, id: PendingId) {
        for excess in self.pending.count_bytes(self.now, id) {
            self.close_pending(excess, Ended::For(TOO_MUCH_PENDING));
        }
    }

    /// Carries out the next step of a pending connection.
    fn advance_pending(&mut self, id: PendingId, next: Next) {
        match next {
            Next::Receive => self.receive_pending(id),
            Next::Identify | Next::FinishExchange(_) if self.shut_down.has_begun() => {
                self.answer_without_session(id)
            }
            Next::Identify => self.identify(id),
            Next::FinishExchange(bytes) => self.finish_exchange(id, bytes),
            Next::Refuse(refusal) => self.transfer(id, Verdict::Failed(refusal), None),
            Next::AnswerMalformed => self.answer_without_session(id),
            Next::Serve(page, folder) => self.serve_page(id, page, folder),
            Next::Close(why) => self.close_pending(id, Ended::For(why)),
            Next::CloseFailed(why) => self.close_pending(id, Ended::Failed(&why)),
            Next::CloseLogged => self.close_pending(id, Ended::ByBroker),
        }
    }

    /// Identifies the client; continues at once if the result is known at once.
    fn identify(&mut self, id: PendingId) {
        let timeout_s = self.logic.settings().connect_timeout_s;
        let accepted_at = self.pending.accepted_at(id);
        let (Some(pending), Some(accepted_at)) = (self.pending.get(id), accepted_at) else {
            // It was closed while its password was checked.
            return;
        };
        let Phase::CheckingCredentials(checked) = &mut pending.phase else {
            // Its CONNECT has been answered in the meantime, because the broker shuts down.
            return;
        };
        let connect = &checked.connect;
        if pending.listener == ListenerId::BRIDGES {
            // The broker itself says who it is.
            let verdict = match connect.user_name {
                Some(_) => Verdict::Proved,
                None => Verdict::Unproved,
            };
            return self.transfer(id, verdict, None);
        }
        if connect.authentication.is_some() {
            let next = pending.begin_exchange(&self.access.authentication);
            pending.show_challenge(&self.connections.tracer);
            return self.advance_pending(id, next);
        }
        if self.logic.settings().listener(pending.listener).scram_required {
            // The logic refuses it regardless of its password, which is not checked.
            return self.transfer(id, Verdict::Unproved, None);
        }
        let credentials = Credentials {
            listener: pending.listener,
            address: pending.address.machine(),
            client_identifier: connect.client_identifier.as_ref(),
            user_name: connect.user_name.as_deref(),
            password: connect.password.as_deref(),
            deadline: accepted_at.plus_s(u64::from(timeout_s)),
        };
        let shard = self.exchange.shard();
        let check = self
            .access
            .authentication
            .check(self.now, &credentials, shard, ticket(id));
        match check {
            Check::Decided(verdict) => self.transfer(id, verdict, None),
            Check::Pending(awaited) => {
                checked.check = Some(awaited);
                self.pending.is_checked(self.now, id);
            }
        }
    }

    fn finish_exchange(&mut self, id: PendingId, auth_bytes: usize) {
        let Some(pending) = self.pending.get(id) else {
            // The caller has just read from it.
            return;
        };
        pending.show_answer(&self.connections.tracer, auth_bytes);
        match pending.finish_exchange(self.now, &self.access.authentication, auth_bytes) {
            Ok(authenticated) => self.transfer(id, Verdict::Proved, Some(Box::new(authenticated))),
            Err(refusal) => self.transfer(id, Verdict::Failed(refusal), None),
        }
    }

    /// Takes the answers of the password checks, within the turn's budget; returns whether there may be more.
    pub(in crate::shard) fn take_answers(&mut self) -> bool {
        let shard = self.exchange.shard();
        while !self.logic.work().turn_is_over() {
            let Some(answer) = self.access.authentication.next_answer(shard) else {
                // There is no new answer.
                return false;
            };
            let id = id_of(answer.ticket);
            match answer.verdict {
                Some(verdict) => self.transfer(id, verdict, None),
                // The rules have changed since the check began.
                None => self.identify(id),
            }
            self.charge_time();
        }
        true
    }

    /// The logic answers here, without a session: the CONNECT is malformed, or the broker shuts down.
    pub(in crate::shard) fn answer_without_session(&mut self, id: PendingId) {
        if let Some(transfer) = self.take_transfer(id, Verdict::Unproved, None) {
            self.adopt(transfer);
        }
    }

    /// Sends the connection to the shard that owns the session of its client identifier.
    fn transfer(&mut self, id: PendingId, verdict: Verdict, authenticated: Option<Box<Authenticated>>) {
        if self.shut_down.has_begun() {
            return self.answer_without_session(id);
        }
        let Some(mut transfer) = self.take_transfer(id, verdict, authenticated) else {
            // It was closed while its password was checked.
            return;
        };
        let Some(owner) = self.find_owner(&mut transfer) else {
            // There are no random bytes; `find_owner` has logged it.
            return;
        };
        if owner == self.exchange.shard() {
            self.admit(Box::new(transfer));
        } else {
            self.exchange.send_connection(owner, transfer);
        }
    }

    fn take_transfer(
        &mut self,
        id: PendingId,
        verdict: Verdict,
        authenticated: Option<Box<Authenticated>>,
    ) -> Option<ConnectionTransfer> {
        self.pending.remove(id)?.into_transfer(verdict, authenticated)
    }

    /// The owner of the session; a client without an identifier is assigned one.
    fn find_owner(&self, transfer: &mut ConnectionTransfer) -> Option<u16> {
        let ConnectionTransfer { peer, connect, .. } = transfer;
        let Ok(connect) = connect else {
            return Some(self.exchange.shard());
        };
        let settings = self.logic.settings().listener(peer.listener);
        // The logic uses the same identifier, and refuses clients without one.
        let client_identifier = peer.session_name(connect, settings);
        let shards = self.exchange.shards();
        if !client_identifier.is_empty() {
            return Some(owner_shard(client_identifier, shards));
        }
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::error!("the operating system provides no random bytes for a client identifier: {error}");
            return None;
        }
        let assigned = assigned_client_identifier(&settings.assigned_client_identifier_prefix, random);
        let owner = owner_shard(&assigned, shards);
        peer.assigned_client_identifier = Some(assigned);
        Some(owner)
    }

    /// Passes a connection to the threads that serve pages.
    fn serve_page(&mut self, id: PendingId, page: Page, folder: Arc<Path>) {
        let pending = self.pending.remove(id);
        let request = pending.map(|pending| pending.into_page_request(page, folder));
        if request.is_some_and(|request| !self.pages.serve(request)) {
            tracing::info!("A request for a page was not answered: too many are waiting.");
        }
    }
}

/// Passes bytes to a pending connection, and counts how its TLS handshake ends.
fn receive(pending: &mut PendingConnection, wire: &[u8], counters: &ShardCounters) -> Next {
    let was_securing = pending.stream.is_securing();
    let next = pending.receive(wire);
    if was_securing && let Some(handshake) = pending.handshake(&next) {
        counters.handshakes.add(handshake, 1);
        pending.is_handshake_counted = true;
    }
    next
}

/// A client identifier that cannot be guessed, in mosquitto's format: `auto-` and a UUID.
fn assigned_client_identifier(prefix: &str, random: [u8; 16]) -> Box<str> {
    let hex = format!("{:032X}", u128::from_be_bytes(random));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    format!("{prefix}{}", groups.join("-")).into()
}

/// The ticket for the answer of a password check.
fn ticket(id: PendingId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

fn id_of(ticket: u64) -> PendingId {
    PendingId {
        slot: ticket as u32,
        generation: (ticket >> 32) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_name_pending_connections() {
        for (slot, generation) in [(0, 0), (7, 3), (u32::MAX, u32::MAX)] {
            let id = PendingId { slot, generation };
            assert_eq!(id_of(ticket(id)), id);
        }
    }
}
