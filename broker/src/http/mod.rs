//! HTTP beside MQTT, for `http_dir`: a shard hands over sockets of clients that ask for a page, and is done with them.
//!
//! Invariants: a shard never waits and never touches a file for a page; requests that wait, threads that serve, and the
//! time of each are bounded, see [`crate::limits`]. One connection is one request.

mod answer;
mod files;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use transport::stream::SecureStream;
use transport::websocket::handshake::Page;

use crate::limits;
use crate::shard::Admission;
use answer::Client;

/// A client that asks for a page; nothing is in flight on its socket.
pub(crate) struct Request {
    pub(crate) socket: OwnedFd,
    pub(crate) stream: SecureStream,
    pub(crate) address: SocketAddr,
    pub(crate) page: Page,
    /// `http_dir`
    pub(crate) folder: Arc<Path>,
    /// Its place among the listener's connections, kept while it is served.
    pub(crate) _admission: Admission,
}

/// Where shards hand requests over.
#[derive(Clone, Default)]
pub(crate) struct Pages(Option<SyncSender<Request>>);

impl Pages {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system does not give one.
    pub(crate) fn start() -> io::Result<Pages> {
        let (requests, waiting) = sync_channel(limits::PAGE_REQUESTS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..limits::PAGE_THREADS_MAX {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("http-{number}"))
                .spawn(move || serve_all(&waiting))?;
        }
        Ok(Pages(Some(requests)))
    }

    /// Whether there was room for the request; if not, the connection is closed.
    pub(crate) fn serve(&self, request: Request) -> bool {
        self.0
            .as_ref()
            .is_some_and(|requests| requests.try_send(request).is_ok())
    }
}

fn serve_all(waiting: &Mutex<Receiver<Request>>) {
    crate::auth::give_way_to_shards();
    loop {
        let request = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(request) = request else {
            return;
        };
        serve(request);
    }
}

fn serve(request: Request) {
    let Request {
        socket,
        stream,
        address,
        page,
        folder,
        _admission,
    } = request;
    let told = Client::new(socket, stream).and_then(|client| files::serve(client, &page, &folder));
    match told {
        Ok(status) => tracing::debug!("Client {address} asked for {}: {status}.", page.target),
        Err(error) => tracing::debug!("Client {address} asked for {}: {error}.", page.target),
    }
}
