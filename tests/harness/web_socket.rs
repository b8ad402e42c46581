//! A client's end of WebSocket, by another implementation than the broker's.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;

use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use super::stream::Stream;

/// Each write is one binary message; what is read is the bytes of binary messages in their order.
pub(crate) struct WebSocketStream {
    socket: WebSocket<Stream>,
    unread: Vec<u8>,
}

impl WebSocketStream {
    /// Asks for the upgrade and waits for it.
    pub(super) fn over(stream: Stream) -> Self {
        let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let (socket, response) = tungstenite::client(request, stream)
            .map_err(|error| error.to_string())
            .unwrap();
        assert_eq!(
            response.headers().get("Sec-WebSocket-Protocol").unwrap(),
            "mqtt",
            "[MQTT-6.0.0-4]"
        );
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.socket.get_ref().socket()
    }
}

impl Read for WebSocketStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.unread.is_empty() {
            match self.socket.read().map_err(io_error) {
                Ok(Message::Binary(payload)) => self.unread.extend(payload),
                Ok(Message::Close(_)) => {}
                Ok(other) => panic!("MQTT is in binary messages [MQTT-6.0.0-1], not {other:?}"),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        let taken = buffer.len().min(self.unread.len());
        buffer[..taken].copy_from_slice(&self.unread[..taken]);
        self.unread.drain(..taken);
        Ok(taken)
    }
}

impl Write for WebSocketStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket
            .send(Message::binary(bytes.to_vec()))
            .map_err(io_error)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush().map_err(io_error)
    }
}

fn io_error(error: tungstenite::Error) -> Error {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ErrorKind::UnexpectedEof.into()
        }
        other => Error::other(other.to_string()),
    }
}
