//! A client's connection whose calls block, over TCP or a Unix socket.
//!
//! Invariants: none.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A socket that is connected to a broker.
#[derive(Debug)]
pub struct BlockingSocket(Socket);

impl BlockingSocket {
    /// Connects over TCP, without Nagle's delay, from a local address if there is one.
    ///
    /// # Errors
    /// What `socket(2)`, `bind(2)` and `connect(2)` give; `TimedOut` if nobody answers in time.
    pub fn tcp(address: SocketAddr, local: Option<IpAddr>, timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(local) = local {
            socket.bind(&SocketAddr::new(local, 0).into())?;
        }
        socket.connect_timeout(&address.into(), timeout)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self(socket))
    }

    /// Connects to the Unix socket at a path.
    ///
    /// # Errors
    /// What `socket(2)` and `connect(2)` give: nobody listens there, or it may not be written to.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self(socket))
    }

    /// How long a read waits at most.
    ///
    /// # Errors
    /// What `setsockopt(2)` gives.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(timeout))
    }

    /// The other end gets no more; what it sends is still received.
    ///
    /// # Errors
    /// What `shutdown(2)` gives.
    pub fn shut_down_write(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl Read for BlockingSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for BlockingSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn bytes_go_both_ways_over_either_kind() {
        let second = Duration::from_secs(10);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let local = IpAddr::from([127, 0, 0, 9]);
        let address = listener.local_addr().unwrap();
        let mut client = BlockingSocket::tcp(address, Some(local), second).unwrap();
        let (mut server, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), local);
        exchange(&mut client, &mut server);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert_eq!(
            BlockingSocket::unix(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = BlockingSocket::unix(&path).unwrap();
        exchange(&mut client, &mut listener.accept().unwrap().0);
    }

    fn exchange(client: &mut BlockingSocket, server: &mut (impl Read + Write)) {
        client.set_read_timeout(Duration::from_secs(10)).unwrap();
        client.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        server.read_exact(&mut got).unwrap();
        server.write_all(&got).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        client.shut_down_write().unwrap();
        assert_eq!(server.read(&mut got).unwrap(), 0);
    }
}
