//! Framing: a stream that is cut at any place gives the same frames as the whole stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::frame::{Frame, split};

const PACKET_BYTES_MAX: u32 = 4096;

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, stream) = input;
    let (whole, whole_error) = frames(stream);
    let cut = cut % (stream.len() + 1);
    let (front, front_error) = frames(&stream[..cut]);
    assert_eq!(front, whole[..front.len()], "the front gives the first frames");
    let read: usize = front.iter().map(|frame| frame.wire_bytes).sum();
    if front_error {
        assert!(whole_error && front == whole, "an error does not go away");
        return;
    }
    let (rest, rest_error) = frames(&stream[read..]);
    assert_eq!(([front, rest].concat(), rest_error), (whole, whole_error));
});

/// The frames at the start of a buffer, and whether an error ends them.
fn frames(mut buffer: &[u8]) -> (Vec<Frame<'_>>, bool) {
    let mut frames = Vec::new();
    loop {
        match split(buffer, PACKET_BYTES_MAX) {
            Ok(Some(frame)) => {
                assert!(frame.wire_bytes <= PACKET_BYTES_MAX as usize);
                assert!(buffer[..frame.wire_bytes].ends_with(frame.body));
                buffer = &buffer[frame.wire_bytes..];
                frames.push(frame);
            }
            Ok(None) => {
                assert!(
                    buffer.len() < PACKET_BYTES_MAX as usize,
                    "a whole packet is never waited for"
                );
                return (frames, false);
            }
            Err(error) => {
                assert!(error.statement().starts_with("[MQTT-") && error.reason().is_error());
                return (frames, true);
            }
        }
    }
}
