//! Frames to a server's side of WebSocket: any bytes, in pieces of any size, give the same payload, close frame and
//! end. The number of answered pings depends on the pieces: only the last of those that are read at once is answered
//! (RFC 6455, section 5.5.3).
#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::stream::SecureStream;

const FRAME_BYTES_MAX: u64 = 1000;

/// Payload, answers other than pongs, whether the client closed, and whether it was refused.
type Outcome = (Vec<u8>, Vec<u8>, bool, bool);

fn read(frames: &[u8], piece_bytes: usize) -> Outcome {
    let mut stream = SecureStream::Plain.upgraded(FRAME_BYTES_MAX);
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    for piece in frames.chunks(piece_bytes) {
        match stream.open(piece, &mut plain, &mut answer) {
            Ok(opened) if opened.peer_closed => return (plain, without_pongs(&answer), true, false),
            Ok(_) => {}
            Err(_) => return (plain, without_pongs(&answer), false, true),
        }
    }
    (plain, without_pongs(&answer), false, false)
}

/// The frames of a server's answer, which are short and not masked, except pongs.
fn without_pongs(mut answer: &[u8]) -> Vec<u8> {
    let mut others = Vec::new();
    while let [first, length, rest @ ..] = answer {
        let bytes = 2 + usize::from(*length);
        if *first != 0x8A {
            others.extend_from_slice(&answer[..bytes]);
        }
        answer = &rest[usize::from(*length)..];
    }
    others
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece_bytes, frames) = input;
    let whole = read(frames, usize::MAX);
    assert!(whole.0.len() <= frames.len());
    assert_eq!(read(frames, usize::from(piece_bytes).max(1)), whole);
});
