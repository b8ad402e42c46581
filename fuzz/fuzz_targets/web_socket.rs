//! Frames to a server's side of WebSocket: any bytes, in any cut, give the same payload, answers and end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::stream::SecureStream;

const FRAME_BYTES_MAX: u64 = 1000;

/// Payload, answers, whether the client closed, and whether it was refused.
type Outcome = (Vec<u8>, Vec<u8>, bool, bool);

fn read(frames: &[u8], piece_bytes: usize) -> Outcome {
    let mut stream = SecureStream::Plain.upgraded(FRAME_BYTES_MAX);
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    for piece in frames.chunks(piece_bytes) {
        match stream.open(piece, &mut plain, &mut answer) {
            Ok(opened) if opened.peer_closed => return (plain, answer, true, false),
            Ok(_) => {}
            Err(_) => return (plain, answer, false, true),
        }
    }
    (plain, answer, false, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece_bytes, frames) = input;
    let whole = read(frames, usize::MAX);
    assert!(whole.0.len() <= frames.len());
    assert_eq!(read(frames, usize::from(piece_bytes).max(1)), whole);
});
