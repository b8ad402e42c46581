//! The log line of a request.
//!
//! Invariants: none.

use std::io;
use std::net::SocketAddr;

use transport::websocket::handshake::Page;

/// Logs what was asked for and how it was answered.
pub(super) fn log(address: SocketAddr, page: &Page, status: &io::Result<&'static str>) {
    match status {
        Ok(status) => tracing::debug!("Client {address} asked for {}: {status}.", page.target),
        Err(error) => tracing::debug!("Client {address} asked for {}: {error}.", page.target),
    }
}
