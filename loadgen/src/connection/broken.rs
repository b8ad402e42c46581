//! The reasons for which a connection ends.
//!
//! Invariants: none.

use std::io;

use mqtt::error::{DecodeError, EncodeError};
use transport::stream::StreamError;

/// Why a connection cannot continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The socket failed, or could not be connected.
    #[error("{0}{hint}", hint = socket_hint(.0))]
    Socket(#[from] io::Error),
    /// The broker closed it.
    #[error("the broker closed the connection")]
    Closed,
    /// TLS or WebSocket failed.
    #[error("{0}")]
    Tls(#[from] StreamError),
    /// The broker violated the protocol.
    #[error("the broker sent a bad packet: {0}")]
    Packet(#[from] DecodeError),
    /// The broker refused or ended it with a reason, or sent an unexpected answer.
    #[error("{0}")]
    Refused(String),
    /// The broker sent DISCONNECT with this reason; the text has its Reason String too.
    #[error("the broker ended the connection: {1}")]
    Disconnected(mqtt::ReasonCode, String),
    /// The data do not fit into a packet.
    #[error("{0}")]
    Unsendable(#[from] EncodeError),
    /// It took too long.
    #[error("no answer within {0} s")]
    Timeout(u64),
}

/// Advice about a failed socket, if there is any.
fn socket_hint(error: &io::Error) -> &'static str {
    // With --bind, the ports of an address run out when it is bound, otherwise when it connects.
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => {
            ": all local ports to this address are in use, or the address of --bind does not belong to this \
            machine; add addresses with --bind, wait a minute until closed connections release theirs, or \
            widen the range with `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_all_in_use_are_named_with_what_to_do() {
        for number in [99, 98] {
            let text = Broken::Socket(io::Error::from_raw_os_error(number)).to_string();
            assert!(
                text.contains("all local ports") && text.contains("--bind"),
                "{text}"
            );
        }
        let text = Broken::Socket(io::Error::from_raw_os_error(111)).to_string();
        assert!(text.contains("refused") && !text.contains("ports"), "{text}");
    }
}
