//! TCP sockets: creates them, queries them, and sends without waiting.
//!
//! Invariants: a [`Socket`] is closed when its owner has dropped it and no request of a ring that names it waits any
//! more. So a queued request never refers to another connection with the same descriptor number.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

/// A socket that rings may name in requests. A clone is the same descriptor.
#[derive(Clone, Debug)]
pub struct Socket(Arc<OwnedFd>);

impl Socket {
    pub(crate) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.0
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The descriptor, for callers that use no ring: a duplicate for the same socket if there is a clone, or a request
    /// waits.
    ///
    /// # Errors
    /// The errors of `fcntl(2)`, if it is a duplicate.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(|shared| shared.try_clone())
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A listening socket; accepted connections inherit TCP_NODELAY from it. Without SO_REUSEPORT, so a second listener
/// on the port is an error.
///
/// # Errors
/// The errors of `socket(2)`, `bind(2)` and `listen(2)`.
pub fn listen(address: SocketAddr, nodelay: bool) -> io::Result<OwnedFd> {
    listen_on(address, None, nodelay)
}

/// As [`listen`], on one network interface such as `eth0`: connections on other interfaces are not accepted.
///
/// # Errors
/// The errors of [`listen`]; `NotFound` if there is no such interface.
pub fn listen_on(address: SocketAddr, interface: Option<&str>, nodelay: bool) -> io::Result<OwnedFd> {
    let socket = bind_on(address, interface, nodelay)?;
    begin_listening(socket.as_fd())?;
    Ok(socket)
}

/// A socket for listening, which does not listen yet: see [`begin_listening`].
///
/// # Errors
/// The errors of [`listen_on`].
pub fn bind_on(address: SocketAddr, interface: Option<&str>, nodelay: bool) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(nodelay)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = interface {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(absent_interface)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// From now on the kernel accepts connections to the address of a bound socket.
///
/// # Errors
/// The error of the system; `AddrInUse` if another socket listens there.
pub fn begin_listening(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

fn absent_interface(error: io::Error) -> io::Error {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::NODEV) => {
            io::Error::new(io::ErrorKind::NotFound, "there is no such interface")
        }
        _ => error,
    }
}

/// A free port of the address, which stays free for [`listen`] as long as the socket is held: the kernel does not
/// assign it to anyone who requests any port, and refuses connections to it.
///
/// # Errors
/// The errors of `socket(2)` and `bind(2)`.
pub fn reserve_port(address: IpAddr) -> io::Result<(OwnedFd, u16)> {
    let any_port = SocketAddr::new(address, 0);
    let socket = socket2::Socket::new(Domain::for_address(any_port), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&any_port.into())?;
    let bound = socket.local_addr()?;
    let port = bound.as_socket().map_or(0, |bound| bound.port());
    Ok((socket.into(), port))
}

/// A non-blocking TCP socket without Nagle's delay, for connecting to `address`.
///
/// # Errors
/// The errors of `socket(2)`.
pub fn stream(address: SocketAddr) -> io::Result<Socket> {
    stream_from(address, None)
}

/// The same with a local address, whose port the system chooses.
///
/// # Errors
/// The errors of `socket(2)` and `bind(2)`.
pub fn stream_from(address: SocketAddr, local: Option<IpAddr>) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(OwnedFd::from(socket).into())
}

/// Two connected sockets within this machine; both are non-blocking.
///
/// # Errors
/// The errors of `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Starts to connect a non-blocking socket: it is writable when it is connected, or has failed (see [`take_error`]).
///
/// # Errors
/// The errors of `connect(2)`, except that it is in progress.
pub fn begin_connecting(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    match SockRef::from(&socket).connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// The error of the socket since the last call.
///
/// # Errors
/// The error of the socket, if there is one.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).take_error()?.map_or(Ok(()), Err)
}

/// TCP keepalive probes on an idle connection: seconds until the first one, seconds between them, and their number.
///
/// # Errors
/// The errors of `setsockopt(2)`.
pub fn probe(socket: BorrowedFd<'_>, idle_s: u32, interval_s: u32, probes: u32) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(idle_s)))
        .with_interval(Duration::from_secs(u64::from(interval_s)))
        .with_retries(probes);
    SockRef::from(&socket).set_tcp_keepalive(&keep_alive)
}

/// How long data may remain unacknowledged by TCP, in milliseconds (TCP_USER_TIMEOUT).
///
/// # Errors
/// The errors of `setsockopt(2)`.
pub fn bound_unacknowledged(socket: BorrowedFd<'_>, milliseconds: u32) -> io::Result<()> {
    let timeout = Duration::from_millis(u64::from(milliseconds));
    SockRef::from(&socket).set_tcp_user_timeout(Some(timeout))
}

/// Sends what fits now and returns the number of bytes.
///
/// # Errors
/// `WouldBlock` if nothing fits, else the errors of `send(2)`.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(
        socket,
        bytes,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?)
}

/// Receives what has arrived, as far as it fits; 0 at the end of the stream.
///
/// # Errors
/// `WouldBlock` if nothing has arrived, else the errors of `recv(2)`.
pub fn receive_now(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, into, RecvFlags::DONTWAIT)?;
    Ok(count)
}

/// Largest number of bytes that the kernel keeps of a TCP connection until they are received.
#[must_use]
pub fn receive_buffer_bytes_max() -> usize {
    static BYTES_MAX: OnceLock<usize> = OnceLock::new();
    *BYTES_MAX.get_or_init(|| {
        let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap_or_default();
        let largest = sizes
            .split_whitespace()
            .last()
            .and_then(|bytes| bytes.parse().ok());
        largest.unwrap_or(DEFAULT_RECEIVE_BUFFER_BYTES_MAX)
    })
}

/// The default of Linux.
const DEFAULT_RECEIVE_BUFFER_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Whether the peer has closed or broken the connection and nothing that it sent is left to be received.
#[must_use]
pub fn is_over(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0; 1];
    match rustix::net::recv(socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((count, _)) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock && error.kind() != io::ErrorKind::Interrupted,
    }
}

/// The address of the peer.
///
/// # Errors
/// The errors of `getpeername(2)`, for example when the peer is gone.
pub fn peer_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    inet(SockRef::from(&socket).peer_addr()?)
}

/// The local address of the socket.
///
/// # Errors
/// The errors of `getsockname(2)`.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    inet(SockRef::from(&socket).local_addr()?)
}

/// Ends both directions: what is in flight on the socket completes.
pub fn shut_down(socket: BorrowedFd<'_>) {
    // It fails only if the connection has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// Raises the limit of open descriptors to the hard limit and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.unwrap_or(u64::MAX)
}

fn inet(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Number of connections that wait to be accepted; the kernel limits it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
