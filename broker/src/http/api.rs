//! `protocol http_api`: metrics, health and JSON for operators and their programs.
//!
//! One thread for each listener waits for connections and for the first byte of their requests. A few threads read
//! the requests, which have to come whole at once, and answer those for health; pages, which may be long, are sent by
//! others.
//!
//! Invariants: what is no operation (`operations.rs`) changes nothing and contains no client's name and no topic; no
//! answer contains a payload. A client that sends nothing occupies no thread, and one that reads slowly occupies none
//! of those that answer for health.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use transport::socket;
use transport::stream::SecureStream;
use transport::websocket::handshake::{Page, Wanted};

use super::answer::{ApiAnswer, answer, health, send};
use super::byte_stream::ByteStream;
use super::client::HttpClient;
use super::origin::Origin;
use super::pool::Pool;
use super::state::ApiState;
use super::{files, operations, request_log};
use crate::config::{ListenerSocket, ListenerTls, Protocol};
use crate::limits;
use crate::settings::{ListenerId, ListenerSettings};

/// The threads that serve the listeners of `http_api`.
pub(crate) struct Api;

/// A listener for `/api/v1/listeners`.
pub(crate) fn described(socket: &ListenerSocket, settings: &ListenerSettings) -> Value {
    let requires_certificate = |tls: &ListenerTls| tls.require_client_certificate;
    json!({
        "port": socket.port,
        "protocol": match socket.protocol {
            Protocol::Mqtt => "mqtt",
            Protocol::WebSockets(_) => "websockets",
            Protocol::HttpApi => "httpapi",
        },
        "tls": socket.tls.is_some(),
        "mtls": socket.tls.as_ref().is_some_and(requires_certificate),
        "allow_anonymous": settings.allow_anonymous,
    })
}

/// An accepted connection of an operator that waits for a thread.
struct Accepted {
    socket: OwnedFd,
    address: SocketAddr,
    listener: ListenerId,
    /// The time at which the connection is closed if it has sent nothing.
    until: Instant,
}

impl Api {
    /// Serves the sockets as long as the process lives.
    ///
    /// # Errors
    /// When the system does not give a thread.
    pub(crate) fn start(
        sockets: Vec<(OwnedFd, ListenerId)>,
        control: Option<UnixListener>,
        state: ApiState,
    ) -> io::Result<()> {
        if sockets.is_empty() && control.is_none() {
            return Ok(());
        }
        let state = Arc::new(state);
        let of_pages = Arc::clone(&state);
        let pages = Pool::start(
            "api-page",
            limits::API_PAGE_THREADS_MAX,
            limits::API_REQUESTS_MAX,
            move |job| match job {
                ApiJob::Page(request) => send_page(&of_pages, *request),
                ApiJob::Control(socket) => serve_control(&of_pages, socket),
            },
        )?;
        if let Some(control) = control {
            let pages = pages.clone();
            std::thread::Builder::new()
                .name("api-control".to_owned())
                .spawn(move || accept_control(&control, &pages))?;
        }
        let work = move |accepted| serve(&state, &pages, accepted);
        let pool = Pool::start("api", limits::API_THREADS_MAX, limits::API_SILENT_MAX, work)?;
        for (socket, listener) in sockets {
            let pool = pool.clone();
            std::thread::Builder::new()
                .name("api-accept".to_owned())
                .spawn(move || accept_all(&socket, listener, &pool))?;
        }
        Ok(())
    }
}

fn accept_all(listening: &OwnedFd, listener: ListenerId, pool: &Pool<Accepted>) {
    let mut silent: VecDeque<Accepted> = VecDeque::new();
    loop {
        let (is_ready, begun) = wait(listening, &silent);
        let now = Instant::now();
        let waiting = std::mem::take(&mut silent).into_iter().zip(begun);
        for (accepted, has_begun) in waiting.filter(|(accepted, _)| accepted.until > now) {
            if has_begun {
                // Without room it is closed.
                let _taken = pool.give(accepted);
            } else {
                silent.push_back(accepted);
            }
        }
        if !is_ready {
            continue;
        }
        if silent.len() >= limits::API_SILENT_MAX {
            silent.pop_front();
        }
        let accepted = rustix::net::accept_with(listening, rustix::net::SocketFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(|socket| Ok((socket::peer_address(socket.as_fd())?, socket)));
        match accepted {
            Ok((address, socket)) => silent.push_back(Accepted {
                socket,
                address,
                listener,
                until: Instant::now() + Duration::from_nanos(limits::API_NS_MAX),
            }),
            // Out of descriptors, or a client that has gone: not in a busy loop.
            Err(_) => std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS)),
        }
    }
}

/// Waits until somebody comes or says something, or for a moment; whether somebody came, and who said something.
fn wait(listening: &OwnedFd, silent: &VecDeque<Accepted>) -> (bool, Vec<bool>) {
    let sockets = silent.iter().map(|accepted| &accepted.socket);
    let sockets = std::iter::once(listening).chain(sockets);
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: SILENT_LOOK_NS,
    };
    // Those that have said nothing are looked at again: their time may be over.
    let timeout = (!silent.is_empty()).then_some(&timeout);
    if poll(&mut polled, timeout).is_err() {
        std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS));
    }
    let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
    let is_ready = ready.next().unwrap_or_default();
    (is_ready, ready.collect())
}

/// What the threads of pages do.
enum ApiJob {
    Page(Box<PageFor>),
    Control(UnixStream),
}

/// A request that is read, for those who send pages.
struct PageFor {
    client: HttpClient,
    page: Page,
    folder: Option<Arc<Path>>,
    origin: Origin,
}

fn accept_control(control: &UnixListener, pages: &Pool<ApiJob>) {
    for socket in control.incoming() {
        match socket {
            // Without room it is closed.
            Ok(socket) => drop(pages.give(ApiJob::Control(socket))),
            Err(_) => std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS)),
        }
    }
}

fn serve_control(state: &ApiState, socket: UnixStream) {
    let until = Instant::now() + Duration::from_nanos(limits::API_REQUEST_NS_MAX);
    let mut client = HttpClient::new(ByteStream::Unix(socket), SecureStream::Plain, until);
    match client.read(&WANTED) {
        Ok(Some(page)) => send_page(
            state,
            PageFor {
                client,
                page,
                folder: None,
                origin: Origin::Control,
            },
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!("A client of the control socket: {error}."),
    }
}

fn serve(state: &ApiState, pages: &Pool<ApiJob>, accepted: Accepted) {
    let Accepted {
        socket,
        address,
        listener,
        ..
    } = accepted;
    let in_effect = state.current.get();
    let Some(kind) = in_effect.listeners.get(usize::from(listener.0)) else {
        return;
    };
    let serve = || -> io::Result<()> {
        let stream = SecureStream::server(kind.tls.as_ref()).map_err(io::Error::other)?;
        let until = Instant::now() + Duration::from_nanos(limits::API_REQUEST_NS_MAX);
        let mut client = HttpClient::new(ByteStream::tcp(socket)?, stream, until);
        let Some(page) = client.read(&WANTED)? else {
            return Ok(());
        };
        let is_read = matches!(page.method.as_str(), "GET" | "HEAD");
        let Some(answer) = health(state, &page).filter(|_| is_read) else {
            let folder = kind.pages.clone();
            // Without room it is closed.
            let _taken = pages.give(ApiJob::Page(Box::new(PageFor {
                client,
                page,
                folder,
                origin: Origin::Listener {
                    address,
                    listener,
                    has_certificate: kind.requires_certificate,
                },
            })));
            return Ok(());
        };
        client.set_until(Instant::now() + Duration::from_nanos(limits::API_REQUEST_NS_MAX));
        let status = send(client, &page, &answer);
        request_log::log(address, &page, &status);
        Ok(())
    };
    if let Err(error) = serve() {
        tracing::debug!("Client {address} of the http_api: {error}.");
    }
}

fn send_page(state: &ApiState, request: PageFor) {
    let PageFor {
        mut client,
        page,
        folder,
        origin,
    } = request;
    client.set_until(Instant::now() + Duration::from_nanos(limits::API_NS_MAX));
    let status = match answer_for(state, &mut client, &page, origin) {
        Ok(Some(answer)) => send(client, &page, &answer),
        Ok(None) => match &folder {
            Some(folder) => files::serve(client, &page, folder),
            None => client.send_status("404 Not Found", &[], page.method == "HEAD"),
        },
        Err(error) => Err(error),
    };
    match origin {
        Origin::Control => request_log::log("the control socket", &page, &status),
        Origin::Listener { address, .. } => request_log::log(address, &page, &status),
    }
}

/// The answer to what needs no file; `None` if there is nothing of that name.
fn answer_for(
    state: &ApiState,
    client: &mut HttpClient,
    page: &Page,
    origin: Origin,
) -> io::Result<Option<ApiAnswer>> {
    let is_operation = operations::is_operation(page);
    if let Err(refused) = origin.check(state, page, is_operation) {
        return Ok(Some(refused));
    }
    if !is_operation {
        let is_read = matches!(page.method.as_str(), "GET" | "HEAD");
        let refused = || ApiAnswer::refused("405 Method Not Allowed", "what is there can only be read");
        let found = health(state, page).or_else(|| answer(state, page));
        return Ok(found.map(|answer| if is_read { answer } else { refused() }));
    }
    let Some(body) = client.read_body(page, limits::API_BODY_BYTES_MAX)? else {
        return Ok(Some(ApiAnswer::refused(
            "413 Content Too Large",
            "the body is too long, or its length is not given",
        )));
    };
    // The shards have their time, and the operator that for the answer.
    let answer = operations::operate(state, page, &body, matches!(origin, Origin::Control));
    client.set_until(Instant::now() + Duration::from_nanos(limits::API_NS_MAX));
    Ok(answer)
}

/// The limits of a request: a bound for its header, and any Origin.
const WANTED: Wanted = Wanted {
    header_bytes_max: 8192,
    origins: Vec::new(),
};
/// How often those that have said nothing are looked at.
const SILENT_LOOK_NS: i64 = 250_000_000;
