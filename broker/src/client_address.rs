//! Where a client comes from, as logs, lists and traces show it.
//!
//! Invariants: none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The network address of a client, or the Unix socket that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// An address and a port, its own or what a PROXY header has.
    Inet(SocketAddr),
    /// It came by the Unix socket of this listener; clients' own sockets have no names.
    Unix(UnixListenerPath),
}

/// The path of a listener's Unix socket. Listeners are opened once in a process, so it lives as long as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixListenerPath(&'static str);

impl UnixListenerPath {
    /// Keeps a path as long as the process lives.
    pub(crate) fn keep(path: &Path) -> Self {
        Self(Box::leak(path.to_string_lossy().into_owned().into_boxed_str()))
    }
}

impl ClientAddress {
    /// The address, of one that came by the network.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The machine that the client is of: for a client of a Unix socket this one, 127.0.0.1.
    #[must_use]
    pub fn machine(&self) -> IpAddr {
        match self {
            Self::Inet(address) => address.ip(),
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// As mosquitto shows it: a client of a Unix socket has the path of the socket and the port 0.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(UnixListenerPath(path)) => write!(f, "{path}:0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_a_unix_socket_is_of_this_machine() {
        let unix = ClientAddress::Unix(UnixListenerPath::keep(Path::new("/run/m.sock")));
        assert_eq!(unix.to_string(), "/run/m.sock:0");
        assert!(unix.machine().is_loopback());
        let inet = ClientAddress::from(SocketAddr::from(([192, 0, 2, 1], 80)));
        assert_eq!(
            (inet.to_string().as_str(), inet.machine()),
            ("192.0.2.1:80", IpAddr::from([192, 0, 2, 1]))
        );
    }
}
