//! Binds the listening sockets before any shard runs.
//!
//! Invariants: if a port is in use, or this machine does not have an address, the error says what to do. The broker
//! starts with all of its listeners or not at all.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use transport::socket::{self, Socket};

use crate::admission::ListenerCounts;
use crate::config::{Configuration, ListenerSocket, Protocol};
use crate::settings::ListenerId;

/// A listening socket as a shard uses it; all shards accept from the same one.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) socket: Socket,
    pub(crate) listener: ListenerId,
    /// Connections of the listener, on all its sockets and shards.
    pub(crate) connections: Arc<ListenerCounts>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct BindError {
    /// The address that was to be listened on.
    pub address: SocketAddr,
    /// The error of the operating system.
    pub source: io::Error,
    /// What to do; begins with its own separator, empty if there is no advice.
    hint: &'static str,
    /// This machine does not have the address or its family.
    absent: bool,
}

/// The sockets of clients, and those of operators.
#[derive(Default)]
pub(crate) struct Bound {
    pub(crate) clients: Vec<Listening>,
    pub(crate) operators: Vec<(OwnedFd, ListenerId)>,
    /// Connections of clients, at the index of the listener.
    pub(crate) counts: Vec<Arc<ListenerCounts>>,
    /// The addresses of each listener's sockets, at its index.
    pub(crate) addresses: Vec<Vec<SocketAddr>>,
}

impl Bound {
    /// From this call on clients can connect.
    ///
    /// # Errors
    /// Another program has begun to listen on one of the addresses since it was bound.
    pub(crate) fn listen(&self) -> Result<(), BindError> {
        for listening in &self.clients {
            begin_listening(listening.socket.as_fd())?;
        }
        Ok(())
    }
}

/// Binds every listener; operators can connect from then on, clients after [`Bound::listen`].
///
/// # Errors
/// Names the address that cannot be listened on, and what to do.
pub(crate) fn all(configuration: &Configuration) -> Result<Bound, BindError> {
    let mut bound = Bound::default();
    for (index, listener) in (0u16..).zip(&configuration.listeners) {
        let connections = Arc::new(ListenerCounts::default());
        bound.counts.push(Arc::clone(&connections));
        let sockets = any(&listener.addresses, listener.interface.as_deref())?;
        let addresses = sockets
            .iter()
            .filter_map(|socket| socket::local_address(socket.as_fd()).ok());
        bound.addresses.push(addresses.collect());
        for socket in sockets {
            log_opening(listener, &socket);
            match listener.protocol {
                Protocol::HttpApi => bound.operators.push((listening(socket)?, ListenerId(index))),
                Protocol::Mqtt | Protocol::WebSockets(_) => bound.clients.push(Listening {
                    socket: socket.into(),
                    listener: ListenerId(index),
                    connections: Arc::clone(&connections),
                }),
            }
        }
        if let Some(warning) = open_api_warning(listener) {
            tracing::warn!("{warning}");
        }
    }
    Ok(bound)
}

/// Starts listening on a socket for operators.
fn listening(socket: OwnedFd) -> Result<OwnedFd, BindError> {
    begin_listening(socket.as_fd())?;
    Ok(socket)
}

fn begin_listening(socket: BorrowedFd<'_>) -> Result<(), BindError> {
    socket::begin_listening(socket).map_err(|source| BindError {
        address: socket::local_address(socket).unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
        source,
        hint: PORT_TAKEN,
        absent: false,
    })
}

fn log_opening(listener: &ListenerSocket, socket: &OwnedFd) {
    let kind = match listener.protocol {
        Protocol::Mqtt => "listen",
        Protocol::WebSockets(_) => "websockets listen",
        Protocol::HttpApi => "http_api listen",
    };
    let address = socket::local_address(socket.as_fd()).map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let tls = if listener.tls.is_some() { " with TLS" } else { "" };
    tracing::info!("Opening {kind} socket on {address}{tls}.");
}

/// A warning if a listener for operators shows its figures to everybody.
pub(crate) fn open_api_warning(listener: &ListenerSocket) -> Option<String> {
    let mut addresses = listener.addresses.iter();
    let is_local = addresses.all(|address| address.ip().is_loopback());
    let tls = listener.tls.as_ref();
    let asks = tls.is_some_and(|tls| tls.require_client_certificate) || !listener.access.are_none();
    let is_open = listener.protocol == Protocol::HttpApi && !is_local && !asks;
    let port = listener.port;
    is_open.then(|| {
        format!(
            "Everybody who can reach the http_api on port {port} can read /metrics, the figures of $SYS, \
            the listeners and the version; lists and actions are available from this machine only. Fix: \
            restrict access to users with `password_file`, to clients with a certificate with \
            `require_certificate`, or to this machine with `listener {port} 127.0.0.1`."
        )
    })
}

/// Binds a listener's addresses. Addresses that this machine does not have are skipped if at least one can be bound.
fn any(addresses: &[SocketAddr], interface: Option<&str>) -> Result<Vec<OwnedFd>, BindError> {
    let mut bound = Vec::new();
    let mut missing = None;
    for address in addresses {
        match one(*address, interface) {
            Ok(socket) => bound.push(socket),
            Err(error @ BindError { absent: true, .. }) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn one(address: SocketAddr, interface: Option<&str>) -> Result<OwnedFd, BindError> {
    let until = Instant::now() + PORT_WAIT;
    let mut bound = socket::bind_on(address, interface, true);
    while Instant::now() < until && matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
        std::thread::sleep(PORT_WAIT / 20);
        bound = socket::bind_on(address, interface, true);
    }
    bound.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => PORT_TAKEN,
            io::ErrorKind::PermissionDenied => {
                "; fix: give the broker the capability CAP_NET_BIND_SERVICE, or choose a port above 1023"
            }
            io::ErrorKind::NotFound => " (bind_interface); fix: name one that `ip link` shows",
            io::ErrorKind::AddrNotAvailable => "; fix: name an address that `ip address` shows",
            _ => "",
        };
        let absent = matches!(
            source.raw_os_error(),
            Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
        );
        BindError {
            address,
            source,
            hint,
            absent,
        }
    })
}

/// How long to wait for a port that is in use: after a broker was killed, the kernel keeps its port until it has
/// released its rings.
const PORT_WAIT: Duration = Duration::from_millis(500);

const PORT_TAKEN: &str =
    "; another program uses the port; fix: stop it, or choose another port with -p or `listener`";
