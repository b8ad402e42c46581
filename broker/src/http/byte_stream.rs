//! An operator's socket: TCP, or the control socket.
//!
//! Invariants: none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};

/// A connected blocking socket.
#[derive(Debug)]
pub(super) enum ByteStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ByteStream {
    /// A TCP socket, which may be nonblocking.
    pub(super) fn tcp(socket: OwnedFd) -> io::Result<Self> {
        let socket = TcpStream::from(socket);
        socket.set_nonblocking(false)?;
        Ok(Self::Tcp(socket))
    }

    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Self::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_write_timeout(Some(timeout)),
            Self::Unix(socket) => socket.set_write_timeout(Some(timeout)),
        }
    }

    /// Receives, and waits up to the timeout.
    pub(super) fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let (received, _) = rustix::net::recv(self.as_fd(), bytes, RecvFlags::empty())?;
        Ok(received)
    }

    /// Receives the bytes that are there, without waiting.
    pub(super) fn receive_now(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let (received, _) = rustix::net::recv(self.as_fd(), bytes, RecvFlags::DONTWAIT)?;
        Ok(received)
    }

    /// Sends the bytes that the socket accepts, without waiting.
    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(
            self.as_fd(),
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )?)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }

    pub(super) fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        }
    }
}

impl Read for ByteStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(bytes),
            Self::Unix(socket) => socket.read(bytes),
        }
    }
}

impl Write for ByteStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
