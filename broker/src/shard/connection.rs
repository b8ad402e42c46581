//! Operations of a shard on its connections: adopting, reading, losing and closing them.
//!
//! Invariant: bytes that came before the end of a stream are handled before the connection is lost.

use std::io;
use std::os::fd::AsFd;

use mqtt::ReasonCode;
use transport::ring::ReceiveBuffer;
use transport::socket;

use super::ShardLoop;
use super::client_connections::ClientConnection;
use super::token::Subject;
use super::transfer::ConnectionTransfer;
use super::unread::{Drain, LostCause};
use crate::auth::Verdict;
use crate::bans::{BanSubject, BanTerms, now_s};
use crate::limits;
use crate::log::CONNECTION;
use crate::logic::operator::Question;
use crate::logic::{ConnectRequest, ConnectionId, Peer};
use crate::settings::Flapping;

impl ShardLoop {
    /// Adopts a connection that this shard owns or has to answer.
    pub(super) fn adopt(&mut self, transfer: ConnectionTransfer) -> ConnectionId {
        let is_logged = tracing::enabled!(target: CONNECTION, tracing::Level::INFO);
        let description = is_logged.then(|| transfer.description()).flatten();
        let ConnectionTransfer {
            socket,
            stream,
            admission,
            mut peer,
            connect,
            unread,
            shown: before,
        } = transfer;
        if self.access.bans.are_any()
            && let Ok(connect) = &connect
        {
            self.refuse_banned(&mut peer, connect);
        }
        let address = peer.address;
        let tracer = &mut self.connections.tracer;
        let shown = connect.as_ref().ok().filter(|_| tracer.is_on());
        let shown = shown.map(|connect| tracer.show_connect(address, connect, &peer, before));
        let id = self.logic.open(self.now, peer, connect.as_deref());
        if let Some(shown) = shown {
            tracer.opened(&self.logic, id, shown);
        }
        let connection = ClientConnection::new(id, socket, stream, address, admission);
        self.connections.insert(id, connection);
        if !unread.is_empty() {
            self.connections
                .pass_to_logic(&mut self.logic, self.now, id, &unread);
        }
        if !self.logic.clients().closing(id) {
            self.count_connect(id);
            self.receive_again(id);
        }
        if let (Some(description), Some(client)) = (description, self.logic.clients().client_identifier(id)) {
            tracing::info!(target: CONNECTION, "New client connected from {address} as {client} ({description}).");
        }
        id
    }

    /// Refuses a client that is banned. What its session is called, and its user, are known here, and those who are
    /// banned while it is on its way to this shard are too.
    #[cold]
    fn refuse_banned(&self, peer: &mut Peer, connect: &ConnectRequest) {
        let listener = self.logic.settings().listener(peer.listener);
        let client = peer.session_name(connect, listener);
        if self
            .access
            .bans
            .has(client, peer.user(connect), peer.address.ip())
        {
            peer.verdict = Verdict::Refused(ReasonCode::Banned);
        }
    }

    /// A client was let in: if it comes and goes too often it is banned.
    fn count_connect(&mut self, id: ConnectionId) {
        let Some(rule) = self.logic.settings().flapping else {
            // Clients may come and go.
            return;
        };
        let Some(client) = self.logic.clients().client_identifier(id).map(str::to_owned) else {
            // Its CONNECT was refused.
            return;
        };
        if !self.access.flapping.connected(self.now, rule, &client) {
            return;
        }
        let Flapping {
            connects_max,
            window_s,
            ban_s,
        } = rule;
        let terms = BanTerms {
            until_s: Some(now_s().saturating_add(u64::from(ban_s))),
            reason: format!("connected more than {connects_max} times in {window_s} s"),
            is_automatic: true,
        };
        let banned = self
            .access
            .bans
            .ban_until_restart(BanSubject::Client(client.clone()), terms);
        match banned {
            Ok(()) => tracing::warn!(
                "Client {client} is banned for {ban_s} s: it has connected more than {connects_max} times in \
                 {window_s} s (flapping_connects)."
            ),
            Err(error) => tracing::warn!("Client {client} comes and goes, and is not banned: {error}."),
        }
        self.logic.counters().flapping_bans.add(1);
        let question = Question::Disconnect {
            client: client.into(),
            reason: ReasonCode::AdministrativeAction,
            operator: "flapping_connects".into(),
        };
        let _done = self.logic.operate(self.now, &question);
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
            // The end of a session is not charged to the connection whose bytes come next.
            self.charge_time();
        }
    }

    /// Passes the bytes of a buffer to the logic; returns why the connection is over, if it is.
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
        // Records without content do not show that the client is alive.
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

    /// A receive ended without ending the connection: receives again, unless the logic does not want it.
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

    /// Stops reading from publishers whose messages find no room, and resumes when there is room.
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

    /// The socket failed. Bytes that had come before are handled.
    pub(super) fn fail(&mut self, id: ConnectionId, error: &io::Error) {
        tracing::debug!("Connection {id:?}: {error}");
        self.end_behind_unread(id, LostCause::Error);
    }

    /// Loses a connection: at once, or when the bytes that had come before are handled.
    fn end_behind_unread(&mut self, id: ConnectionId, cause: LostCause) {
        match self.connections.get(id) {
            Some(connection) if connection.unread.waits() => self.connections.end_of_stream(id, cause),
            _ => self.lose(id, cause),
        }
    }

    /// Loses the connections whose clients ended the stream, after a flush has offered their answers to the socket,
    /// and those that broke in the flush.
    pub(super) fn end_closed(&mut self) {
        let work = self.logic.settings().work;
        self.begin_budget(work.walk);
        for _ in 0..self.connections.ended.len() {
            if self.logic.work().turn_is_over() {
                return;
            }
            let Some((id, cause)) = self.connections.ended.pop_front() else {
                // The loop runs once for each of them.
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

    /// Ends a connection that the logic has finished with.
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
