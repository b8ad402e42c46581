//! `client_events`: connects and disconnects, on `$SYS/broker/clients/ID/connected` and `disconnected`.
//!
//! Invariants: nothing of this is retained or queued, and nothing is published unless it is configured. An identifier
//! is one level of the topic: characters with a meaning in topics are percent-encoded.

use serde_json::json;

use crate::logic::Shard;
use crate::logic::connect_request::ConnectRequest;
use crate::logic::connection::Peer;
use crate::logic::counters::DisconnectCause;

impl Shard {
    /// A client was accepted.
    pub(super) fn publish_connected(&mut self, client: &str, connect: &ConnectRequest, peer: &Peer) {
        let event = json!({
            "client_id": client,
            "user": peer.user(connect),
            "address": peer.address.to_string(),
            "protocol": connect.version as u8,
            "clean_start": connect.clean_start,
            "keep_alive_s": connect.keep_alive_s,
        });
        self.publish_of_broker(&topic(client, "connected"), event.to_string().as_bytes(), false);
    }

    /// The connection of a client has ended; `client` is `None` if this is not to be published.
    pub(super) fn publish_disconnected(
        &mut self,
        client: Option<Box<str>>,
        cause: DisconnectCause,
        why: Option<&str>,
    ) {
        let Some(client) = client else {
            // The usual case: `client_events` is off, or no client had the connection.
            return;
        };
        let event = json!({ "client_id": client, "reason": cause.label(), "why": why });
        self.publish_of_broker(
            &topic(&client, "disconnected"),
            event.to_string().as_bytes(),
            false,
        );
    }
}

fn topic(client: &str, event: &str) -> String {
    let mut topic = String::from("$SYS/broker/clients/");
    for character in client.chars() {
        if matches!(character, '/' | '+' | '#' | '%') || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                topic.push_str(&format!("%{byte:02X}"));
            }
        } else {
            topic.push(character);
        }
    }
    topic.push('/');
    topic.push_str(event);
    topic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_one_level() {
        assert_eq!(
            topic("a/b+#%\u{7}é", "x"),
            "$SYS/broker/clients/a%2Fb%2B%23%25%07é/x"
        );
    }
}
