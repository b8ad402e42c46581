//! Pending connections that fail: they are counted, recorded for operators and closed.
//!
//! Invariants: each one that ends without a CONNECT is recorded once, with its address and the reason; the number of
//! records and of log lines is bounded.

use super::{DOES_NOT_READ, PendingConnection, Phase};
use crate::client_address::ClientAddress;
use crate::logic::{ClientEvent, Handshake};
use crate::shard::ShardLoop;
use crate::shard::token::PendingId;
use crate::time::Timestamp;

/// A client that the listener refuses.
#[derive(Clone, Debug)]
pub(super) struct RefusedAtAccept {
    pub(super) address: ClientAddress,
    /// The reason, as in lists.
    pub(super) reason: &'static str,
    /// Details of the reason.
    pub(super) detail: String,
}

impl RefusedAtAccept {
    pub(super) fn new(address: ClientAddress, reason: &'static str, detail: String) -> Self {
        Self {
            address,
            reason,
            detail,
        }
    }

    /// Somebody whose address is banned.
    pub(super) fn banned(address: ClientAddress) -> Self {
        tracing::info!("Client connection from {address} denied: its address is banned.");
        let why = "its address is banned: `broker ctl bans` has the bans";
        Self::new(address, "banned", why.to_owned())
    }
}

/// Why a pending connection ends.
#[derive(Clone, Copy)]
pub(super) enum Ended<'a> {
    /// For this reason, which is to be logged.
    For(&'static str),
    /// Its stream cannot continue; this is logged already.
    Failed(&'a str),
    /// The broker cannot continue with it; this is logged already.
    ByBroker,
}

impl ShardLoop {
    /// Closes a pending connection, and records the reason.
    pub(super) fn close_pending(&mut self, id: PendingId, ended: Ended<'_>) {
        let Some(pending) = self.pending.remove(id) else {
            // It was closed already, for another reason.
            return;
        };
        self.count_without_connect(&pending);
        let (reason, detail) = match ended {
            Ended::For(DOES_NOT_READ) => ("does_not_read", None),
            Ended::For(TOO_MUCH_PENDING) => ("pending_memory", None),
            Ended::For(why) => (pending.label(), Some(why)),
            Ended::Failed(why) => (pending.label(), Some(why)),
            Ended::ByBroker => ("broker_error", None),
        };
        let events = &self.logic.counters().events;
        events.add(pending.refusal(self.now, reason, detail));
        if let Some(shown) = pending.shown() {
            shown.refused(detail.unwrap_or(reason));
        }
        match ended {
            Ended::For(DOES_NOT_READ) => {
                if let Some(others) = self.pending.not_reading_logged.due(self.now) {
                    let address = pending.address;
                    tracing::info!(
                        "Client {address} refused: {DOES_NOT_READ}; {others} others since this was last logged."
                    );
                }
            }
            Ended::For(why) => tracing::info!("Client {} refused: {why}.", pending.address),
            Ended::Failed(_) | Ended::ByBroker => {}
        }
        pending.close();
    }

    /// Closes connections whose clients disconnected during the password check, within the turn's budget.
    pub(in crate::shard) fn close_abandoned(&mut self) {
        while !self.logic.work().turn_is_over()
            && let Some(looked_at) = self.pending.look_at_checked(self.now)
        {
            if let Some(id) = looked_at {
                self.close_pending(id, Ended::For("it closed while its password was checked"));
            }
            self.charge_time();
        }
    }

    /// Counts a pending connection that ends without a CONNECT.
    pub(in crate::shard) fn count_without_connect(&self, pending: &PendingConnection) {
        let counters = self.logic.counters();
        counters.connections_without_connect.add(1);
        if pending.stream.is_securing() && !pending.is_handshake_counted {
            counters.handshakes.add(Handshake::Unfinished, 1);
        }
    }

    /// The time of a pending connection is over.
    pub(in crate::shard) fn end_expired(&self, pending: PendingConnection) {
        self.count_without_connect(&pending);
        let event = pending.refusal(self.now, "connect_timeout", Some(pending.missing()));
        self.logic.counters().events.add(event);
        if let Some(shown) = pending.shown() {
            shown.refused(&format!("{} in time", pending.missing()));
        }
        pending.close();
    }
}

impl PendingConnection {
    /// Its refusal, for the lists of operators.
    fn refusal(&self, at: Timestamp, reason: &'static str, detail: Option<&str>) -> ClientEvent {
        ClientEvent::refused(at, reason, "", Some(self.address.machine()), detail)
    }

    /// The name of the phase in which it fails.
    fn label(&self) -> &'static str {
        match &self.phase {
            // The first bytes, on a listener without TLS.
            Phase::TlsHandshake if self.stream.is_plain() => self.after_handshake().label(),
            phase => phase.label(),
        }
    }
}

impl Phase {
    /// The name of the phase in which a connection fails, in the lists of operators.
    fn label(&self) -> &'static str {
        match self {
            Phase::ProxyHeader(_) => "proxy_header",
            Phase::TlsHandshake => "tls_handshake",
            Phase::Upgrade => "websocket_upgrade",
            Phase::Connect => "no_connect",
            Phase::Malformed(_) => "malformed_connect",
            Phase::CheckingCredentials(..) => "password_check",
            Phase::Challenged(_) => "auth_exchange",
        }
    }
}

pub(super) const TOO_MUCH_PENDING: &str = "incomplete CONNECTs keep too much memory, and this one the most \
    for its age";
