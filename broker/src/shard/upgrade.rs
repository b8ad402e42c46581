//! From HTTP to WebSocket, before the CONNECT.
//!
//! Invariant: of a request at most `websockets_headers_size` bytes are kept, within the time of the greeting; one that is
//! not let in is answered by a status, and the log says why.

use std::path::Path;
use std::sync::Arc;

use transport::http::text_response;
use transport::stream::SecureStream;
use transport::websocket::handshake::{self, Page};

use super::ShardLoop;
use super::accept::read_opened;
use super::greeting::{Greeting, Heard};
use super::token::Place;
use crate::http::PageRequest;
use crate::in_effect::Upgrade;
use crate::limits;

/// Reads the request, and what follows it.
pub(super) fn read(greeting: &mut Greeting, upgrade: &Upgrade, answer: &mut Vec<u8>) -> Heard {
    match handshake::parse_request(&greeting.plain, &upgrade.wanted) {
        handshake::ParsedRequest::Incomplete => Heard::Incomplete,
        handshake::ParsedRequest::Refused { answer: status, why } => {
            greeting.stream.seal(&status, answer);
            Heard::Refused(why)
        }
        handshake::ParsedRequest::Page(page) => match &upgrade.pages {
            Some(folder) => Heard::Page(page, Arc::clone(folder)),
            None => {
                greeting.stream.seal(&no_pages(), answer);
                Heard::Refused("it asks for a page, and the listener has no http_dir")
            }
        },
        handshake::ParsedRequest::Upgrade {
            answer: response,
            length,
        } => {
            greeting.stream.seal(&response, answer);
            begin_frames(greeting, length, answer)
        }
    }
}

/// Frames begin behind the request.
fn begin_frames(greeting: &mut Greeting, request_bytes: usize, answer: &mut Vec<u8>) -> Heard {
    greeting.upgrade = None;
    let frames = greeting.plain.split_off(request_bytes.min(greeting.plain.len()));
    greeting.plain.clear();
    let beneath = std::mem::replace(&mut greeting.stream, SecureStream::Plain);
    greeting.stream = beneath.upgraded(limits::WEBSOCKET_FRAME_BYTES_MAX);
    let opened = greeting.stream.open_frames(&frames, &mut greeting.plain, answer);
    read_opened(greeting, opened, answer)
}

impl ShardLoop {
    /// Hands a connection over to the threads that serve pages.
    pub(super) fn serve(&mut self, place: Place, page: Page, folder: Arc<Path>) {
        let Some(greeting) = self.greetings.remove(place) else {
            return;
        };
        let request = PageRequest {
            socket: greeting.socket,
            stream: greeting.stream,
            address: greeting.address,
            page,
            folder,
            _admission: greeting.admission,
        };
        if !self.pages.serve(request) {
            tracing::info!("A request for a page was not answered: there are too many at the moment.");
        }
    }
}

/// For those who came by a browser.
fn no_pages() -> Vec<u8> {
    text_response(
        "426 Upgrade Required",
        &[("Upgrade", "websocket"), ("Connection", "close, Upgrade")],
        "MQTT over WebSocket is spoken here, nothing else\n",
    )
}
