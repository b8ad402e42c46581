//! A request of `http_api` whose header has come, and those for whom there is no room.
//!
//! Invariants: a request keeps its place among the connections of its listener until it is answered. Whoever is not
//! let in is counted and remembered.

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

/// A request whose header has come, and who asks.
pub(super) struct ApiRequest<O = ListenerOrigin> {
    pub(super) client: HttpClient,
    pub(super) page: Page,
    pub(super) origin: O,
    pub(super) folder: Option<Arc<Path>>,
    /// Its place among the listener's connections, kept until it is answered; none at the control socket.
    pub(super) _admission: Option<Admission>,
}

impl ApiRequest {
    /// As it is for those who answer whatever origin it has.
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

    /// Whether a body has to come before it can be answered.
    pub(super) fn waits_for_body(&self) -> bool {
        operations::is_operation(&self.page) && !self.client.has_body(&self.page)
    }
}

/// Answers one for whom there is no room, if its request has come so far that it can be answered.
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
        Some("more requests than are answered at once"),
    );
}
