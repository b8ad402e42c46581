//! `protocol http_api`: metrics, health and JSON for operators and their programs.
//!
//! One thread for each listener waits for connections until they send something (`reception.rs`). A few threads
//! receive that (`arriving.rs`), including TLS, and answer health requests. Other threads send pages, which may be
//! long, and others compute passwords that are not known. A body is read after its client is authenticated.
//!
//! Invariants: a page that is not an operation (`operations.rs`) changes nothing and contains no client names and no
//! topics; a payload is only in an answer that asks for it. A client that sends nothing occupies no thread, and one
//! that reads slowly occupies none of those that answer health requests. Each listener has its own threads, and so has
//! the control socket: a problem with one of them does not affect the others.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transport::stream::SecureStream;
use transport::websocket::handshake::Page;

use super::answer::{ApiAnswer, JSON, answer, health, send};
use super::api_request::ApiRequest;
use super::arriving::{Accepted, Arriving, Coming, Progress, WANTED};
use super::by_listener::CountedListener;
use super::byte_stream::ByteStream;
use super::client::HttpClient;
use super::clocks::now;
use super::operation_forms::Nothing;
use super::operation_request::query;
use super::origin::{ClientCertificate, ListenerOrigin, Origin};
use super::pool::Pool;
use super::reception::{Returned, receive_all};
use super::state::ApiState;
use super::{dashboard, files, operations, request_log};
use crate::config::{ListenerSocket, ListenerTls, Protocol};
use crate::limits;
use crate::settings::{ListenerId, ListenerSettings};

/// The threads that serve the listeners of `http_api`.
pub(crate) struct Api;

/// A listener for `/api/v1/listeners`, with its name in lists of clients and in metrics.
pub(crate) fn described(
    socket: &ListenerSocket,
    settings: &ListenerSettings,
    counted: &CountedListener,
    addresses: &[SocketAddr],
) -> Value {
    let requires_certificate = |tls: &ListenerTls| tls.require_client_certificate;
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    json!({
        "listener": counted.name(),
        "addresses": addresses,
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

impl Api {
    /// Serves the sockets as long as the process runs.
    ///
    /// # Errors
    /// The operating system provides no thread.
    pub(crate) fn start(
        sockets: Vec<(OwnedFd, ListenerId)>,
        control: Option<UnixListener>,
        state: ApiState,
    ) -> io::Result<()> {
        let state = Arc::new(state);
        if let Some(control) = control {
            let pages = start_pages(&state)?;
            let state = Arc::clone(&state);
            std::thread::Builder::new()
                .name("api-control".to_owned())
                .spawn(move || accept_control(&state, &control, &pages))?;
        }
        for (socket, listener) in sockets {
            start_listener(socket, listener, &state)?;
        }
        Ok(())
    }
}

/// The threads that send pages, of a listener or of the control socket.
fn start_pages(state: &Arc<ApiState>) -> io::Result<Pool<ApiJob>> {
    let state = Arc::clone(state);
    Pool::start(
        "api-page",
        limits::API_PAGE_THREADS_MAX,
        limits::API_REQUESTS_MAX,
        move |job| match job {
            ApiJob::Page(request) => send_page(&state, request.of_any_origin()),
            ApiJob::Control(socket) => serve_control(&state, socket),
        },
    )
}

/// The threads of one listener.
fn start_listener(socket: OwnedFd, listener: ListenerId, state: &Arc<ApiState>) -> io::Result<()> {
    let checked = Checked {
        state: Arc::clone(state),
        pages: start_pages(state)?,
        returned: Arc::new(Returned::new()?),
    };
    let (computing, serving) = (checked.clone(), checked.clone());
    let passwords = Pool::start(
        "api-password",
        limits::API_PASSWORD_THREADS_MAX,
        limits::API_REQUESTS_MAX,
        move |request| computing.compute(request),
    )?;
    let pool = Pool::start(
        "api",
        limits::API_THREADS_MAX,
        limits::API_ARRIVING_MAX,
        move |arriving: Box<Arriving>| serving.advance(&passwords, *arriving),
    )?;
    let Checked { state, returned, .. } = checked;
    std::thread::Builder::new()
        .name("api-accept".to_owned())
        .spawn(move || {
            receive_all(&socket, listener, &state, &returned, |arriving| {
                pool.give(arriving)
            })
        })?;
    Ok(())
}

/// The jobs of the threads for pages.
enum ApiJob {
    Page(Box<ApiRequest>),
    Control(UnixStream),
}

/// Where requests of a listener go once the operator is known.
#[derive(Clone)]
struct Checked {
    state: Arc<ApiState>,
    pages: Pool<ApiJob>,
    returned: Arc<Returned>,
}

impl Checked {
    /// Receives what a connection has sent.
    fn advance(&self, passwords: &Pool<Box<ApiRequest>>, mut arriving: Arriving) {
        let progress = arriving.receive(&self.state);
        match (progress, arriving) {
            (Progress::Incomplete, arriving) => self.returned.give(arriving),
            (Progress::Over | Progress::Refused(..), _) => {}
            (Progress::Header(page), arriving) => {
                if let Coming::Header(accepted) = arriving.into_coming() {
                    self.identify(passwords, accepted, page);
                }
            }
            (Progress::Whole, arriving) => {
                if let Coming::Body(request) = arriving.into_coming() {
                    self.answer(request);
                }
            }
        }
    }

    /// Identifies the operator, if the answer depends on it.
    fn identify(&self, passwords: &Pool<Box<ApiRequest>>, accepted: Accepted, page: Page) {
        let (state, address, listener) = (&*self.state, accepted.address, accepted.listener);
        let mut client = accepted.client;
        let is_read = matches!(page.method.as_str(), "GET" | "HEAD");
        if let Some(answer) = health(state, &page).filter(|_| is_read) {
            client.set_until(Instant::now() + Duration::from_nanos(limits::API_REQUEST_NS_MAX));
            let status = send(client, &page, &answer);
            return request_log::log(address, &page, &status);
        }
        let in_effect = state.current.get();
        let Some(kind) = in_effect.listeners.get(usize::from(listener.0)) else {
            return;
        };
        let origin = ListenerOrigin {
            address,
            listener,
            certificate: ClientCertificate::of(kind, &client, address),
            is_proved: None,
        };
        let must_compute = origin.must_compute(state, &page);
        let request = Box::new(ApiRequest {
            client,
            page,
            origin,
            folder: kind.pages.clone(),
            _admission: Some(accepted.admission),
        });
        if !must_compute {
            self.proceed(request);
        } else if let Err(refused) = passwords.give(request) {
            refused.turn_away(state);
        }
    }

    /// Computes a password, which takes long.
    fn compute(&self, mut request: Box<ApiRequest>) {
        request.origin.compute(&self.state, &request.page);
        self.proceed(request);
    }

    /// Continues when the operator is known: receives the body if the operator may send one, and answers all others.
    fn proceed(&self, mut request: Box<ApiRequest>) {
        if !request.waits_for_body() || !request.origin.is_let_in(&self.state, &request.page) {
            return self.answer(request);
        }
        if request.client.continue_now(&request.page).is_ok() {
            self.returned.give(Arriving::of_body(request));
        }
    }

    fn answer(&self, request: Box<ApiRequest>) {
        if let Err(ApiJob::Page(refused)) = self.pages.give(ApiJob::Page(request)) {
            refused.turn_away(&self.state);
        }
    }
}

fn accept_control(state: &ApiState, control: &UnixListener, pages: &Pool<ApiJob>) {
    for socket in control.incoming() {
        match socket {
            Ok(socket) => {
                if let Err(ApiJob::Control(socket)) = pages.give(ApiJob::Control(socket)) {
                    turn_away_control(state, socket);
                }
            }
            Err(_) => std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS)),
        }
    }
}

/// Answers a client for which there is no room, and whose request may be incomplete.
fn turn_away_control(state: &ApiState, socket: UnixStream) {
    state.counts.count_turned_away();
    let mut client = HttpClient::new(ByteStream::Unix(socket), SecureStream::Plain, Instant::now());
    let _gone = client.answer_now(&ApiAnswer::no_room().to_bytes());
    if let Some(others) = state.refusals_logged.due(now()) {
        tracing::warn!(
            "A client of the control socket was turned away, because the maximum number of requests is \
            being answered; {others} others since this was last logged."
        );
    }
}

fn serve_control(state: &ApiState, socket: UnixStream) {
    let until = Instant::now() + Duration::from_nanos(limits::API_REQUEST_NS_MAX);
    let peer = rustix::net::sockopt::socket_peercred(&socket);
    let uid = peer.ok().map(|peer| peer.uid.as_raw());
    let mut client = HttpClient::new(ByteStream::Unix(socket), SecureStream::Plain, until);
    match client.read(&WANTED) {
        Ok(Some(page)) => send_page(
            state,
            ApiRequest {
                client,
                page,
                origin: Origin::Control(uid),
                folder: None,
                _admission: None,
            },
        ),
        Ok(None) => {}
        Err(error) => {
            tracing::debug!("A client of the control socket: {error}.");
            if client.received_bytes() > 0 {
                let _gone = client.answer_now(&ApiAnswer::too_slow().to_bytes());
            }
        }
    }
}

fn send_page(state: &ApiState, request: ApiRequest<Origin>) {
    let ApiRequest {
        mut client,
        page,
        folder,
        origin,
        _admission,
    } = request;
    client.set_until(Instant::now() + Duration::from_nanos(limits::API_NS_MAX));
    let status = match answer_for(state, &mut client, &page, &origin, folder.is_some()) {
        Ok(Some(answer)) => send(client, &page, &answer),
        Ok(None) => {
            client.note_unread(&page);
            match &folder {
                Some(folder) => files::serve(client, &page, folder),
                None => send(client, &page, &ApiAnswer::nothing_there()),
            }
        }
        Err(error) => Err(error),
    };
    match origin {
        Origin::Control(_) => request_log::log("at the control socket", &page, &status),
        Origin::Listener(origin) => request_log::log(origin.address, &page, &status),
    }
}

/// The answer to a request that needs no file; `None` if nothing exists under that name.
fn answer_for(
    state: &ApiState,
    client: &mut HttpClient,
    page: &Page,
    origin: &Origin,
    has_folder: bool,
) -> io::Result<Option<ApiAnswer>> {
    let is_operation = operations::is_operation(page);
    let is_for_operators = is_operation || dashboard::is_asked_for(page, has_folder);
    let operator = match origin.check(state, page, is_for_operators) {
        Ok(operator) => operator,
        Err(refused) => return Ok(Some(refused)),
    };
    if !is_operation {
        return Ok(answer_to_all(state, page, has_folder));
    }
    let body = match client.read_body(page)? {
        Ok(body) => body,
        Err(wrong) => return Ok(Some(ApiAnswer::wrong_body(wrong))),
    };
    let kind = page.field("Content-Type").unwrap_or(JSON);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !kind.eq_ignore_ascii_case(JSON) {
        return Ok(Some(ApiAnswer::refused(
            "415 Unsupported Media Type",
            "Content-Type: a body must be application/json",
        )));
    }
    // The shards have their time limit, and the operator has another one for the answer.
    let answer = operations::operate(state, page, &body, &operator);
    client.set_until(Instant::now() + Duration::from_nanos(limits::API_NS_MAX));
    Ok(Some(answer))
}

/// The answer to a request that is not an operation; `None` if nothing but possibly a file exists under that name.
fn answer_to_all(state: &ApiState, page: &Page, has_folder: bool) -> Option<ApiAnswer> {
    let is_read = matches!(page.method.as_str(), "GET" | "HEAD");
    let found = health(state, page)
        .or_else(|| answer(state, page))
        .or_else(|| dashboard::answer(state, page, has_folder));
    let Some(answer) = found else {
        let is_lost = is_of_api(page) || !has_folder && page.target.starts_with("/api");
        return is_lost.then(ApiAnswer::nothing_there);
    };
    if !is_read {
        return Some(ApiAnswer::other_methods("GET, HEAD".to_owned()));
    }
    let query = is_of_api(page).then(|| query::<Nothing>(&page.target));
    Some(query.and_then(Result::err).unwrap_or(answer))
}

fn is_of_api(page: &Page) -> bool {
    page.target.starts_with("/api/v1/")
}
