//! Reads messages that wait for a session back from the log.
//!
//! Invariants: nothing is changed. What cannot be read is reported, so that the session skips it. Expired messages are
//! found without access to the disk.

use super::Engine;
use super::messages::{message_of, read_frame};
use super::window::Window;
use crate::index::Waiting;
use crate::read_back::{ReadBack, ReadMessage, ReadRequest, Wanted};

impl Engine {
    /// What is asked for of the messages of the range that wait and were not sent.
    pub(crate) fn read_back(&self, request: ReadRequest) -> ReadBack {
        match request.wanted {
            Wanted::First => self.read_if(request, |_| true),
            Wanted::Shared => self.read_if(request, |waiting| (self.options.is_shared)(waiting.via)),
            Wanted::ExpiredAt(wall_ns) => self.find_expired(request, wall_ns),
        }
    }

    /// Those from the front of the range which are wanted.
    fn read_if(&self, request: ReadRequest, is_wanted: impl Fn(&Waiting<'_>) -> bool) -> ReadBack {
        // It is not kept: a segment that it has read may be written to.
        let mut window = Window::default();
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        let waiting = self.index.waiting(request.session, request.from, request.to);
        for (looked_at, waiting) in waiting.enumerate() {
            let is_long = messages.len() >= request.messages_max || bytes >= request.bytes_max;
            if is_long || looked_at >= LOOKED_AT_MAX {
                next = Some(waiting.order);
                break;
            }
            if !is_wanted(&waiting) {
                continue;
            }
            let frame = waiting
                .place
                .and_then(|place| read_frame(&self.segments, place, &mut window));
            let message = frame.and_then(|frame| message_of(&frame, waiting.publication));
            let message = message.map(|(_, message)| message);
            bytes += message.as_ref().map_or(0, Vec::len);
            messages.push(read_message(&waiting, message));
        }
        ReadBack {
            request,
            messages,
            next,
            expires_first_ns: u64::MAX,
        }
    }

    /// The messages that have expired.
    fn find_expired(&self, request: ReadRequest, wall_ns: u64) -> ReadBack {
        let mut answer = ReadBack {
            request,
            messages: Vec::new(),
            next: None,
            expires_first_ns: u64::MAX,
        };
        let waiting = self.index.waiting(request.session, request.from, request.to);
        for (looked_at, waiting) in waiting.enumerate() {
            if looked_at >= LOOKED_AT_MAX || answer.messages.len() >= request.messages_max {
                answer.next = Some(waiting.order);
                break;
            }
            let expires_ns = self.index.expires_ns(waiting.publication);
            if expires_ns <= wall_ns {
                answer.messages.push(read_message(&waiting, None));
            } else {
                answer.expires_first_ns = answer.expires_first_ns.min(expires_ns);
            }
        }
        answer
    }
}

fn read_message(waiting: &Waiting<'_>, message: Option<Vec<u8>>) -> ReadMessage {
    ReadMessage {
        order: waiting.order,
        qos: waiting.qos,
        retain: waiting.retain,
        via: waiting.via.to_vec(),
        message,
    }
}

/// Messages that are looked at for one request: commits wait for some milliseconds at most.
const LOOKED_AT_MAX: usize = 1 << 15;
