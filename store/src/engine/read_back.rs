//! Reads messages that wait for a session back from the log.
//!
//! Invariants: nothing is changed. What cannot be read is named, so that the session goes on behind it.

use super::Engine;
use super::messages::{message_of, read_frame};
use super::window::Window;
use crate::read_back::{ReadBack, ReadMessage, ReadRequest};

impl Engine {
    /// The messages from the front of the range that wait and were not sent.
    pub(crate) fn read_back(&self, request: ReadRequest) -> ReadBack {
        // It is not kept: a segment that it has read may be written to.
        let mut window = Window::default();
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut is_last = true;
        for waiting in self.index.waiting(request.session, request.from, request.to) {
            if messages.len() >= request.messages_max || bytes >= request.bytes_max {
                is_last = false;
                break;
            }
            let frame = waiting
                .place
                .and_then(|place| read_frame(&self.segments, place, &mut window));
            let message = frame.and_then(|frame| message_of(&frame, waiting.publication));
            let message = message.map(|(_, message)| message);
            bytes += message.as_ref().map_or(0, Vec::len);
            messages.push(ReadMessage {
                order: waiting.order,
                qos: waiting.qos,
                retain: waiting.retain,
                via: waiting.via.to_vec(),
                message,
            });
        }
        ReadBack {
            request,
            messages,
            is_last,
        }
    }
}
