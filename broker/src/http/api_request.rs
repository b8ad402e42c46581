//! A request of `http_api` whose header has arrived, and requests for which there is no room.
//!
//! Invariants: a request keeps its place among the connections of its listener until it is answered. A client that is
//! refused is counted and recorded.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use super::client::HttpClient;
use super::origin::{ListenerOrigin, Origin};
use super::state::ApiState;
use super::{operations, request_log};
use crate::admission::Admission;

/// A request whose header has arrived, and its origin.
pub(super) struct ApiRequest<O = ListenerOrigin> {
    pub(super) client: HttpClient,
    pub(super) page: Page,
    pub(super) origin: O,
    pub(super) folder: Option<Arc<Path>>,
    /// Its place among the listener's connections, kept until it is answered; `None` at the control socket.
    pub(super) _admission: Option<Admission>,
}

impl ApiRequest {
    /// The request in the type for answers to any origin.
    pub(super) fn of_any_origin(self) -> ApiRequest<Origin> {
        ApiRequest {
            client: self.client,
            page: self.page,
            origin: Origin::Listener(self.origin),
            folder: self.folder,
            _admission: self._admission,
        }
    }

    /// There is no room for it.
    pub(super) fn turn_away(self, state: &ApiState) {
        turn_away(state, self.client, Some(&self.page), self.origin.address);
    }

    /// Whether a body must arrive before it can be answered.
    pub(super) fn waits_for_body(&self) -> bool {
        operations::is_operation(&self.page) && !self.client.has_body(&self.page)
    }
}

/// Answers a client for which there is no room, if enough of its request has arrived to be answered.
pub(super) fn turn_away(state: &ApiState, mut client: HttpClient, page: Option<&Page>, address: SocketAddr) {
    let answer = ApiAnswer::no_room();
    let status = client.answer_now(&answer.to_bytes());
    let status = status.map(|()| answer.status());
    match page {
        Some(page) => request_log::log(address, page, &status),
        None => request_log::log_unfinished(address, &status),
    }
    state.counts.count_turned_away();
    state.refuse(
        "api_is_busy",
        address,
        Some("the maximum number of requests is being answered"),
    );
}
