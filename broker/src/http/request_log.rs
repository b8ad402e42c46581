//! The log line of a request.
//!
//! Invariants: none.

use std::fmt::Display;
use std::io;

use transport::websocket::handshake::Page;

/// Logs what was asked for and how it was answered.
pub(super) fn log(client: impl Display, page: &Page, status: &io::Result<&'static str>) {
    let status = described(status);
    tracing::debug!("Client {client} asked for {}: {status}.", page.target);
}

/// Logs how a request was answered that has not come whole.
pub(super) fn log_unfinished(client: impl Display, status: &io::Result<&'static str>) {
    let status = described(status);
    tracing::debug!("Client {client} of the http_api has not sent a whole request: {status}.");
}

fn described(status: &io::Result<&'static str>) -> String {
    match status {
        Ok(status) => (*status).to_owned(),
        Err(error) => error.to_string(),
    }
}
