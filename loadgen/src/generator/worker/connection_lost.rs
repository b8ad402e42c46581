//! Handles connections that end too early, and distinguishes their late completions from those of the connections that
//! replace them.
//!
//! Invariants: none.

use transport::clock::monotonic_ns;
use transport::ring::Token;
use transport::stream::StreamError;
use transport::websocket::client::UpgradeError;

use super::{Role, Worker};
use crate::connection::opening::Stage;
use crate::connection::{Broken, SlotToken};
use crate::generator::identity::Who;
use crate::target::endpoint::Endpoint;

impl Worker<'_> {
    /// A connection ended early.
    pub(super) fn connection_lost(&mut self, slot: usize, broken: &Broken) {
        let Some(client) = self
            .clients
            .get_mut(slot)
            .filter(|client| client.opening.stage != Stage::Closed)
        else {
            return;
        };
        if matches!(client.who, Who::Slow(_)) && self.load.times.is_some() {
            // A broker that disconnects a client that does not read follows its policy; the load has not failed.
            client.opening.stage = Stage::Closed;
            client.connection.shut_down();
            self.ready -= 1;
            self.load.slow_broken += 1;
            return;
        }
        let endpoint = &self.run.endpoint;
        let hint = hint(client.opening.stage, broken, endpoint);
        let (who, host) = (client.who, endpoint.host(client.who.number()));
        let cause = format!(
            "{who} to {host} ({}): {broken}{hint}",
            client.opening.stage.name()
        );
        self.load.causes.push(cause);
        self.load.causes.truncate(CAUSES_MAX);
        let again = self.run.scenario.reconnect && self.load.times.is_some();
        let was_ready = client.opening.stage == Stage::Ready && client.started_at_ns == 0;
        if let Role::Subscriber(subscriber) = &mut client.role {
            subscriber.disconnected();
        }
        if let Role::Publisher(publisher) = &mut client.role {
            let has_acknowledgements = publisher.flights.is_some();
            let flights = publisher.forget_flights();
            let unacknowledged = has_acknowledgements.then_some(flights);
            let interruptions = &self.run.interruptions;
            interruptions.cut(publisher.number(), publisher.sent(), unacknowledged);
            publisher.cut_off = true;
            if again {
                self.load.in_flight = self.load.in_flight.saturating_sub(flights);
            } else {
                let unfinished = u64::from(!publisher.finished);
                self.load.unfinished = self.load.unfinished.saturating_sub(unfinished);
                publisher.finished = true;
            }
        }
        if again {
            client.again_at_ns = monotonic_ns() + AGAIN_AFTER_NS;
        }
        client.opening.stage = Stage::Closed;
        client.connection.shut_down();
        self.ready -= usize::from(was_ready);
        // A failure while it is re-established was counted when it broke.
        self.load.broken += u64::from(was_ready || !again);
    }

    /// The slot of a completion's client, if the completion belongs to the client's current connection.
    pub(super) fn slot_of_token(&self, token: Token) -> Option<usize> {
        let token = SlotToken::from(token);
        let client = self.clients.get(token.slot)?;
        token.is_of(client.generation).then_some(token.slot)
    }
}

/// A possible reason for a connection that ends while it is being established.
fn hint(stage: Stage, broken: &Broken, endpoint: &Endpoint) -> &'static str {
    match (stage, broken, endpoint.is_tls()) {
        (Stage::ConnAck | Stage::WebSocket, Broken::Closed | Broken::Socket(_), false)
            if endpoint.web_socket =>
        {
            "; if the port speaks TLS, give --cafile, and if it does not support WebSocket, remove --ws"
        }
        (Stage::ConnAck, Broken::Closed | Broken::Socket(_), false) => {
            "; if the port speaks TLS, give --cafile, and if it speaks WebSocket, give --ws"
        }
        (Stage::WebSocket, Broken::Closed | Broken::Socket(_), true) => {
            "; if the port does not support WebSocket, remove --ws"
        }
        (Stage::WebSocket, Broken::Tls(StreamError::Upgrade(UpgradeError::Status(..))), _) => {
            "; is --ws-path right?"
        }
        (Stage::Tls, Broken::Closed | Broken::Socket(_), true) => {
            "; if the port does not support TLS, connect without it"
        }
        _ => "",
    }
}

/// How long a client waits before it reconnects.
const AGAIN_AFTER_NS: u64 = 100_000_000;

/// Causes of broken connections that are kept for the report.
const CAUSES_MAX: usize = 5;
