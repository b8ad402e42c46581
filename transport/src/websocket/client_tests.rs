//! The client's side with the server's side of this crate and with another implementation.

use proptest::prelude::*;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketContext};
use tungstenite::{Message, protocol::CloseFrame};

use super::client::Resource;
use super::handshake::{self, ParsedRequest, Wanted};
use super::*;
use crate::stream::SecureStream;

fn resource() -> Resource {
    Resource::new("localhost:8080", "/mqtt").unwrap()
}

/// The answer of this crate's server, and the stream that it continues with.
fn accept(request: &[u8], beneath: SecureStream) -> (Vec<u8>, SecureStream) {
    let wanted = Wanted {
        header_bytes_max: 1024,
        ..Wanted::default()
    };
    let ParsedRequest::Upgrade { answer, length } = handshake::parse_request(request, &wanted) else {
        panic!("refused: {}", String::from_utf8_lossy(request));
    };
    assert_eq!(length, request.len());
    (answer, beneath.upgraded(1 << 20))
}

fn key_of(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let (_, behind) = text.split_once("Sec-WebSocket-Key: ").unwrap();
    behind.split("\r\n").next().unwrap().to_owned()
}

fn answer_to(request: &[u8]) -> String {
    let accept = derive_accept_key(key_of(request).as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nsec-websocket-protocol: mqtt\r\n\r\n"
    )
}

fn begun() -> (SecureStream, Vec<u8>) {
    let mut client = SecureStream::Plain.upgrading(&resource());
    let mut request = Vec::new();
    client.start(&mut request);
    (client, request)
}

/// A client whose upgrade was answered.
fn upgraded() -> SecureStream {
    let (mut client, request) = begun();
    let answer = answer_to(&request);
    client
        .open(answer.as_bytes(), &mut Vec::new(), &mut Vec::new())
        .unwrap();
    client
}

/// [MQTT-6.0.0-3], [MQTT3-6.0.0-3]
#[test]
fn both_sides_of_this_crate_understand_one_another_in_any_cut() {
    let (mut client, request) = begun();
    assert!(client.is_handshaking() && client.is_web_socket() && !client.is_securing());
    let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    client.seal(b"early", &mut to_server);
    assert!(to_server.is_empty(), "nothing goes before the answer");
    let (mut answer, mut server) = accept(&request, SecureStream::Plain);
    server.seal(b"welcome", &mut answer);
    for (at, byte) in answer.iter().enumerate() {
        let read = client.open(&[*byte], &mut plain, &mut to_server);
        assert!(!read.unwrap().peer_closed, "{at}");
    }
    assert!(!client.is_handshaking());
    assert_eq!(plain, b"welcome");
    plain.clear();
    let message: Vec<u8> = (0..70_000u32).map(|byte| byte as u8).collect();
    client.seal(&message, &mut to_server);
    for piece in to_server.chunks(1_001) {
        server.open(piece, &mut plain, &mut to_client).unwrap();
    }
    assert_eq!(plain, [b"early", message.as_slice()].concat());
    to_server.clear();
    client.close(&mut to_server);
    assert!(
        server
            .open(&to_server, &mut plain, &mut to_client)
            .unwrap()
            .peer_closed
    );
}

#[test]
fn above_tls_the_request_waits_for_the_handshake() {
    let (server_config, client_config) = crate::tls::tests::configurations::configurations();
    let client = SecureStream::client(Some(&client_config), "localhost").unwrap();
    let mut client = client.upgrading(&resource());
    let mut server = SecureStream::server(Some(&server_config)).unwrap();
    let (mut to_server, mut to_client, mut request) = (Vec::new(), Vec::new(), Vec::new());
    client.start(&mut to_server);
    while !to_server.is_empty() || !to_client.is_empty() {
        assert!(client.is_handshaking());
        server
            .open(&std::mem::take(&mut to_server), &mut request, &mut to_client)
            .unwrap();
        client
            .open(&std::mem::take(&mut to_client), &mut Vec::new(), &mut to_server)
            .unwrap();
    }
    assert!(client.is_handshaking() && !client.is_securing() && client.is_tls());
    assert!(client.negotiated().is_some());
    let (answer, upgraded) = {
        let mut sealed = Vec::new();
        let (answer, _) = accept(&request, SecureStream::Plain);
        server.seal(&answer, &mut sealed);
        (sealed, server.upgraded(1 << 20))
    };
    let (mut server, mut plain) = (upgraded, Vec::new());
    client.open(&answer, &mut plain, &mut to_server).unwrap();
    assert!(!client.is_handshaking());
    client.seal(b"hello", &mut to_server);
    server.open(&to_server, &mut plain, &mut to_client).unwrap();
    assert_eq!(plain, b"hello");
    plain.clear();
    server.seal(b"back", &mut to_client);
    client.open(&to_client, &mut plain, &mut to_server).unwrap();
    assert_eq!(plain, b"back");
}

#[test]
fn the_other_implementation_takes_what_a_client_sends() {
    let mut client = upgraded();
    let mut wire = Vec::new();
    let sizes = [1, 125, 126, 65_535, 65_536];
    for size in sizes {
        client.seal(&vec![b'x'; size], &mut wire);
    }
    client.close(&mut wire);
    client.seal(b"late", &mut wire);
    let mut pipe = std::io::Cursor::new(wire);
    let mut socket = WebSocketContext::new(Role::Server, None);
    for size in sizes {
        let message = socket.read(&mut pipe).unwrap();
        assert_eq!(message, Message::binary(vec![b'x'; size]));
    }
    let read = socket.read(&mut pipe).unwrap();
    assert!(matches!(
        read,
        Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            ..
        }))
    ));
}

#[test]
fn each_frame_has_a_masking_key_of_its_own() {
    let mut client = upgraded();
    let keys: std::collections::HashSet<Vec<u8>> = (0..20)
        .map(|_| {
            let mut wire = Vec::new();
            client.seal(b"12345678", &mut wire);
            assert_eq!((wire.len(), &wire[..2]), (14, &[0x82, 0x88][..]));
            wire[2..6].to_vec()
        })
        .collect();
    // Of about four thousand million keys.
    assert!(keys.len() > 18, "{keys:?}");
}

#[test]
fn a_ping_is_answered_with_a_masked_pong() {
    let mut client = upgraded();
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    client
        .open(b"\x89\x02hi\x82\x01x", &mut plain, &mut answer)
        .unwrap();
    assert_eq!(plain, b"x");
    let key = &answer[2..6];
    let payload: Vec<u8> = answer[6..]
        .iter()
        .zip(key)
        .map(|(byte, key)| byte ^ key)
        .collect();
    assert_eq!(
        (&answer[..2], payload.as_slice()),
        (&[0x8A, 0x82][..], &b"hi"[..])
    );
}

#[test]
fn a_server_that_masks_is_refused() {
    let mut client = upgraded();
    let mut answer = Vec::new();
    let masked = client.open(&[0x82, 0x81, 1, 2, 3, 4, 5], &mut Vec::new(), &mut answer);
    let error = masked.unwrap_err().to_string();
    assert!(error.contains("mask") && error.contains("1002"), "{error}");
    assert_eq!(answer[..2], [0x88, 0x82], "a masked close frame");
}

#[test]
fn answers_that_are_no_agreement_say_why() {
    for (from, to, part) in [
        ("101 Switching Protocols", "404 Not Found", "404 Not Found"),
        ("101 Switching Protocols", "200 OK", "200 OK"),
        ("HTTP/1.1", "\u{20}\u{2}MQTT", "is not HTTP"),
        ("Upgrade: WebSocket", "Upgrade: h2c", "Upgrade: websocket"),
        ("keep-alive, upgrade", "keep-alive", "Connection: Upgrade"),
        ("Sec-WebSocket-Accept", "X-Accept", "Sec-WebSocket-Accept"),
        ("Accept: ", "Accept: x", "Sec-WebSocket-Accept"),
        ("protocol: mqtt", "protocol: chat", "subprotocol mqtt"),
        ("sec-websocket-protocol", "x-protocol", "subprotocol mqtt"),
        (
            "Upgrade:",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:",
            "extension",
        ),
    ] {
        let (mut client, request) = begun();
        let answer = answer_to(&request).replacen(from, to, 1);
        assert_ne!(answer, answer_to(&request), "{from}");
        let mut out = Vec::new();
        let refused = client.open(answer.as_bytes(), &mut Vec::new(), &mut out);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(part), "{to}: {error}");
        assert!(out.is_empty(), "no frame follows");
        client.seal(b"late", &mut out);
        client.close(&mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    for piece in [&b"HTTP/1.1 101 Yes\r\nA: "[..], &b"a: b\r\n"[..]] {
        let (mut client, _) = begun();
        let (mut wire, mut first) = (b"HTTP/1.1 101 Yes\r\n".to_vec(), true);
        let error = loop {
            wire.extend(if first { piece } else { &[b'x'; 100][..] });
            first = false;
            match client.open(&std::mem::take(&mut wire), &mut Vec::new(), &mut Vec::new()) {
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("answer to the upgrade"), "{error}");
    }
}

#[test]
fn resources_cannot_break_a_request() {
    for (authority, path) in [
        ("", "/mqtt"),
        ("a b", "/mqtt"),
        ("a\r\nX: y", "/mqtt"),
        ("a", ""),
        ("a", "mqtt"),
        ("a", "/m qtt"),
        ("a", "/mqtt\r\nX: y"),
        ("a", "/m#x"),
        ("a", "/\u{fc}"),
    ] {
        assert!(Resource::new(authority, path).is_err(), "{authority:?} {path:?}");
    }
    let resource = Resource::new("[::1]:80", "/a?b=%20").unwrap();
    let mut request = Vec::new();
    SecureStream::Plain.upgrading(&resource).start(&mut request);
    let text = String::from_utf8(request).unwrap();
    assert!(
        text.starts_with("GET /a?b=%20 HTTP/1.1\r\nHost: [::1]:80\r\n"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn any_answer_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let (mut client, request) = begun();
        let mut answer = answer_to(&request).into_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let place = at * 7 % answer.len();
            answer[place] ^= byte & 0x11;
        }
        answer.extend(&bytes);
        for piece in answer.chunks(cut) {
            match client.open(piece, &mut Vec::new(), &mut Vec::new()) {
                Ok(_) => {}
                Err(StreamError::Upgrade(_) | StreamError::WebSocket(_)) => break,
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
