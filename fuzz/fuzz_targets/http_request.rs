//! Requests to a WebSocket listener: any bytes are answered, refused or waited for, and more bytes after a complete
//! request change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::websocket::handshake::{ParsedRequest, Wanted, parse_request};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (request, behind) = input;
    let wanted = Wanted {
        header_bytes_max: 512,
        origins: Vec::new(),
        pages_alone: false,
    };
    let parsed = parse_request(request, &wanted);
    match &parsed {
        ParsedRequest::Incomplete => assert!(request.len() < wanted.header_bytes_max),
        ParsedRequest::Upgrade { answer, length } => {
            assert!(*length <= request.len() && answer.starts_with(b"HTTP/1.1 101 "));
            let more = parse_request(&[request, behind].concat(), &wanted);
            assert!(matches!(more, ParsedRequest::Upgrade { length: other, .. } if other == *length));
        }
        ParsedRequest::Page(_) => {}
        ParsedRequest::Refused { answer, .. } => {
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
        }
    }
});
