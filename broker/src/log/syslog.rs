//! Sends log lines to the system log: one datagram per line to its socket, in the form that syslog(3) uses.
//!
//! Invariants: the broker never waits for the socket; a line that the socket does not accept is lost and counted.

use std::io;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;

use super::sink::count_lost;
use super::types::LogTypes;

const SOCKET: &str = "/dev/log";
const NAME: &str = "midge";

#[derive(Debug)]
pub(super) struct Syslog {
    socket: UnixDatagram,
    facility: u8,
}

impl Syslog {
    pub(super) fn open(facility: u8) -> io::Result<Syslog> {
        Self::open_at(SOCKET, facility)
    }

    fn open_at(path: &str, facility: u8) -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Syslog { socket, facility })
    }

    pub(super) fn send(&self, types: LogTypes, line: &[u8]) {
        let priority = u16::from(self.facility) << 3 | severity(types);
        let mut datagram = Vec::with_capacity(line.len() + 32);
        // Writing to a Vec does not fail.
        let _written = write!(datagram, "<{priority}>{NAME}[{}]: ", std::process::id());
        datagram.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        if self.socket.send(&datagram).is_err() {
            count_lost();
        }
    }
}

/// The severity of syslog(3) for a log type.
fn severity(types: LogTypes) -> u16 {
    match types {
        LogTypes::ERROR => 3,
        LogTypes::WARNING => 4,
        LogTypes::NOTICE | LogTypes::SUBSCRIBE | LogTypes::UNSUBSCRIBE => 5,
        LogTypes::INFORMATION => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let system = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::open_at(path.to_str().unwrap(), 16).unwrap();
        syslog.send(LogTypes::WARNING, b"Warning: a\n");
        let mut bytes = [0; 128];
        let length = system.recv(&mut bytes).unwrap();
        let expected = format!("<132>midge[{}]: Warning: a", std::process::id());
        assert_eq!(std::str::from_utf8(&bytes[..length]).unwrap(), expected);
    }

    #[test]
    fn no_socket_is_an_error() {
        assert!(Syslog::open_at("/nonexistent/log", 3).is_err());
    }
}
