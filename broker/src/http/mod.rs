//! HTTP beside MQTT: the files of `http_dir`, and the operators' `protocol http_api`.
//!
//! `client.rs` reads a request, `pool.rs` has the threads, and `files.rs` serves a folder. `api.rs` has the threads for
//! operators, `reception.rs` and `arriving.rs` their connections, which `api_counts.rs` counts, and `api_request.rs`
//! their requests; `no_http.rs` recognizes other protocols. `state.rs` and `answer.rs` answer them with the figures of
//! `metrics.rs` (and `by_label.rs`, `by_shard.rs`, `by_listener.rs`). `operations.rs` (with `list_pages.rs`,
//! `message_operations.rs`, `trace_operations.rs`, `ban_operations.rs`, `client_times.rs`) has lists and actions, for
//! clients that `origin.rs` lets; `operation_request.rs`, `operation_forms.rs` and `operation_values.rs` parse requests
//! apart; `dashboard.rs` is their page for browsers. `control.rs` is the control socket, `byte_stream.rs` a socket of
//! either kind. `request_log.rs` writes the log line, `clocks.rs` has the time.
//!
//! Invariants: a shard never waits and never reads a file for a page: it passes the socket on. The threads here read
//! the shards' counters, and ask the shards bounded questions ([`crate::questions`]). Waiting requests, threads, and
//! the time of each request are bounded, see [`crate::limits`]; operators have their own threads. One connection is
//! one request.

mod answer;
mod api;
mod api_counts;
mod api_request;
mod arriving;
mod ban_operations;
mod by_label;
mod by_listener;
mod by_shard;
mod byte_stream;
mod client;
mod client_times;
mod clocks;
mod control;
mod dashboard;
mod files;
mod list_pages;
mod message_operations;
mod metrics;
mod no_http;
mod operation_forms;
mod operation_request;
mod operation_values;
mod operations;
mod origin;
mod pool;
mod reception;
mod request_log;
mod state;
mod trace_operations;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transport::socket::Socket;
use transport::stream::SecureStream;
use transport::websocket::handshake::Page;

use crate::admission::Admission;
use crate::client_address::ClientAddress;
use crate::limits;
pub(crate) use api::{Api, described};
pub(crate) use api_counts::ApiCounts;
pub(crate) use by_listener::counted;
use byte_stream::ByteStream;
use client::HttpClient;
pub(crate) use control::ControlSocket;
use pool::Pool;
pub(crate) use state::{ApiState, WatchedStore, WebSocketPort};

/// A client of a WebSocket listener that requests a page; nothing is in flight on its socket.
pub(crate) struct PageRequest {
    pub(crate) socket: Socket,
    pub(crate) stream: SecureStream,
    pub(crate) address: ClientAddress,
    pub(crate) page: Page,
    /// The folder of `http_dir`.
    pub(crate) folder: Arc<Path>,
    /// Its place among the listener's connections, kept while it is served.
    pub(crate) _admission: Admission,
}

/// The queue to which shards pass requests for pages; `None` if no listener has pages.
#[derive(Clone, Default)]
pub(crate) struct Pages(Option<Pool<PageRequest>>);

impl Pages {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system provides no thread.
    pub(crate) fn start() -> io::Result<Pages> {
        let pool = Pool::start(
            "pages",
            limits::PAGE_THREADS_MAX,
            limits::PAGE_REQUESTS_MAX,
            serve,
        )?;
        Ok(Pages(Some(pool)))
    }

    /// Whether there was room for the request; if not, the connection is closed.
    pub(crate) fn serve(&self, request: PageRequest) -> bool {
        self.0.as_ref().is_some_and(|pool| pool.give(request).is_ok())
    }
}

fn serve(request: PageRequest) {
    let PageRequest {
        socket,
        stream,
        address,
        page,
        folder,
        _admission,
    } = request;
    let until = Instant::now() + Duration::from_nanos(limits::PAGE_NS_MAX);
    let client = socket
        .into_descriptor()
        .and_then(ByteStream::tcp)
        .map(|socket| HttpClient::new(socket, stream, until));
    let status = client.and_then(|client| files::serve(client, &page, &folder));
    request_log::log(address, &page, &status);
}
