//! A client of HTTP/1.1 for the broker's pages: one request, and all that comes before the broker closes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::TIMEOUT;

/// A response, taken apart.
pub(crate) struct Response {
    /// The three digits of the status line.
    pub(crate) status: String,
    pub(crate) body: String,
}

/// A request without a body.
pub(crate) fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A connection to a port of this machine.
pub(crate) fn open(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// Everything that a request is answered with before the broker closes.
pub(crate) fn ask(port: u16, request: &str) -> String {
    let mut socket = open(port);
    socket.write_all(request.as_bytes()).unwrap();
    String::from_utf8_lossy(&read_to_end(&socket)).into_owned()
}

/// What a page is answered with; its body has the length that the head announces.
pub(crate) fn get(port: u16, target: &str) -> Response {
    let answer = ask(port, &request("GET", target));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    Response {
        status: head["HTTP/1.1 ".len()..][..3].to_owned(),
        body: body.to_owned(),
    }
}

/// Everything until the broker closes, by a reset too.
pub(crate) fn read_to_end(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("not closed: {error}, after {bytes:x?}"),
    }
}
