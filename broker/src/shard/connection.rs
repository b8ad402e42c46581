//! The shell's part of a connection: socket, TLS, and requests in flight. The logic knows it by the same id.
//!
//! Invariant: a connection that is closed has no state here; what was in flight for it is dropped as it completes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use transport::ring::ReceiveBuffer;
use transport::socket::{self, Socket};
use transport::stream::SecureStream;

use super::ShardLoop;
use super::flush::FlushTurn;
use super::scarcity::Scarcity;
use super::sending::Sending;
use super::token::{Subject, same_generation};
use super::tracer::Tracer;
use super::transfer::ConnectionTransfer;
use super::unread::{Drain, LostCause, Unread};
use super::work_clock::WorkClock;
use crate::admission::Admission;
use crate::limits;
use crate::log::CONNECTION;
use crate::logic::ConnectionId;
use crate::time::Timestamp;

/// The shell's half of a connection.
pub(super) struct ClientConnection {
    pub(super) generation: u32,
    pub(super) socket: Socket,
    pub(super) stream: SecureStream,
    /// The client's, for the log: the socket does not have it any more when the client has gone.
    pub(super) address: SocketAddr,
    _admission: Admission,
    /// Records that TLS itself wants sent (a key update, an alert), before anything newer.
    pub(super) records: Vec<u8>,
    /// What is to be sent before anything newer.
    pub(super) sending: Sending,
    /// Whether a receive is in flight.
    pub(super) receiving: bool,
    /// Bytes that were received and not handled.
    pub(super) unread: Unread,
    /// It will be closed when everything is sent.
    pub(super) closing: bool,
    /// Whether it waits for a later flush.
    pub(super) flush_turn: FlushTurn,
}

/// All connections of a shard, in the logic's slots.
#[derive(Default)]
pub(super) struct ClientConnections {
    slots: Vec<Option<Box<ClientConnection>>>,
    count: usize,
    /// Connections that are to be closed but have bytes to send, in the order of their deadlines.
    lingering: VecDeque<(Timestamp, ConnectionId)>,
    /// To be flushed for the shell's own reasons, beside those that the logic names.
    pub(super) unflushed: Vec<ConnectionId>,
    /// Those that a later flush goes on with: the time was over, or they have the rest of a long output.
    pub(super) delayed: VecDeque<ConnectionId>,
    /// How many have ever been put there.
    pub(super) delayed_ever: u64,
    /// How many parts of flushes have begun.
    pub(super) flush_parts: u64,
    /// Ended by themselves, to be lost after the flush.
    pub(super) ended: VecDeque<(ConnectionId, LostCause)>,
    /// Connections whose bytes, or whose packet, go on in their turn.
    pub(super) waiting: VecDeque<ConnectionId>,
    /// So many at the end of [`Self::waiting`] may still be received for.
    pub(super) newly_waiting: usize,
    /// Connections of which the kernel's bytes were read in this turn, to be handled in the next one.
    pub(super) read_ahead: Vec<ConnectionId>,
    /// Bytes that were received and not handled, of all connections.
    pub(super) unread_bytes: usize,
    /// Bytes that were handled in the present turn.
    pub(super) turn_bytes: usize,
    /// The turn that `turn_bytes` belongs to.
    pub(super) turn: u64,
    /// Plain bytes out of a TLS stream, reused.
    plain: Vec<u8>,
    /// The logic's list of connections to flush, reused.
    pub(super) dirty: Vec<ConnectionId>,
    /// What shows packets in the log.
    pub(super) tracer: Tracer,
    pub(super) work_clock: WorkClock,
    pub(super) scarcity: Scarcity,
}

impl ClientConnections {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether connections wait for the next flush, or to be lost after it, or to be read on.
    pub(super) fn has_unfinished(&self) -> bool {
        !self.unflushed.is_empty()
            || !self.delayed.is_empty()
            || !self.ended.is_empty()
            || self.has_waiting()
            || !self.read_ahead.is_empty()
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut ClientConnection> {
        let connection = self.slots.get_mut(id.slot.to_u32() as usize)?.as_mut()?;
        same_generation(connection.generation, id.generation).then_some(connection)
    }

    fn insert(&mut self, id: ConnectionId, connection: ClientConnection) {
        let slot = id.slot.to_u32() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            self.count += usize::from(place.is_none());
            *place = Some(Box::new(connection));
        }
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Box<ClientConnection>> {
        let unread_bytes = self.get(id)?.unread.len();
        self.tracer.forget(id);
        self.unread_bytes -= unread_bytes;
        self.count -= 1;
        self.slots.get_mut(id.slot.to_u32() as usize)?.take()
    }

    /// Frees the memory that is kept for use again, where it is much beside what is used.
    pub(super) fn drop_spare(&mut self) {
        self.plain = Vec::new();
        let used = self.slots.iter().rposition(Option::is_some);
        self.slots.truncate(used.map_or(0, |last| last + 1));
        if self.slots.capacity() > 2 * self.slots.len() {
            self.slots.shrink_to_fit();
        }
    }

    pub(super) fn linger(&mut self, until: Timestamp, id: ConnectionId) {
        self.lingering.push_back((until, id));
    }

    /// The next connection that had its time to take its last bytes.
    pub(super) fn expired(&mut self, now: Timestamp) -> Option<ConnectionId> {
        while let Some((until, id)) = self.lingering.front().copied() {
            if until > now && self.get(id).is_some() {
                return None;
            }
            self.lingering.pop_front();
            if self.get(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.lingering.front().map(|(until, _)| *until)
    }
}

impl ClientConnection {
    /// Ends the stream in order (RFC 8446, 6.1), behind an alert if there is one. What does not fit is not worth
    /// waiting for.
    fn end_stream(&mut self) {
        if !self.sending.is_idle() || self.stream.is_plain() {
            return;
        }
        let mut end = std::mem::take(&mut self.records);
        self.stream.close(&mut end);
        if !end.is_empty() {
            let _ = socket::send_now(self.socket.as_fd(), &end);
        }
    }
}

impl ShardLoop {
    /// Takes a connection that this shard owns, or has to answer.
    pub(super) fn adopt(&mut self, transfer: ConnectionTransfer) -> ConnectionId {
        let is_logged = tracing::enabled!(target: CONNECTION, tracing::Level::INFO);
        let description = is_logged.then(|| transfer.description()).flatten();
        let ConnectionTransfer {
            socket,
            stream,
            admission,
            peer,
            connect,
            unread,
            shown: before,
        } = transfer;
        let address = peer.address;
        let tracer = &mut self.connections.tracer;
        let shown = connect.as_ref().ok().filter(|_| tracer.is_on());
        let shown = shown.map(|connect| tracer.show_connect(address, connect, &peer, before));
        let id = self.logic.open(self.now, peer, connect.as_deref());
        if let Some(shown) = shown {
            tracer.opened(&self.logic, id, shown);
        }
        let connection = ClientConnection {
            generation: id.generation,
            socket,
            stream,
            address,
            _admission: admission,
            records: Vec::new(),
            sending: Sending::default(),
            receiving: false,
            unread: Unread::default(),
            closing: false,
            flush_turn: FlushTurn::default(),
        };
        self.connections.insert(id, connection);
        if !unread.is_empty() {
            self.connections
                .pass_to_logic(&mut self.logic, self.now, id, &unread);
        }
        if !self.logic.clients().closing(id) {
            self.receive_again(id);
        }
        if let (Some(description), Some(client)) = (description, self.logic.clients().client_identifier(id)) {
            tracing::info!(target: CONNECTION, "New client connected from {address} as {client} ({description}).");
        }
        id
    }

    pub(super) fn connection_received(&mut self, id: ConnectionId, buffer: ReceiveBuffer, more: bool) {
        let ended = match self.connections.get(id) {
            Some(connection) if !connection.closing => {
                connection.receiving = more;
                let begun = self.begin_work();
                let ended = self.read(id, &buffer);
                self.end_work(id, begun);
                ended
            }
            _ => None,
        };
        self.ring.recycle(buffer);
        match ended {
            Some(cause @ LostCause::EndOfStream) => self.connections.end_of_stream(id, cause),
            Some(cause @ LostCause::Error) => self.end_behind_unread(id, cause),
            Some(cause @ LostCause::Timeout) => self.lose(id, cause),
            None if !more => self.receive_again(id),
            None => {}
        }
        if ended.is_some() {
            // The end of a session is no work of whose bytes come next.
            self.charge_time();
        }
    }

    /// Hands the bytes of a buffer to the logic; returns why the connection is over, if it is.
    fn read(&mut self, id: ConnectionId, buffer: &ReceiveBuffer) -> Option<LostCause> {
        let wire = self.ring.bytes(buffer);
        if self.connections.get(id)?.stream.is_plain() {
            self.connections
                .handle_or_keep(&mut self.logic, self.now, id, wire);
            return None;
        }
        let mut plain = std::mem::take(&mut self.connections.plain);
        let connection = self.connections.get(id)?;
        plain.clear();
        let mut answer = Vec::new();
        let opened = connection.stream.open(wire, &mut plain, &mut answer);
        // Records without content are no sign of life of the client.
        if plain.is_empty() {
            self.connections.charge_to(&mut self.logic, id);
        } else {
            self.connections
                .handle_or_keep(&mut self.logic, self.now, id, &plain);
        }
        let connection = self.connections.get(id)?;
        let answers = !answer.is_empty();
        connection.records.append(&mut answer);
        let records_bytes = connection.records.len();
        self.connections.plain = plain;
        if answers {
            self.connections.unflushed.push(id);
        }
        match opened {
            Ok(opened) if opened.peer_closed => Some(LostCause::EndOfStream),
            Ok(_) if records_bytes > limits::RECORDS_BYTES_MAX => Some(LostCause::Timeout),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!("Connection {id:?}: {error}");
                Some(LostCause::Error)
            }
        }
    }

    /// A receive ended without ending the connection: goes on, unless the logic does not want it.
    pub(super) fn receive_again(&mut self, id: ConnectionId) {
        let rest = self.connections.get(id).map(|it| it.unread.drain);
        if rest.is_some_and(|rest| rest != Drain::NotRequested) {
            return self.read_remaining(id);
        }
        let paused = self.logic.clients().receive_paused(id);
        let Some(connection) = self.connections.get(id) else {
            // It was closed while its receive ended.
            return;
        };
        connection.receiving = !connection.closing && !paused && !connection.unread.waits();
        connection.unread.is_cancelled = false;
        if connection.receiving {
            self.start_receive(id);
        }
    }

    /// Stops reading from publishers whose messages find no room, and goes on when there is some.
    pub(super) fn change_receiving(&mut self) {
        for (id, paused) in self.logic.flow_mut().take_receive_changes() {
            let unfinished = self.logic.clients().is_unfinished(id);
            match self.connections.get(id) {
                Some(connection) if connection.receiving && paused => {
                    self.ring.cancel(Subject::Connection(id).token());
                }
                Some(connection) if !paused && (unfinished || connection.unread.len() > 0) => {
                    self.connections.wait_for_turn(id);
                }
                Some(_) if !paused => self.resume_receiving(id),
                _ => {}
            }
        }
    }

    /// Receives again, unless a receive is still in flight: if that is being cancelled, its end comes here again.
    pub(super) fn resume_receiving(&mut self, id: ConnectionId) {
        let receiving = self.connections.get(id).is_some_and(|it| it.receiving);
        if !receiving {
            self.receive_again(id);
        }
    }

    /// The socket failed. What had come before is handled.
    pub(super) fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        tracing::debug!("Connection {id:?}: {error}");
        self.end_behind_unread(id, LostCause::Error);
    }

    /// Loses a connection: at once, or when what had come before is handled.
    fn end_behind_unread(&mut self, id: ConnectionId, cause: LostCause) {
        match self.connections.get(id) {
            Some(connection) if connection.unread.waits() => self.connections.end_of_stream(id, cause),
            _ => self.lose(id, cause),
        }
    }

    /// Loses the connections whose clients ended the stream, once a flush has offered their answers to the socket, and
    /// those that broke in the flush.
    pub(super) fn end_closed(&mut self) {
        let work = self.logic.settings().work;
        self.begin_budget(work.walk);
        for _ in 0..self.connections.ended.len() {
            if self.logic.work().turn_is_over() {
                return;
            }
            let Some((id, cause)) = self.connections.ended.pop_front() else {
                // The loop goes over as many as there were.
                return;
            };
            if cause == LostCause::EndOfStream && self.connections.is_flush_delayed(id) {
                self.connections.ended.push_back((id, cause));
                continue;
            }
            self.lose(id, cause);
            self.charge_time();
        }
    }

    /// The network connection is lost: the logic decides what happens to its session.
    pub(super) fn lose(&mut self, id: ConnectionId, cause: LostCause) {
        self.connections.show_end(&self.logic, id, cause.text());
        if let Some(mut connection) = self.connections.remove(id) {
            connection.end_stream();
            if let Some(client) = self.logic.clients().client_identifier(id) {
                let address = connection.address;
                tracing::info!(target: CONNECTION, "Client {client} ({address}) {}.", cause.text());
            }
            socket::shut_down(connection.socket.as_fd());
            self.logic.lost_by(self.now, id, cause.counted());
        }
    }

    /// Ends a connection that the logic is done with.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let why = self.logic.clients().why_closing(id).unwrap_or("disconnected");
        self.connections.show_end(&self.logic, id, why);
        if let Some(mut connection) = self.connections.remove(id) {
            connection.end_stream();
            let address = connection.address;
            // Another connection may have the same client identifier by now: the address distinguishes them.
            match self.logic.clients().client_identifier(id) {
                Some(client) => {
                    tracing::info!(target: CONNECTION, "Client {client} ({address}) closed: {why}.");
                }
                None => tracing::info!(target: CONNECTION, "Client {address} closed: {why}."),
            }
            socket::shut_down(connection.socket.as_fd());
            self.logic.lost(self.now, id);
        }
    }
}
