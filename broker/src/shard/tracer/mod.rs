//! Shows packets in the log: all of them with `log_type debug`, and those of traced clients ([`crate::traces`]).
//!
//! The packets are parsed a second time, between the connection and the logic, so that the logic has no work with it.
//! `line.rs` has the text of a packet.
//!
//! Invariants: while no packet is shown, a read or a flush costs the check of a flag. A packet is shown once, before
//! the logic handles it, however the reads split it. Of an incomplete packet [`limits::PACKET_SHOWN_BYTES_MAX`] bytes
//! are kept. No payload, password or data of AUTH is shown.

mod line;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mqtt::{ProtocolVersion, ReasonCode};

pub(super) use self::line::described;
use self::line::{Direction, Shown};
use crate::client_address::ClientAddress;
use crate::limits;
use crate::log::PACKET;
use crate::logic::{ConnectRequest, ConnectionId, Peer, Shard, TracedClient};
use crate::traces::{Trace, Traces};

/// Which packets of a shard's connections are shown.
#[derive(Default)]
pub(super) struct Tracer {
    /// `log_type debug`: all packets.
    shows_all: bool,
    traces: Vec<Arc<Trace>>,
    /// The number of changes of the traces when they were last taken.
    changes: u64,
    connections: HashMap<ConnectionId, Incoming>,
}

/// An incomplete packet of a connection.
#[derive(Default)]
struct Incoming {
    /// The first bytes of the packet, as far as they have arrived.
    head: Vec<u8>,
    /// The number of bytes of a shown packet that are still expected.
    rest_bytes: usize,
    /// The number of bytes that were shown but not taken by the logic: they come again.
    shown_bytes: usize,
    /// The traces that it belongs to.
    traces: Vec<Arc<Trace>>,
}

/// A CONNECT that was shown, and where.
pub(super) struct ShownConnect {
    client: String,
    address: ClientAddress,
    traces: Vec<Arc<Trace>>,
}

impl Tracer {
    /// Begins a turn: the log and the traces may have changed.
    pub(super) fn begin_turn(&mut self, traces: &Traces) {
        self.shows_all = tracing::enabled!(target: PACKET, tracing::Level::DEBUG);
        if traces.changes() != self.changes {
            self.changes = traces.changes();
            self.traces = traces.all();
            // Which traces they belong to is found out when they send or get something.
            self.connections = HashMap::new();
        }
        if !self.is_on() && !self.connections.is_empty() {
            self.connections = HashMap::new();
        }
    }

    /// Whether packets of a connection may be shown.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.shows_all || !self.traces.is_empty()
    }

    /// Whether there are traces.
    pub(super) fn has_traces(&self) -> bool {
        !self.traces.is_empty()
    }

    /// The traces that are active.
    #[inline]
    pub(super) fn traces(&self) -> &[Arc<Trace>] {
        &self.traces
    }

    /// Shows a CONNECT, whatever its result, where it was not shown before.
    #[cold]
    pub(super) fn show_connect(
        &self,
        address: ClientAddress,
        connect: &ConnectRequest,
        peer: &Peer,
        before: Option<ShownConnect>,
    ) -> ShownConnect {
        self.show_connect_of(address, connect, peer.user(connect), before)
    }

    /// Shows a CONNECT that is answered by AUTH, and that AUTH.
    #[cold]
    pub(super) fn show_challenge(&self, address: ClientAddress, connect: &ConnectRequest) -> ShownConnect {
        let shown = self.show_connect_of(address, connect, connect.user_name.as_deref(), None);
        let authentication = connect.authentication.as_deref();
        let method = authentication.map(|asked| &*asked.method).unwrap_or_default();
        let text = line::exchange(ReasonCode::ContinueAuthentication, method);
        self.show(
            shown.traces.iter(),
            format_args!("Sending AUTH to {}{text}", shown.client),
        );
        shown
    }

    fn show_connect_of(
        &self,
        address: ClientAddress,
        connect: &ConnectRequest,
        user: Option<&str>,
        before: Option<ShownConnect>,
    ) -> ShownConnect {
        let client = &connect.client_identifier;
        let text = format!(
            "Received CONNECT from {client} at {address} ({})",
            described(connect, user)
        );
        let is_logged = before.is_none();
        let mut traces = before.map(|before| before.traces).unwrap_or_default();
        for trace in &self.traces {
            let is_new = !traces.iter().any(|other| other.number == trace.number);
            if is_new && trace.is_of(client, user, address.machine()) {
                trace.show(format_args!("{text}"));
                traces.push(Arc::clone(trace));
            }
        }
        if is_logged && self.shows_all {
            tracing::debug!(target: PACKET, "{text}");
        }
        ShownConnect {
            client: client.to_string(),
            address,
            traces,
        }
    }

    /// Shows the packet with which a client answers a challenge.
    #[cold]
    pub(super) fn show_answer(&self, shown: &ShownConnect, packet: &[u8]) {
        let client = &shown.client;
        Incoming::default().take(packet, &mut |packet| {
            let (kind, text) = (
                packet.kind(),
                packet.text(ProtocolVersion::V5, Direction::Received),
            );
            self.show(
                shown.traces.iter(),
                format_args!("Received {kind} from {client}{text}"),
            );
        });
    }

    /// The logic has taken a CONNECT. One that it refused has no session by which its traces would be found.
    #[cold]
    pub(super) fn opened(&mut self, logic: &Shard, id: ConnectionId, shown: ShownConnect) {
        let Some(why) = logic
            .clients()
            .why_closing(id)
            .filter(|_| !shown.traces.is_empty())
        else {
            // It was accepted, or is not traced.
            return;
        };
        shown.refused(why);
        let incoming = Incoming {
            traces: shown.traces,
            ..Incoming::default()
        };
        self.connections.insert(id, incoming);
    }

    /// Shows that a connection is over, and why.
    pub(super) fn ended(&self, logic: &Shard, id: ConnectionId, address: ClientAddress, why: &str) {
        if let Some((client, user)) = logic.clients().client_and_user(id) {
            let known = self
                .connections
                .get(&id)
                .map(|incoming| incoming.traces.as_slice());
            let is_of = |trace: &&Arc<Trace>| match known {
                Some(traces) => traces.iter().any(|known| known.number == trace.number),
                None => trace.is_of(client, user, address.machine()),
            };
            for trace in self.traces.iter().filter(is_of) {
                trace.show(format_args!("Ended {client} at {address}: {why}"));
            }
        }
    }

    /// Shows a denied or withheld message, where it is traced.
    #[cold]
    pub(super) fn show_line(
        &mut self,
        logic: &Shard,
        id: ConnectionId,
        address: Option<ClientAddress>,
        text: &str,
    ) {
        // A client may not have sent or got anything since its trace was started.
        if let (Some(client), Some(address)) = (logic.clients().traced_client(id), address) {
            let incoming = self.take(id, &client, address);
            self.connections.insert(id, incoming);
        }
        let incoming = self.connections.get(&id);
        let traces = incoming.into_iter().flat_map(|incoming| &incoming.traces);
        traces.for_each(|trace| trace.show(format_args!("{text}")));
    }

    /// Shows the packets that end in these bytes; the logic gets them next.
    #[cold]
    pub(super) fn received(&mut self, logic: &Shard, id: ConnectionId, address: ClientAddress, bytes: &[u8]) {
        let client = logic.clients().traced_client(id);
        let Some(client) = client.filter(|_| !logic.clients().closing(id)) else {
            // It is being closed: nothing more of it is handled.
            return;
        };
        let mut incoming = self.take(id, &client, address);
        let again = incoming.shown_bytes.min(bytes.len());
        incoming.shown_bytes -= again;
        let new = bytes.get(again..).unwrap_or_default();
        let traces = std::mem::take(&mut incoming.traces);
        if self.shows_all || !traces.is_empty() {
            incoming.take(new, &mut |shown| {
                let (kind, text) = (shown.kind(), shown.text(client.version, Direction::Received));
                let name = client.client_identifier;
                self.show(traces.iter(), format_args!("Received {kind} from {name}{text}"));
            });
        }
        incoming.traces = traces;
        self.connections.insert(id, incoming);
    }

    /// The logic has not taken this many of the bytes.
    #[cold]
    pub(super) fn not_taken(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(incoming) = self.connections.get_mut(&id) {
            incoming.shown_bytes += bytes;
        }
    }

    /// Shows complete packets that are about to be sent.
    #[cold]
    pub(super) fn sent(&mut self, logic: &Shard, id: ConnectionId, address: ClientAddress, out: &[u8]) {
        if let Some(client) = logic.clients().traced_client(id) {
            let incoming = self.take(id, &client, address);
            self.connections.insert(id, incoming);
        }
        let traces = self.connections.get(&id).map(|incoming| incoming.traces.clone());
        let traces = traces.unwrap_or_default();
        if !self.shows_all && traces.is_empty() {
            return;
        }
        let name = logic.clients().client_identifier(id).map(str::to_owned);
        // As in mosquitto, a connection without a session is named by its address.
        let name = name.unwrap_or_else(|| address.to_string());
        let version = logic.clients().protocol_version(id);
        Incoming::default().take(out, &mut |shown| {
            let (kind, text) = (shown.kind(), shown.text(version, Direction::Sent));
            self.show(traces.iter(), format_args!("Sending {kind} to {name}{text}"));
        });
    }

    /// The state of a connection, created if there is none.
    fn take(&mut self, id: ConnectionId, client: &TracedClient<'_>, address: ClientAddress) -> Incoming {
        self.connections.remove(&id).unwrap_or_else(|| {
            let is_of =
                |trace: &&Arc<Trace>| trace.is_of(client.client_identifier, client.user, address.machine());
            let mut incoming = Incoming {
                traces: self.traces.iter().filter(is_of).cloned().collect(),
                ..Incoming::default()
            };
            // A packet of which a part had arrived before is shown as a whole.
            incoming.take(client.incomplete, &mut |_| {});
            incoming
        })
    }

    fn show<'a>(&self, traces: impl Iterator<Item = &'a Arc<Trace>>, text: fmt::Arguments<'_>) {
        if self.shows_all {
            tracing::debug!(target: PACKET, "{text}");
        }
        traces.for_each(|trace| trace.show(text));
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if !self.connections.is_empty() {
            self.connections.remove(&id);
        }
    }
}

impl ShownConnect {
    /// Shows that the client was refused.
    pub(super) fn refused(&self, why: &str) {
        let (client, address) = (&self.client, self.address);
        for trace in &self.traces {
            trace.show(format_args!("Refused CONNECT from {client} at {address}: {why}"));
        }
    }
}

impl Incoming {
    /// Passes each packet that ends in `bytes`, or of which enough has arrived, to `show`.
    fn take(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(Shown<'_>)) {
        loop {
            let skipped = self.rest_bytes.min(bytes.len());
            self.rest_bytes -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            let kept = self.head.len();
            let room = limits::PACKET_SHOWN_BYTES_MAX - kept.min(limits::PACKET_SHOWN_BYTES_MAX);
            let taken = room.min(bytes.len());
            self.head
                .extend_from_slice(bytes.get(..taken).unwrap_or_default());
            let Some(packet_bytes) = packet_bytes(&self.head) else {
                // All of its first bytes are there.
                return;
            };
            let shown_bytes = packet_bytes.min(limits::PACKET_SHOWN_BYTES_MAX);
            if self.head.len() < shown_bytes {
                return;
            }
            show(Shown {
                head: self.head.get(..shown_bytes).unwrap_or_default(),
                packet_bytes,
            });
            self.head.clear();
            self.rest_bytes = packet_bytes - shown_bytes;
            bytes = bytes.get(shown_bytes - kept..).unwrap_or_default();
        }
    }
}

/// The bytes of the packet that begins with `head`, once its length is known. A length of five bytes is malformed, and
/// ends the connection.
fn packet_bytes(head: &[u8]) -> Option<usize> {
    let mut body = 0;
    for (at, &byte) in head.iter().skip(1).take(4).enumerate() {
        body |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(2 + at + body);
        }
    }
    (head.len() > 4).then_some(head.len())
}

#[cfg(test)]
mod tests;
