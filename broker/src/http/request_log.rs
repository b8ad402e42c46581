//! The log line of a request.
//!
//! Invariants: none.

use std::fmt::Display;
use std::io;

use transport::websocket::handshake::Page;

/// Logs what was asked for and how it was answered.
pub(super) fn log(client: impl Display, page: &Page, status: &io::Result<&'static str>) {
    match status {
        Ok(status) => tracing::debug!("Client {client} asked for {}: {status}.", page.target),
        Err(error) => tracing::debug!("Client {client} asked for {}: {error}.", page.target),
    }
}
