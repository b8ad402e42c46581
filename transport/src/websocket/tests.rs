//! A server's side with tungstenite as a client, and the upgrade.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::handshake::{self, Page, ParsedRequest, Wanted};
use super::*;
use crate::stream::SecureStream;

const FRAME_BYTES_MAX: u64 = 1 << 20;

fn server() -> SecureStream {
    SecureStream::Plain.upgraded(FRAME_BYTES_MAX)
}

/// Both directions of a socket, in memory.
#[derive(Default)]
struct Pipe {
    to_client: VecDeque<u8>,
    to_server: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.to_client.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.to_server.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other implementation, at the client's end.
struct Client {
    pipe: Pipe,
    socket: WebSocketContext,
}

impl Client {
    fn new() -> Self {
        Self {
            pipe: Pipe::default(),
            socket: WebSocketContext::new(Role::Client, Some(WebSocketConfig::default())),
        }
    }

    fn wire(&mut self, messages: impl IntoIterator<Item = Message>) -> Vec<u8> {
        for message in messages {
            self.socket.write(&mut self.pipe, message).unwrap();
        }
        self.socket.flush(&mut self.pipe).unwrap();
        std::mem::take(&mut self.pipe.to_server)
    }

    fn read(&mut self, wire: &[u8]) -> Message {
        self.pipe.to_client.extend(wire);
        self.socket.read(&mut self.pipe).unwrap()
    }
}

fn part(payload: &[u8], data: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(data), is_final))
}

/// What the server reads from the client's bytes, and its answer.
fn opened(wire: &[u8]) -> (Result<Opened, StreamError>, Vec<u8>, Vec<u8>) {
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    let opened = server().open(wire, &mut plain, &mut answer);
    (opened, plain, answer)
}

/// The close code with which the bytes are answered.
fn refusal(wire: &[u8]) -> u16 {
    let (result, _, answer) = opened(wire);
    let Err(StreamError::WebSocket(error)) = result else {
        panic!("{wire:x?}: {result:?}");
    };
    assert_eq!(answer[..2], [0x88, 2], "{wire:x?}");
    assert_eq!(answer[2..], error.code.to_be_bytes());
    error.code
}

#[test]
fn malformed_frames_are_refused_by_code() {
    let masked = |first: u8, length: u8| vec![first, 0x80 | length, 1, 2, 3, 4];
    let (protocol, unsupported, size) = (1002, 1003, 1009);
    for (wire, code) in [
        (masked(0x81, 0), unsupported),
        (masked(0x01, 5), unsupported),
        (masked(0xC2, 0), protocol),
        (masked(0xA2, 0), protocol),
        (masked(0x92, 0), protocol),
        (vec![0x82, 0], protocol),
        (vec![0x82, 1, 0], protocol),
        (masked(0x80, 1), protocol),
        (masked(0x83, 0), protocol),
        (masked(0x87, 0), protocol),
        (masked(0x8B, 0), protocol),
        (masked(0x09, 0), protocol),
        (vec![0x89, 0xFE, 0, 126, 0, 0, 0, 0], protocol),
        ([masked(0x02, 0), masked(0x82, 0)].concat(), protocol),
        (vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0], size),
        (
            vec![0x82, 0xFF, 0xFF, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
            size,
        ),
        // Close frames: half a code, codes that are never sent, a reason that is not UTF-8.
        (vec![0x88, 0x81, 0, 0, 0, 0, 3], protocol),
        (vec![0x88, 0x82, 0, 0, 0, 0, 3, 0xED], protocol),
        (vec![0x88, 0x82, 0, 0, 0, 0, 0, 5], protocol),
        (vec![0x88, 0x83, 0, 0, 0, 0, 3, 0xE8, 0xFF], protocol),
    ] {
        assert_eq!(refusal(&wire), code, "{wire:x?}");
    }
}

#[test]
fn nothing_is_read_after_a_close() {
    let mut client = Client::new();
    let close = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    let mut wire = client.wire([Message::binary(b"last".to_vec()), Message::Close(Some(close))]);
    wire.extend([0x82, 0x81, 0, 0, 0, 0, b'x']);
    let mut stream = server();
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    let opened = stream.open(&wire, &mut plain, &mut answer).unwrap();
    assert!(opened.peer_closed);
    assert_eq!(plain, b"last");
    assert!(matches!(client.read(&answer), Message::Close(Some(close)) if close.code == CloseCode::Away));
    assert!(
        stream
            .open(&[0x82, 0x80], &mut plain, &mut answer)
            .unwrap()
            .peer_closed
    );
    answer.clear();
    stream.seal(b"late", &mut answer);
    stream.close(&mut answer);
    assert!(answer.is_empty(), "{answer:x?}");
}

#[test]
fn the_last_ping_is_answered_between_pieces_of_a_message() {
    let mut client = Client::new();
    let wire = client.wire([
        part(b"ab", Data::Binary, false),
        Message::Ping(b"one".to_vec().into()),
        Message::Ping(b"two".to_vec().into()),
        Message::Pong(b"unasked".to_vec().into()),
        part(b"cd", Data::Continue, true),
    ]);
    let (result, plain, answer) = opened(&wire);
    assert!(!result.unwrap().peer_closed);
    assert_eq!(plain, b"abcd");
    assert_eq!(client.read(&answer), Message::Pong(b"two".to_vec().into()));
}

#[test]
fn a_flush_is_one_binary_frame() {
    for length in [1, 125, 126, 65_535, 65_536, 1_000_000] {
        let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let mut wire = Vec::new();
        server().seal(&payload, &mut wire);
        assert_eq!(Client::new().read(&wire), Message::binary(payload));
    }
    let mut wire = Vec::new();
    let mut stream = server();
    stream.seal(b"", &mut wire);
    assert!(wire.is_empty(), "no empty frames");
    stream.close(&mut wire);
    assert!(
        matches!(Client::new().read(&wire), Message::Close(Some(close)) if close.code == CloseCode::Normal)
    );
}

#[test]
fn above_tls_a_flush_is_one_record() {
    let (server_config, client_config) = crate::tls::tests::configurations::configurations();
    let mut client = SecureStream::client(Some(&client_config), "localhost").unwrap();
    let mut server = SecureStream::server(Some(&server_config)).unwrap();
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    client.start(&mut to_server);
    while !to_server.is_empty() || !to_client.is_empty() {
        server
            .open(&std::mem::take(&mut to_server), &mut plain, &mut to_client)
            .unwrap();
        client
            .open(&std::mem::take(&mut to_client), &mut plain, &mut to_server)
            .unwrap();
    }
    let mut server = server.upgraded(FRAME_BYTES_MAX);
    assert!(server.is_tls() && !server.is_plain() && !server.is_handshaking());
    let mut wire = Vec::new();
    server.seal(b"hello", &mut wire);
    let record = usize::from(u16::from_be_bytes([wire[3], wire[4]]));
    assert_eq!(wire.len(), 5 + record);
    client.open(&wire, &mut plain, &mut to_server).unwrap();
    assert_eq!(plain, b"\x82\x05hello");
    let frames = Client::new().wire([Message::binary(b"back".to_vec())]);
    client.seal(&frames, &mut to_server);
    plain.clear();
    server.open(&to_server, &mut plain, &mut to_client).unwrap();
    assert_eq!(plain, b"back");
}

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, \
                       Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: \
                       http://example.org\r\nSec-WebSocket-Protocol: chat, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn wanted() -> Wanted {
    Wanted {
        header_bytes_max: 1024,
        ..Wanted::default()
    }
}

/// The status of a refusal.
fn status(request: &str, wanted: &Wanted) -> String {
    match handshake::parse_request(request.as_bytes(), wanted) {
        ParsedRequest::Refused { answer, .. } => {
            let answer = String::from_utf8(answer).unwrap();
            let (header, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                header.contains(&format!("Content-Length: {}", body.len())),
                "{header}"
            );
            header["HTTP/1.1 ".len()..][..3].to_owned()
        }
        other => panic!("{request}: {other:?}"),
    }
}

/// [MQTT-6.0.0-3], [MQTT-6.0.0-4], [MQTT3-6.0.0-4]; the key and its answer are those of RFC 6455, section 1.3.
#[test]
fn an_upgrade_is_answered_when_it_is_whole() {
    let mut bytes = REQUEST.as_bytes().to_vec();
    for cut in 0..bytes.len() {
        assert_eq!(
            handshake::parse_request(&bytes[..cut], &wanted()),
            ParsedRequest::Incomplete,
            "{cut}"
        );
    }
    bytes.extend(b"frames");
    let ParsedRequest::Upgrade { answer, length } = handshake::parse_request(&bytes, &wanted()) else {
        panic!("refused");
    };
    assert_eq!(&bytes[length..], b"frames");
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        "{answer}"
    );
    assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    let old = REQUEST.replace("chat, mqtt", "mqttv3.1");
    let ParsedRequest::Upgrade { answer, .. } = handshake::parse_request(old.as_bytes(), &wanted()) else {
        panic!("refused");
    };
    assert!(String::from_utf8(answer).unwrap().contains("mqttv3.1"));
}

#[test]
fn malformed_upgrades_are_refused_by_status() {
    for (from, to, code) in [
        ("GET", "POST", "400"),
        ("HTTP/1.1", "HTTP/1.0", "400"),
        ("HTTP/1.1", "HTTP/9", "400"),
        ("Upgrade: websocket", "Upgrade: h2c", "400"),
        ("keep-alive, Upgrade", "close", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("Sec-WebSocket-Key", "X-Key", "400"),
        ("chat, mqtt", "chat", "400"),
        ("Sec-WebSocket-Protocol", "X-Protocol", "400"),
        ("Version: 13", "Version: 8", "426"),
        ("Sec-WebSocket-Version", "X-Version", "426"),
        ("Host: localhost", "Host\u{1}: localhost", "400"),
    ] {
        let request = REQUEST.replacen(from, to, 1);
        assert_ne!(request, REQUEST);
        assert_eq!(status(&request, &wanted()), code, "{from} -> {to}");
    }
    let many: String = (0..200).map(|number| format!("A{number}: b\r\n")).collect();
    assert_eq!(
        status(
            &REQUEST.replace("Host", &format!("{many}Host")),
            &Wanted {
                header_bytes_max: 65_536,
                ..wanted()
            }
        ),
        "431"
    );
}

#[test]
fn headers_are_bounded_whole_or_not() {
    let small = Wanted {
        header_bytes_max: 100,
        ..wanted()
    };
    assert_eq!(status(REQUEST, &small), "431");
    assert_eq!(status(&REQUEST[..100], &small), "431");
    assert_eq!(
        handshake::parse_request(&REQUEST.as_bytes()[..99], &small),
        ParsedRequest::Incomplete
    );
}

#[test]
fn origins_are_compared_whole() {
    let from = |origins: &[&str]| Wanted {
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        ..wanted()
    };
    let allowed = from(&["http://a", "http://example.org"]);
    assert!(matches!(
        handshake::parse_request(REQUEST.as_bytes(), &allowed),
        ParsedRequest::Upgrade { .. }
    ));
    assert_eq!(status(REQUEST, &from(&["http://example.org:80"])), "403");
    assert_eq!(status(REQUEST, &from(&["example.org"])), "403");
    assert_eq!(status(&REQUEST.replace("Origin", "X-Origin"), &allowed), "403");
}

#[test]
fn other_requests_are_for_pages() {
    let page = |method: &str, target: &str, fields: &[(&str, &str)], header_bytes| {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Page {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: fields.collect(),
            header_bytes,
        }
    };
    for (request, expected) in [
        (
            "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
            page("GET", "/a?b", &[("Host", "x")], 30),
        ),
        ("HEAD / HTTP/1.0\r\n\r\nbody", page("HEAD", "/", &[], 19)),
        (
            "DELETE /../x HTTP/1.1\r\nHost: \r\n\r\n",
            page("DELETE", "/../x", &[("Host", "")], 33),
        ),
        // The target contains the host.
        (
            "GET http://[::1]:80/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
            page("GET", "/a?b", &[("Host", "[::1]:80")], 45),
        ),
        (
            "OPTIONS HTTPS://y HTTP/1.1\r\nHost: x\r\n\r\n",
            page("OPTIONS", "/", &[("Host", "y")], 39),
        ),
        (
            "PUT /a HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
            page("PUT", "/a", &[], 41),
        ),
    ] {
        let parsed = handshake::parse_request(request.as_bytes(), &wanted());
        assert_eq!(parsed, ParsedRequest::Page(expected));
    }
}

/// A request that names no host, or several, could be meant for another server.
#[test]
fn hosts_that_are_none_are_refused() {
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: x\r\nhost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "GET http://x y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let ParsedRequest::Refused { answer, .. } = handshake::parse_request(request.as_bytes(), &wanted())
        else {
            panic!("{request} is taken");
        };
        assert!(answer.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{request}");
    }
}

#[test]
fn mqtt_without_websocket_gets_no_answer() {
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    let ParsedRequest::Refused { answer, why, .. } = handshake::parse_request(connect, &wanted()) else {
        panic!("taken");
    };
    assert!(answer.is_empty() && why.contains("protocol websockets"), "{why}");
}

proptest! {
    #[test]
    fn bytes_come_out_in_any_cut(
        pieces in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<bool>()),
            1..20,
        ),
        cut in 1usize..50,
    ) {
        let mut client = Client::new();
        let (mut wire, mut expected, mut in_message) = (Vec::new(), Vec::new(), false);
        for (payload, is_final, ping) in pieces {
            let data = if in_message { Data::Continue } else { Data::Binary };
            wire.extend(client.wire([part(&payload, data, is_final)]));
            if ping {
                wire.extend(client.wire([Message::Ping(b"?".to_vec().into())]));
            }
            in_message = !is_final;
            expected.extend(payload);
        }
        let (mut stream, mut plain, mut answer) = (server(), Vec::new(), Vec::new());
        for bytes in wire.chunks(cut) {
            prop_assert!(!stream.open(bytes, &mut plain, &mut answer).unwrap().peer_closed);
        }
        prop_assert_eq!(plain, expected);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let (mut stream, mut plain, mut answer) = (server(), Vec::new(), Vec::new());
        for bytes in bytes.chunks(cut) {
            if stream.open(bytes, &mut plain, &mut answer).is_err() {
                break;
            }
        }
        prop_assert!(plain.len() <= bytes.len());
        let _ = handshake::parse_request(&bytes, &wanted());
        let mut request = REQUEST.as_bytes().to_vec();
        for (at, byte) in bytes.iter().enumerate() {
            request[at % REQUEST.len()] ^= byte & 0x11;
        }
        let _ = handshake::parse_request(&request, &wanted());
    }
}
