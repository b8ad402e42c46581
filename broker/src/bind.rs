//! Binds the listening sockets before any shard runs.
//!
//! Invariants: if a port is in use, or this machine does not have an address, the error says what to do. The broker
//! starts with all of its listeners or not at all.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transport::socket::{self, Socket};

use crate::admission::ListenerCounts;
use crate::client_address::{ClientAddress, UnixListenerPath};
use crate::config::{Configuration, ListenerSocket, Protocol, UnixSocket};
use crate::privileges::{RunsAs, SystemUser};
use crate::settings::ListenerId;
use crate::socket_path::{self, SocketFile, SocketPathError};

/// A listening socket as a shard uses it; all shards accept from the same one.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) socket: Socket,
    pub(crate) listener: ListenerId,
    /// Connections of the listener, on all its sockets and shards.
    pub(crate) connections: Arc<ListenerCounts>,
    /// The path of its Unix socket, which stands for the addresses of its clients.
    pub(crate) unix: Option<UnixListenerPath>,
}

impl Listening {
    /// Where a client comes from that connected here; nothing if it is gone already.
    pub(crate) fn address_of(&self, socket: BorrowedFd<'_>) -> Option<ClientAddress> {
        match self.unix {
            Some(path) => Some(ClientAddress::Unix(path)),
            None => socket::peer_address(socket).ok().map(ClientAddress::Inet),
        }
    }
}

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address that cannot be listened on.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A path at which there can be no Unix socket.
    #[error("cannot listen on the Unix socket {}: {source}", path.display())]
    Unix {
        /// The path of `listener 0 PATH`.
        path: PathBuf,
        /// Why, and what to do.
        source: SocketPathError,
    },
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct AddressError {
    /// The address that was to be listened on, or the path of the Unix socket.
    pub address: String,
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
    /// The files of Unix sockets, which go when this is dropped.
    pub(crate) files: Vec<SocketFile>,
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

    /// Clients can connect no more, and the ports are free. The kernel takes the rings apart later, and what they know
    /// of a socket would keep its port until then.
    pub(crate) fn close(&self) {
        for listening in &self.clients {
            socket::shut_down(listening.socket.as_fd());
        }
    }

    /// Opens the Unix socket of a listener, for the user that the broker is to become.
    fn open_unix(
        &mut self,
        listener: ListenerId,
        unix: &UnixSocket,
        connections: Arc<ListenerCounts>,
        user: Option<&SystemUser>,
    ) -> Result<(), BindError> {
        let (socket, file) =
            socket_path::bind(&unix.path, unix.mode, user).map_err(|source| BindError::Unix {
                path: unix.path.clone(),
                source,
            })?;
        self.files.push(file);
        self.clients.push(Listening {
            socket: socket.into(),
            listener,
            connections,
            unix: Some(UnixListenerPath::keep(&unix.path)),
        });
        Ok(())
    }
}

/// Binds every listener; operators can connect from then on, clients after [`Bound::listen`].
///
/// # Errors
/// Names the address that cannot be listened on, and what to do.
pub(crate) fn all(configuration: &Configuration) -> Result<Bound, BindError> {
    let mut bound = Bound::default();
    let runs_as = RunsAs::find(configuration.user.as_ref(), configuration.stays_root);
    for (index, listener) in (0u16..).zip(&configuration.listeners) {
        let connections = Arc::new(ListenerCounts::default());
        bound.counts.push(Arc::clone(&connections));
        if let Some(unix) = &listener.unix {
            log_opening(listener, &unix.path.display());
            bound.addresses.push(Vec::new());
            bound.open_unix(ListenerId(index), unix, connections, runs_as.user())?;
            continue;
        }
        let sockets = any(&listener.addresses, listener.interface.as_deref())?;
        let addresses = sockets
            .iter()
            .filter_map(|socket| socket::local_address(socket.as_fd()).ok());
        bound.addresses.push(addresses.collect());
        for socket in sockets {
            match socket::local_address(socket.as_fd()) {
                Ok(address) => log_opening(listener, &address),
                Err(_) => log_opening(listener, &"?"),
            }
            match listener.protocol {
                Protocol::HttpApi => bound.operators.push((listening(socket)?, ListenerId(index))),
                Protocol::Mqtt | Protocol::WebSockets(_) => bound.clients.push(Listening {
                    socket: socket.into(),
                    listener: ListenerId(index),
                    connections: Arc::clone(&connections),
                    unix: None,
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
    let address = socket::local_address(socket);
    socket::begin_listening(socket).map_err(|source| {
        let address = address.map_or_else(|_| "a Unix socket".to_owned(), |address| address.to_string());
        BindError::from(AddressError {
            address,
            source,
            hint: PORT_TAKEN,
            absent: false,
        })
    })
}

fn log_opening(listener: &ListenerSocket, place: &dyn Display) {
    let kind = match (&listener.protocol, &listener.unix) {
        (Protocol::Mqtt, Some(_)) => "unix listen",
        (Protocol::WebSockets(_), Some(_)) => "unix websockets listen",
        (Protocol::Mqtt, None) => "listen",
        (Protocol::WebSockets(_), None) => "websockets listen",
        (Protocol::HttpApi, _) => "http_api listen",
    };
    let place = match &listener.unix {
        Some(_) => format!("path {place}"),
        None => place.to_string(),
    };
    let tls = if listener.tls.is_some() { " with TLS" } else { "" };
    tracing::info!("Opening {kind} socket on {place}{tls}.");
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
fn any(addresses: &[SocketAddr], interface: Option<&str>) -> Result<Vec<OwnedFd>, AddressError> {
    let mut bound = Vec::new();
    let mut missing = None;
    for address in addresses {
        match one(*address, interface) {
            Ok(socket) => bound.push(socket),
            Err(error @ AddressError { absent: true, .. }) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn one(address: SocketAddr, interface: Option<&str>) -> Result<OwnedFd, AddressError> {
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
        AddressError {
            address: address.to_string(),
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
