//! Connections before their CONNACK: from accept until the client is authenticated.
//!
//! A [`PendingConnection`] goes from one [`Phase`] to the next as its bytes arrive. It only answers what its stream
//! requires; the shard does what [`Next`] says.
//!
//! The phases: `proxy.rs`, `upgrade.rs` and `auth_exchange.rs`. `identify.rs` has the shard's part, `refused.rs` ends
//! connections that fail, `table.rs` has all pending connections of a shard, `local.rs` starts those of the broker's
//! bridges.
//!
//! Invariants: only [`PendingConnection::advance`] moves from a phase to the next. At most one receive is in flight,
//! and none once the client has to be identified, so the descriptor can move to another shard. At most
//! [`crate::limits::CONNECT_BYTES_MAX`] are kept for a client that has not sent its CONNECT, and nothing is reserved
//! for bytes that are only announced. All phases together take at most
//! [`crate::settings::Settings::connect_timeout_s`] from accept.

mod auth_exchange;
mod identify;
mod local;
mod proxy;
mod refused;
mod table;
#[cfg(test)]
mod tests;
mod upgrade;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use transport::socket::{self, Socket};
use transport::stream::{Opened, SecureStream, StreamError};
use transport::tls::{self, IdentityKind};
use transport::websocket::handshake::Page;

pub use self::proxy::proxy_header_bytes;
use self::refused::RefusedAtAccept;
pub(super) use self::table::PendingConnections;
use crate::admission::{Admission, too_many};
use crate::auth::enhanced::{Authenticated, Refusal};
use crate::auth::{Awaited, Verdict};
use crate::bans::Bans;
use crate::bind::Listening;
use crate::client_address::ClientAddress;
use crate::config::ProxyProtocol;
use crate::in_effect::{InEffect, Upgrade};
use crate::logic::{ConnectRequest, FirstPacket, Handshake, MalformedConnect, Peer};
use crate::settings::ListenerId;
use crate::shard::pending::auth_exchange::ChallengedConnect;
use crate::shard::transfer::ConnectionTransfer;

/// A connection that has no CONNACK yet.
pub(super) struct PendingConnection {
    socket: Socket,
    stream: SecureStream,
    admission: Admission,
    address: ClientAddress,
    listener: ListenerId,
    phase: Phase,
    /// The part of its certificate that names the user, if it does.
    identity: Option<IdentityKind>,
    /// The user of the certificate that a load balancer has verified.
    proxied_identity: Option<Box<str>>,
    /// A WebSocket upgrade must come before CONNECT.
    upgrade: Option<Arc<Upgrade>>,
    /// Decrypted bytes that belong to no earlier phase.
    plain: Vec<u8>,
    /// Bytes that it sent and that wait for a turn with time for them.
    pub(super) postponed_bytes: u32,
    /// The result of its TLS handshake has been counted.
    is_handshake_counted: bool,
}

/// What a pending connection waits for.
enum Phase {
    /// The header of a load balancer.
    ProxyHeader(ProxyProtocol),
    /// The end of the TLS handshake.
    TlsHandshake,
    /// Receives the request for the WebSocket upgrade.
    Upgrade,
    /// Receives the rest of the CONNECT.
    Connect,
    /// The answer of the password check, which may come at once.
    CheckingCredentials(Box<CheckedConnect>),
    /// The AUTH in which the client answers the challenge.
    Challenged(Box<ChallengedConnect>),
    /// Nothing: the CONNECT was wrong, and the logic answers it.
    Malformed(MalformedConnect),
}

/// A CONNECT whose password is checked.
struct CheckedConnect {
    connect: Box<ConnectRequest>,
    /// The check, if it runs in another thread.
    check: Option<Awaited>,
}

/// What the shard has to do for a pending connection.
#[derive(Debug)]
pub(super) enum Next {
    /// Receive the next bytes.
    Receive,
    /// Identify the client: its CONNECT is complete.
    Identify,
    /// End the exchange with the AUTH packet of this many bytes.
    FinishExchange(usize),
    /// Let the logic refuse the client.
    Refuse(Refusal),
    /// Let the logic answer a malformed CONNECT.
    AnswerMalformed,
    /// Pass the connection to the threads that serve pages, from this folder.
    Serve(Page, Arc<Path>),
    /// Close the connection, and log the reason.
    Close(&'static str),
    /// Close the connection, because its stream cannot continue; the reason is logged already.
    CloseFailed(Box<str>),
    /// Close it; the reason is logged already.
    CloseLogged,
}

impl Phase {
    /// What is missing when the time is over.
    fn missing(&self) -> &'static str {
        match self {
            Phase::ProxyHeader(_) => "no PROXY header",
            Phase::TlsHandshake => "no end of its TLS handshake",
            Phase::Upgrade => "no request for WebSocket",
            Phase::Connect | Phase::Malformed(_) => "no CONNECT",
            Phase::CheckingCredentials(..) => "its password could not be checked",
            Phase::Challenged(_) => "no answer to AUTH",
        }
    }
}

impl PendingConnection {
    /// A connection that was just accepted.
    ///
    /// # Errors
    /// It is over already; if the listener refuses it, the client is named.
    fn new(
        listening: &Listening,
        in_effect: &InEffect,
        bans: &Bans,
        socket: Socket,
    ) -> Result<Self, Option<RefusedAtAccept>> {
        let address = listening.address_of(socket.as_fd()).ok_or(None)?;
        let refused = |reason, detail| Some(RefusedAtAccept::new(address, reason, detail));
        if address.ip().is_some_and(|ip| bans.has_address(ip)) {
            return Err(Some(RefusedAtAccept::banned(address)));
        }
        let connections_max = in_effect.settings.listener(listening.listener).connections_max;
        let Some(admission) = Admission::enter(&listening.connections, connections_max) else {
            tracing::warn!("Client connection from {address} denied: max_connections exceeded.");
            let why = too_many(socket.as_fd(), connections_max);
            return Err(refused("max_connections", why));
        };
        let kind = in_effect.listeners.get(usize::from(listening.listener.0));
        let kind = kind.ok_or(None)?;
        if !kind.trusts(address.machine()) {
            tracing::warn!("Client connection from {address} denied: it is not in proxy_protocol_trusted.");
            let why = "its address is not in proxy_protocol_trusted of the listener".to_owned();
            return Err(refused("proxy_not_trusted", why));
        }
        let stream = SecureStream::server(kind.tls.as_ref())
            .inspect_err(|error| tracing::error!("{error}"))
            .map_err(|_| None)?;
        let phase = match kind.proxy {
            Some(wanted) => Phase::ProxyHeader(wanted),
            None => Phase::TlsHandshake,
        };
        Ok(Self {
            socket,
            stream,
            admission,
            address,
            listener: listening.listener,
            phase,
            identity: kind.identity,
            proxied_identity: None,
            upgrade: kind.upgrade.clone(),
            plain: Vec::new(),
            postponed_bytes: 0,
            is_handshake_counted: false,
        })
    }

    /// Handles bytes that the client sent.
    pub(super) fn receive(&mut self, wire: &[u8]) -> Next {
        let mut answer = Vec::new();
        let next = if let Phase::ProxyHeader(_) = self.phase {
            // Such a listener has no TLS of its own.
            self.plain.extend_from_slice(wire);
            self.advance(false, &mut answer)
        } else {
            let opened = self.stream.open(wire, &mut self.plain, &mut answer);
            self.advance_opened(opened, &mut answer)
        };
        let sent = answer.is_empty() || self.send(&answer);
        match next {
            Next::Close(_) | Next::CloseFailed(_) | Next::CloseLogged => next,
            _ if !sent => Next::Close(DOES_NOT_READ),
            next => next,
        }
    }

    /// Continues with the bytes that the stream has decrypted.
    fn advance_opened(&mut self, opened: Result<Opened, StreamError>, answer: &mut Vec<u8>) -> Next {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // In TLS 1.3 a refused client first believes that it is connected: this line shows the refusal.
                tracing::warn!("Client {} refused: {error}.", self.address);
                return Next::CloseFailed(error.to_string().into());
            }
        };
        if let Some(warning) = &opened.warning {
            tracing::warn!("Client {}: {warning}.", self.address);
        }
        self.advance(opened.peer_closed, answer)
    }

    /// Continues as far as the received bytes allow. The answer for the client is appended to `answer`, as wire bytes.
    fn advance(&mut self, peer_closed: bool, answer: &mut Vec<u8>) -> Next {
        let next = loop {
            match &self.phase {
                Phase::ProxyHeader(wanted) => match proxy::parse(&self.plain, wanted) {
                    proxy::Parsed::Incomplete => break Next::Receive,
                    proxy::Parsed::Refused(why) => break Next::Close(why),
                    proxy::Parsed::Whole(header, bytes) => self.take_proxy_header(header, bytes),
                },
                Phase::TlsHandshake if self.stream.is_securing() && self.plain.is_empty() => {
                    break Next::Receive;
                }
                Phase::TlsHandshake => self.phase = self.after_handshake(),
                Phase::Upgrade => match self.upgrade(answer) {
                    Ok(opened) => break self.advance_opened(opened, answer),
                    Err(next) => break next,
                },
                Phase::Connect => match FirstPacket::parse(&self.plain) {
                    FirstPacket::Incomplete => break Next::Receive,
                    FirstPacket::Foreign(why) => break Next::Close(why),
                    FirstPacket::Malformed(malformed) => self.phase = Phase::Malformed(malformed),
                    FirstPacket::Connect(connect) => self.take_connect(connect),
                },
                Phase::CheckingCredentials(..) => return Next::Identify,
                Phase::Malformed(_) => return Next::AnswerMalformed,
                Phase::Challenged(_) => return auth_exchange::next(&self.plain),
            }
        };
        match next {
            Next::Receive if peer_closed => Next::Close("closed before CONNECT"),
            next => next,
        }
    }

    /// The result of its TLS handshake, if it has ended; `next` is the result of its last bytes.
    fn handshake(&self, next: &Next) -> Option<Handshake> {
        if matches!(next, Next::CloseFailed(_)) {
            return Some(Handshake::Failed);
        }
        let is_tls13 = self.stream.is_tls13().filter(|_| !self.stream.is_securing())?;
        Some(match is_tls13 {
            true => Handshake::Tls13,
            false => Handshake::Tls12,
        })
    }

    fn take_proxy_header(&mut self, header: proxy::ProxyHeader, bytes: usize) {
        self.plain.drain(..bytes.min(self.plain.len()));
        self.address = header.address.map_or(self.address, ClientAddress::Inet);
        self.proxied_identity = header.identity;
        self.phase = self.after_handshake();
    }

    fn after_handshake(&self) -> Phase {
        match self.upgrade {
            Some(_) => Phase::Upgrade,
            None => Phase::Connect,
        }
    }

    /// What is missing when the time is over.
    fn missing(&self) -> &'static str {
        match &self.phase {
            // The first bytes, on a listener without TLS.
            Phase::TlsHandshake if self.stream.is_plain() => self.after_handshake().missing(),
            phase => phase.missing(),
        }
    }

    /// Bytes of an incomplete or complete CONNECT that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        let connect = match &self.phase {
            Phase::CheckingCredentials(checked) => checked.connect.wire_bytes,
            Phase::Challenged(challenge) => challenge.connect.wire_bytes,
            _ => 0,
        };
        self.plain.capacity() + (connect + self.postponed_bytes) as usize
    }

    fn take_connect(&mut self, connect: Box<ConnectRequest>) {
        let length = self.plain.len().min(connect.wire_bytes as usize);
        // In new memory, so that the packet's memory is freed.
        self.plain = self.plain.split_off(length);
        self.phase = Phase::CheckingCredentials(Box::new(CheckedConnect { connect, check: None }));
    }

    /// Whether its client disconnected during the password check, and sent nothing else that would have to be handled.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.phase, Phase::CheckingCredentials(..))
            && self.plain.is_empty()
            && self.postponed_bytes == 0
            && socket::is_over(self.socket.as_fd())
    }

    /// Sends wire bytes. A new socket accepts a handshake's few kilobytes at once; one that does not is closed.
    fn send(&self, wire: &[u8]) -> bool {
        socket::send_now(self.socket.as_fd(), wire).is_ok_and(|sent| sent == wire.len())
    }

    /// The connection for the shard that owns the session; `None` if there is no CONNECT.
    fn into_transfer(
        mut self,
        verdict: Verdict,
        authenticated: Option<Box<Authenticated>>,
    ) -> Option<ConnectionTransfer> {
        let certificate_identity = self.certificate_identity();
        self.stream.forget_certificate();
        let mut shown = None;
        let mut connect = match self.phase {
            Phase::CheckingCredentials(checked) => Ok(checked.connect),
            Phase::Challenged(challenge) => {
                shown = challenge.shown;
                Ok(challenge.connect)
            }
            Phase::Malformed(malformed) => Err(malformed),
            Phase::ProxyHeader(_) | Phase::TlsHandshake | Phase::Upgrade | Phase::Connect => {
                debug_assert!(false, "only a connection with a CONNECT has an owner");
                return None;
            }
        };
        if let Ok(connect) = &mut connect {
            connect.password = None;
        }
        let peer = Peer {
            address: self.address,
            listener: self.listener,
            assigned_client_identifier: None,
            certificate_identity,
            verdict,
            authenticated,
        };
        Some(ConnectionTransfer {
            socket: self.socket,
            stream: self.stream,
            admission: self.admission,
            peer,
            connect,
            unread: self.plain,
            shown,
        })
    }

    /// The user that the client's certificate names, if the listener requires it. The logic refuses a CONNECT without
    /// one.
    fn certificate_identity(&mut self) -> Option<Box<str>> {
        let Some(kind) = self.identity else {
            return self.proxied_identity.take();
        };
        let named = tls::client_identity(&self.stream, kind);
        named
            .inspect_err(|error| tracing::warn!("Client {} has no user name: {error}.", self.address))
            .ok()
            .map(String::into_boxed_str)
    }

    /// Closes it, in order if its TLS is established. Only closing would send nothing while the ring has a receive.
    pub(super) fn close(mut self) {
        let mut end = Vec::new();
        self.stream.close(&mut end);
        if !end.is_empty() {
            let _ = socket::send_now(self.socket.as_fd(), &end);
        }
        socket::shut_down(self.socket.as_fd());
    }
}

const DOES_NOT_READ: &str = "it does not read the answers";

const _: () = assert!(
    size_of::<PendingConnection>() <= 136,
    "a connection that has sent nothing is to stay small"
);
