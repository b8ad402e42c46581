//! Frames of RFC 6455, section 5, as either side reads and writes them.
//!
//! Invariant: between two calls no byte of a frame's data is kept, only the position in it; guarded by the test
//! `bytes_come_out_in_any_cut`.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::{WebSocketError, masking};

/// Largest size of a frame header: two bytes, eight of the length, four of the mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// Largest payload of a control frame: RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: u64 = 125;
/// A mask of zeros, which does not change the bytes.
const UNMASKED: [u8; 4] = [0; 4];

/// Which end of a connection this is: a client masks what it sends, a server does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// Parses frames as their bytes arrive.
#[derive(Debug)]
pub(super) struct Reader {
    side: Side,
    frame_bytes_max: u64,
    /// Bytes of a header that is not complete.
    header: Vec<u8>,
    /// The frame that is being read.
    frame: Option<Frame>,
    /// Whether a message of several frames has not ended.
    in_message: bool,
}

/// A frame of which the header was read.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// Bytes of payload that have not arrived.
    left: u64,
    /// Rotated so that the next byte is masked with the first.
    mask: [u8; 4],
}

#[derive(Debug)]
enum Kind {
    Data,
    /// A control frame with its payload so far.
    Control(Control, Vec<u8>),
}

/// The state of the reader after what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Goes,
    /// The peer closed and was answered.
    Closed,
}

impl Reader {
    pub(super) fn new(side: Side, frame_bytes_max: u64) -> Self {
        Self {
            side,
            frame_bytes_max,
            header: Vec::new(),
            frame: None,
            in_message: false,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Appends the payload of binary frames to `plain`, and the answers to control frames to `answer`.
    ///
    /// [MQTT3-6.0.0-2], [MQTT-6.0.0-2]
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        answer: &mut Vec<u8>,
    ) -> Result<Step, WebSocketError> {
        // Only the last of several pings is answered: RFC 6455, section 5.5.3. So an answer is never larger than what
        // it answers.
        let mut pong = None;
        let step = loop {
            if self.frame.is_none() {
                self.frame = self.read_header(&mut bytes)?;
            }
            let Some(frame) = &mut self.frame else {
                break Step::Goes;
            };
            frame.read(&mut bytes, plain);
            if frame.left > 0 {
                break Step::Goes;
            }
            match self.frame.take().map(|frame| frame.kind) {
                Some(Kind::Control(Control::Close, payload)) => {
                    push_close(close_code(&payload)?, self.side, answer);
                    break Step::Closed;
                }
                Some(Kind::Control(Control::Ping, payload)) => pong = Some(payload),
                _ => {}
            }
        };
        if let Some(payload) = pong.filter(|_| step == Step::Goes) {
            push_frame(OpCode::Control(Control::Pong), &payload, self.side, answer);
        }
        Ok(step)
    }

    /// The next frame, when its header is complete.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, WebSocketError> {
        if self.header.is_empty() {
            let mut cursor = Cursor::new(*bytes);
            if let Some(parsed) = parse(&mut cursor)? {
                *bytes = bytes.get(cursor.position() as usize..).unwrap_or_default();
                return self.begin(parsed).map(Some);
            }
        }
        while let Some((byte, rest)) = bytes.split_first() {
            self.header.push(*byte);
            *bytes = rest;
            if let Some(parsed) = parse(&mut Cursor::new(self.header.as_slice()))? {
                self.header = Vec::new();
                return self.begin(parsed).map(Some);
            }
            debug_assert!(
                self.header.len() < HEADER_BYTES_MAX,
                "a header of 14 bytes is complete"
            );
        }
        Ok(None)
    }

    fn begin(&mut self, (header, length): (FrameHeader, u64)) -> Result<Frame, WebSocketError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol("a frame of an extension that was not negotiated"));
        }
        // RFC 6455, section 5.1.
        let mask = match (self.side, header.mask) {
            (Side::Server, Some(mask)) => mask,
            (Side::Server, None) => return Err(protocol("a frame without a mask")),
            (Side::Client, None) => UNMASKED,
            (Side::Client, Some(_)) => return Err(protocol("a frame with a mask")),
        };
        let kind = match header.opcode {
            OpCode::Data(data) => self.begin_data(data, header.is_final, length)?,
            OpCode::Control(_) if !header.is_final => return Err(protocol("a fragmented control frame")),
            OpCode::Control(_) if length > CONTROL_BYTES_MAX => {
                return Err(protocol("a control frame of more than 125 bytes"));
            }
            OpCode::Control(control) => Kind::Control(control, Vec::new()),
        };
        Ok(Frame {
            kind,
            left: length,
            mask,
        })
    }

    // [MQTT3-6.0.0-1]
    fn begin_data(&mut self, data: Data, is_final: bool, length: u64) -> Result<Kind, WebSocketError> {
        match data {
            // [MQTT-6.0.0-1]
            Data::Text => {
                return Err(WebSocketError {
                    code: CloseCode::Unsupported.into(),
                    why: "a text frame, and MQTT requires binary frames",
                });
            }
            Data::Continue if !self.in_message => {
                return Err(protocol("a continuation without a message"));
            }
            Data::Binary if self.in_message => {
                return Err(protocol("a new message within another"));
            }
            _ => {}
        }
        if length > self.frame_bytes_max {
            return Err(WebSocketError {
                code: CloseCode::Size.into(),
                why: "a frame that is larger than the largest packet",
            });
        }
        self.in_message = !is_final;
        Ok(Kind::Data)
    }
}

impl Frame {
    /// Takes the payload that has arrived.
    fn read(&mut self, bytes: &mut &[u8], plain: &mut Vec<u8>) {
        let here = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (payload, rest) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.left -= payload.len() as u64;
        let into = match &mut self.kind {
            Kind::Data => plain,
            Kind::Control(_, gathered) => gathered,
        };
        let from = into.len();
        into.extend_from_slice(payload);
        if self.mask != UNMASKED {
            mask_all(into.get_mut(from..).unwrap_or_default(), self.mask);
            self.mask.rotate_left(payload.len() % 4);
        }
    }
}

fn parse(cursor: &mut Cursor<&[u8]>) -> Result<Option<(FrameHeader, u64)>, WebSocketError> {
    FrameHeader::parse(cursor).map_err(|_| protocol("a frame of an unknown kind"))
}

fn protocol(why: &'static str) -> WebSocketError {
    WebSocketError {
        code: CloseCode::Protocol.into(),
        why,
    }
}

/// RFC 6455, section 5.3, eight bytes at a time: masks or unmasks.
fn mask_all(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The code of the close frame that answers: the peer's code.
fn close_code(payload: &[u8]) -> Result<CloseCode, WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(CloseCode::Normal)
        } else {
            Err(protocol("a close frame with half a code"))
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        return Err(protocol("a close frame with a code that is not allowed in it"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(protocol("a close frame whose reason is not UTF-8"));
    }
    Ok(code)
}

pub(super) fn push_close(code: CloseCode, side: Side, out: &mut Vec<u8>) {
    let payload = u16::from(code).to_be_bytes();
    push_frame(OpCode::Control(Control::Close), &payload, side, out);
}

/// Appends a whole message as one binary frame.
pub(super) fn push_binary(payload: &[u8], side: Side, out: &mut Vec<u8>) {
    push_frame(OpCode::Data(Data::Binary), payload, side, out);
}

fn push_frame(opcode: OpCode, payload: &[u8], side: Side, out: &mut Vec<u8>) {
    let mask = (side == Side::Client).then(masking::key);
    let header = FrameHeader {
        opcode,
        mask,
        ..FrameHeader::default()
    };
    // Writing to a Vec cannot fail.
    let _written = header.format(payload.len() as u64, out);
    let from = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask_all(out.get_mut(from..).unwrap_or_default(), mask);
    }
}

/// The header of a whole binary message with `length` bytes, and the length of that header.
pub(super) fn binary_header(length: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Binary),
        ..FrameHeader::default()
    };
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut cursor = Cursor::new(bytes.as_mut_slice());
    // There is enough space for the longest header.
    let _written = header.format(length as u64, &mut cursor);
    let written = cursor.position() as usize;
    (bytes, written)
}
