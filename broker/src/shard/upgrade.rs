//! From HTTP to WebSocket, before the CONNECT.
//!
//! Invariant: of a request at most `websockets_headers_size` bytes are kept, within the time of the greeting; one that is
//! not let in is answered by a status, and the log says why.

use std::path::Path;
use std::sync::Arc;

use transport::stream::SecureStream;
use transport::websocket::handshake::{self, Page};

use super::ShardLoop;
use super::accept::read_opened;
use super::greeting::{Greeting, Heard};
use super::token::Place;
use crate::http::Request;
use crate::in_effect::Upgrade;
use crate::limits;

/// Reads the request, and what follows it.
pub(super) fn read(greeting: &mut Greeting, upgrade: &Upgrade, answer: &mut Vec<u8>) -> Heard {
    match handshake::hear(&greeting.plain, &upgrade.wanted) {
        handshake::Heard::Incomplete => Heard::Incomplete,
        handshake::Heard::Refused { answer: status, why } => {
            greeting.stream.seal(&status, answer);
            Heard::Refused(why)
        }
        handshake::Heard::Page(page) => match &upgrade.pages {
            Some(folder) => Heard::Page(page, Arc::clone(folder)),
            None => {
                greeting.stream.seal(NO_PAGES, answer);
                Heard::Refused("it asks for a page, and the listener has no http_dir")
            }
        },
        handshake::Heard::Upgrade {
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
        let request = Request {
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

/// Who came here by a browser should learn what this is.
const NO_PAGES: &[u8] =
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\
Content-Type: text/plain\r\nContent-Length: 49\r\n\r\nMQTT over WebSocket is spoken here, nothing else\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_text() {
        let text = std::str::from_utf8(NO_PAGES).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            header.ends_with(&format!("Content-Length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
