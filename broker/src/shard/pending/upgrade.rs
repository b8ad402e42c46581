//! The upgrade from HTTP to WebSocket, before the CONNECT.
//!
//! Invariant: at most `websockets_headers_size` bytes of a request are kept, within the time of the pending
//! connection. A refused request is answered with a status code, and the log has the reason.

use std::path::Path;
use std::sync::Arc;

use transport::http::text_response;
use transport::stream::{Opened, SecureStream, StreamError};
use transport::websocket::handshake::{self, Page};

use super::{Next, PendingConnection, Phase};
use crate::http::PageRequest;
use crate::limits;

impl PendingConnection {
    /// Reads the request, and opens the frames that follow it.
    ///
    /// # Errors The next step, if the request is not an upgrade or is not complete.
    pub(super) fn upgrade(&mut self, answer: &mut Vec<u8>) -> Result<Result<Opened, StreamError>, Next> {
        let Some(upgrade) = self.upgrade.clone() else {
            self.phase = Phase::Connect;
            return Ok(Ok(Opened::default()));
        };
        match handshake::parse_request(&self.plain, &upgrade.wanted) {
            handshake::ParsedRequest::Incomplete => Err(Next::Receive),
            handshake::ParsedRequest::Refused {
                answer: refusal, why, ..
            } => {
                self.stream.seal(&refusal, answer);
                Err(Next::Close(why))
            }
            handshake::ParsedRequest::Page(page) => match &upgrade.pages {
                Some(folder) => Err(Next::Serve(page, Arc::clone(folder))),
                None => {
                    self.stream.seal(&no_pages(), answer);
                    Err(Next::Close(
                        "it requests a page, but the listener has no http_dir",
                    ))
                }
            },
            handshake::ParsedRequest::Upgrade {
                answer: response,
                length,
            } => {
                self.stream.seal(&response, answer);
                Ok(self.begin_frames(length, answer))
            }
        }
    }

    /// Answers the upgrade; the bytes after the request are WebSocket frames.
    fn begin_frames(&mut self, request_bytes: usize, answer: &mut Vec<u8>) -> Result<Opened, StreamError> {
        self.upgrade = None;
        self.phase = Phase::Connect;
        let frames = self.plain.split_off(request_bytes.min(self.plain.len()));
        self.plain.clear();
        let beneath = std::mem::replace(&mut self.stream, SecureStream::Plain);
        self.stream = beneath.upgraded(limits::WEBSOCKET_FRAME_BYTES_MAX);
        self.stream.open_frames(&frames, &mut self.plain, answer)
    }

    /// Converts it for the threads that serve pages.
    pub(super) fn into_page_request(self, page: Page, folder: Arc<Path>) -> PageRequest {
        PageRequest {
            socket: self.socket,
            stream: self.stream,
            address: self.address,
            page,
            folder,
            _admission: self.admission,
        }
    }
}

/// The answer to a browser if the listener has no pages.
fn no_pages() -> Vec<u8> {
    text_response(
        "426 Upgrade Required",
        &[("Upgrade", "websocket"), ("Connection", "close, Upgrade")],
        "This listener supports only MQTT over WebSocket\n",
    )
}
