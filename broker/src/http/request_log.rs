//! The log line of a request.
//!
//! Invariants: none.

use std::fmt::Display;
use std::io;

use transport::websocket::handshake::Page;

/// Logs a request and the status of its answer.
pub(super) fn log(client: impl Display, page: &Page, status: &io::Result<&'static str>) {
    let status = described(status);
    tracing::debug!("Client {client} requested {}: {status}.", page.target);
}

/// Logs the answer to an incomplete request.
pub(super) fn log_unfinished(client: impl Display, status: &io::Result<&'static str>) {
    let status = described(status);
    tracing::debug!("Client {client} of the http_api sent an incomplete request: {status}.");
}

fn described(status: &io::Result<&'static str>) -> String {
    match status {
        Ok(status) => (*status).to_owned(),
        Err(error) => error.to_string(),
    }
}
