//! A connection of an `http_api` listener, from accept until its request is complete.
//!
//! Invariants: nothing here blocks. For a client that is refused, only the header of its request is read, with the
//! bytes that arrived together with it. A body is read when its client may send one.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use transport::websocket::handshake::{Page, Wanted};

use super::answer::ApiAnswer;
use super::api_request::{ApiRequest, turn_away};
use super::client::{HttpClient, RequestState};
use super::request_log;
use super::state::ApiState;
use crate::admission::Admission;
use crate::limits;
use crate::logic::Handshake;
use crate::settings::ListenerId;

/// A connection with an incomplete request.
pub(super) struct Arriving {
    coming: Coming,
    /// Whether it has sent something.
    has_begun: bool,
    /// When it is closed.
    until: Instant,
}

/// The part of the request that has arrived.
pub(super) enum Coming {
    /// The header is missing or incomplete.
    Header(Accepted),
    /// The header has arrived and the client is authenticated; the body is incomplete.
    Body(Box<ApiRequest>),
}

/// A connection that a listener has accepted.
pub(super) struct Accepted {
    pub(super) client: HttpClient,
    pub(super) address: SocketAddr,
    pub(super) listener: ListenerId,
    /// Its place among the listener's connections.
    pub(super) admission: Admission,
}

/// The progress of a request.
pub(super) enum Progress {
    /// More of it is expected.
    Incomplete,
    /// Its header has arrived.
    Header(Page),
    /// The request is complete.
    Whole,
    /// It cannot be answered: the reason as in lists, and a text.
    Refused(&'static str, &'static str),
    /// The connection is over.
    Over,
}

impl Arriving {
    /// A connection that was just accepted.
    pub(super) fn accepted(accepted: Accepted) -> Self {
        Self {
            coming: Coming::Header(accepted),
            has_begun: false,
            until: after(limits::API_NS_MAX),
        }
    }

    /// A connection from which a body is expected.
    pub(super) fn of_body(request: Box<ApiRequest>) -> Self {
        Self {
            coming: Coming::Body(request),
            has_begun: true,
            until: after(limits::API_NS_MAX),
        }
    }

    /// Receives some of the bytes that have arrived.
    pub(super) fn receive(&mut self, state: &ApiState) -> Progress {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.until = after(limits::API_REQUEST_NS_MAX);
        }
        let was_securing = self.client().is_securing();
        let received = self.receive_some();
        let ended = self.client().handshake(received.as_ref().err());
        if was_securing && let Some(ended) = ended {
            state.counts.count_handshake(ended);
        }
        if let Ok(Progress::Refused(reason, why)) = received {
            state.refuse_stranger(reason, self.address(), why);
        }
        received.unwrap_or_else(|error| {
            let (address, error) = (self.address(), error.to_string());
            match self.client().is_securing() {
                true if ended == Some(Handshake::Failed) => {
                    state.refuse_stranger("tls_handshake", address, &error);
                }
                true => state.refuse("tls_handshake", address, Some(&error)),
                false => tracing::debug!("Client {address} of the http_api: {error}."),
            }
            Progress::Over
        })
    }

    fn receive_some(&mut self) -> io::Result<Progress> {
        self.client_mut().receive()?;
        match &mut self.coming {
            Coming::Header(accepted) => Ok(match accepted.client.parse(&WANTED)? {
                RequestState::Incomplete => Progress::Incomplete,
                RequestState::Refused(why) => Progress::Refused("malformed_request", why),
                RequestState::NoHttp(other) => Progress::Refused("no_http", other.text()),
                RequestState::Page(page) => Progress::Header(page),
            }),
            Coming::Body(request) if request.client.has_body(&request.page) => Ok(Progress::Whole),
            Coming::Body(_) => Ok(Progress::Incomplete),
        }
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }

    /// Closes it, because its time is over.
    pub(super) fn expire(mut self, state: &ApiState) {
        let address = self.address();
        if self.client().is_securing() {
            state.counts.count_handshake(Handshake::Unfinished);
        } else if self.has_begun {
            let answer = ApiAnswer::too_slow();
            let status = self.client_mut().answer_now(&answer.to_bytes());
            request_log::log_unfinished(address, &status.map(|()| answer.status()));
        }
    }

    /// Answers a client for which there is no room.
    pub(super) fn turn_away(self, state: &ApiState) {
        if self.client().is_securing() {
            state.counts.count_handshake(Handshake::Unfinished);
        }
        match self.coming {
            Coming::Header(accepted) => turn_away(state, accepted.client, None, accepted.address),
            Coming::Body(request) => request.turn_away(state),
        }
    }

    /// The part that has arrived.
    pub(super) fn into_coming(self) -> Coming {
        self.coming
    }

    /// The client from which more is expected.
    pub(super) fn client(&self) -> &HttpClient {
        match &self.coming {
            Coming::Header(accepted) => &accepted.client,
            Coming::Body(request) => &request.client,
        }
    }

    fn client_mut(&mut self) -> &mut HttpClient {
        match &mut self.coming {
            Coming::Header(accepted) => &mut accepted.client,
            Coming::Body(request) => &mut request.client,
        }
    }

    fn address(&self) -> SocketAddr {
        match &self.coming {
            Coming::Header(accepted) => accepted.address,
            Coming::Body(request) => request.origin.address,
        }
    }
}

fn after(ns: u64) -> Instant {
    Instant::now() + Duration::from_nanos(ns)
}

/// The requirements for a request: a bound for its header, any Origin, and no upgrade.
pub(super) const WANTED: Wanted = Wanted {
    header_bytes_max: limits::API_HEADER_BYTES_MAX,
    origins: Vec::new(),
    pages_alone: true,
};
