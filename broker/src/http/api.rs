//! `protocol http_api`: metrics, health and JSON for operators and their programs.
//!
//! One thread for each listener waits for connections and for the first byte of their requests. A few threads read
//! the requests, which have to come whole at once, and answer those for health; pages, which may be long, are sent by
//! others.
//!
//! Invariants: a request changes nothing, and no answer contains a client's name, topic or payload. A client that sends
//! nothing occupies no thread, and one that reads slowly occupies none of those that answer for health.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use store::{ShardLog, Statistics};
use transport::clock;
use transport::http::open_metrics::{self, OpenMetricsPage};
use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::socket;
use transport::stream::SecureStream;
use transport::websocket::handshake::{Page, Wanted};

use super::by_listener::{self, CountedListener};
use super::client::{ALLOW, HttpClient};
use super::metrics::{self, Figures, Process};
use super::pool::Pool;
use super::{files, request_log};
use crate::config::{ListenerSocket, ListenerTls, Protocol};
use crate::health::Health;
use crate::in_effect::Current;
use crate::limits;
use crate::logic::ShardCounters;
use crate::settings::{ListenerId, ListenerSettings};

/// The data that answers of `http_api` are made from.
pub(crate) struct ApiState {
    pub(crate) counters: Arc<[ShardCounters]>,
    pub(crate) store: WatchedStore,
    pub(crate) health: Arc<Health>,
    pub(crate) current: Arc<Current>,
    pub(crate) shut_down: Arc<AtomicBool>,
    pub(crate) started_at: SystemTime,
    /// The JSON of each listener, for `/api/v1/listeners`.
    pub(crate) listeners: Vec<Value>,
    /// The same listeners, with their counts.
    pub(crate) counted: Vec<CountedListener>,
    pub(crate) queue_lengths: QueueLengths,
}

/// Messages in the queue from one shard to another.
pub(crate) type QueueLengths = Box<dyn Fn() -> Vec<(u16, u16, usize)> + Send + Sync>;

/// A handle of the store, once there is one: for its numbers.
pub(crate) type WatchedStore = Arc<OnceLock<Mutex<ShardLog>>>;

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
    pub(crate) fn start(sockets: Vec<(OwnedFd, ListenerId)>, state: ApiState) -> io::Result<()> {
        if sockets.is_empty() {
            return Ok(());
        }
        let state = Arc::new(state);
        let of_pages = Arc::clone(&state);
        let pages = Pool::start(
            "api-page",
            limits::API_PAGE_THREADS_MAX,
            limits::API_REQUESTS_MAX,
            move |request| send_page(&of_pages, request),
        )?;
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

/// A request that is read, for those who send pages.
struct PageFor {
    client: HttpClient,
    page: Page,
    folder: Option<Arc<Path>>,
    address: SocketAddr,
}

fn serve(state: &ApiState, pages: &Pool<PageFor>, accepted: Accepted) {
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
        let mut client = HttpClient::new(socket, stream, until)?;
        let Some(page) = client.read(&WANTED)? else {
            return Ok(());
        };
        let Some(answer) = health(state, &page) else {
            let folder = kind.pages.clone();
            // Without room it is closed.
            let _taken = pages.give(PageFor {
                client,
                page,
                folder,
                address,
            });
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
        address,
    } = request;
    client.set_until(Instant::now() + Duration::from_nanos(limits::API_NS_MAX));
    let status = match answer(state, &page) {
        Some(answer) => send(client, &page, &answer),
        None => match &folder {
            Some(folder) => files::serve(client, &page, folder),
            None => client.send_status("404 Not Found", &[], page.method == "HEAD"),
        },
    };
    request_log::log(address, &page, &status);
}

/// What one path is answered with.
struct ApiAnswer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

/// The answer to a question for health.
fn health(state: &ApiState, page: &Page) -> Option<ApiAnswer> {
    match path(page) {
        "/healthz" => Some(verdict(state.is_healthy())),
        "/readyz" => Some(verdict(state.is_ready())),
        _ => None,
    }
}

fn path(page: &Page) -> &str {
    page.target.split('?').next().unwrap_or_default()
}

/// The answer, unless there is nothing of that name.
fn answer(state: &ApiState, page: &Page) -> Option<ApiAnswer> {
    let ok = |content_type, body| {
        Some(ApiAnswer {
            status: "200 OK",
            content_type,
            body,
        })
    };
    match path(page) {
        "/metrics" => {
            let accepted = page.field("Accept").unwrap_or_default();
            if accepted.contains("application/openmetrics-text") {
                ok(
                    open_metrics::CONTENT_TYPE,
                    state.metrics(OpenMetricsPage::default()),
                )
            } else {
                ok(
                    open_metrics::CONTENT_TYPE_TEXT,
                    state.metrics(OpenMetricsPage::older()),
                )
            }
        }
        "/api/v1/systree" => ok(JSON, metrics::systree(&state.counters, &state.process())),
        "/api/v1/version" => ok(PLAIN_TEXT, concat!(env!("CARGO_PKG_VERSION"), "\n").to_owned()),
        "/api/v1/listeners" => ok(JSON, format!("{:#}\n", json!({ "listeners": state.listeners }))),
        _ => None,
    }
}

fn verdict(verdict: Result<(), &'static str>) -> ApiAnswer {
    let (status, body) = match verdict {
        Ok(()) => ("200 OK", "ok"),
        Err(why) => ("503 Service Unavailable", why),
    };
    ApiAnswer {
        status,
        content_type: PLAIN_TEXT,
        body: format!("{body}\n"),
    }
}

fn send(client: HttpClient, page: &Page, answer: &ApiAnswer) -> io::Result<&'static str> {
    let head_only = match page.method.as_str() {
        "GET" => false,
        "HEAD" => true,
        _ => return client.send_status("405 Method Not Allowed", ALLOW, false),
    };
    let head = ResponseHead {
        status: answer.status,
        content_type: answer.content_type,
        body_bytes: answer.body.len() as u64,
        fields: &[("Cache-Control", "no-store")],
    };
    let body = if head_only { "" } else { &answer.body };
    client.send(&head, body.as_bytes())?;
    Ok(answer.status)
}

impl ApiState {
    fn process(&self) -> Process {
        let pid = std::process::id();
        Process {
            started_at: self.started_at,
            resident_bytes: clock::process_rss_bytes(pid).ok(),
            cpu_ns: clock::process_cpu_ns(pid).ok(),
            open_descriptors: std::fs::read_dir("/proc/self/fd")
                .ok()
                .map(|descriptors| descriptors.count() as u64),
            descriptors_max: getrlimit(Resource::Nofile).current,
            memory_full: self.health.memory_full(),
        }
    }

    /// The metrics, appended to a page of the format that is asked for.
    fn metrics(&self, page: OpenMetricsPage) -> String {
        let (process, store) = (self.process(), self.store_numbers());
        let listeners = by_listener::figures(&self.counted, &self.current.get());
        let queues = (self.queue_lengths)();
        let figures = Figures {
            shards: &self.counters,
            process: &process,
            store: store.as_ref(),
            listeners: &listeners,
            queues: &queues,
        };
        metrics::open_metrics(page, &figures)
    }

    /// The numbers of the store, if there is one.
    fn store_numbers(&self) -> Option<Statistics> {
        let store = self.store.get()?.lock().ok()?;
        Some(store.statistics())
    }

    /// Whether every shard turns: they are woken, and have a while to do so.
    fn is_healthy(&self) -> Result<(), &'static str> {
        let question = self.health.ask();
        let until = Instant::now() + TURN_TIME_MAX;
        while !self.health.have_turned(question) {
            if Instant::now() > until {
                return Err("a shard does not turn");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the broker is ready for clients; else the reason for `/readyz`.
    fn is_ready(&self) -> Result<(), &'static str> {
        if self.shut_down.load(Ordering::Relaxed) {
            return Err("the broker is shutting down");
        }
        if !self.health.has_started() {
            return Err("the broker is starting");
        }
        self.is_healthy()
    }
}

/// The limits of a request: a bound for its header, and any Origin.
const WANTED: Wanted = Wanted {
    header_bytes_max: 8192,
    origins: Vec::new(),
};
/// How often those that have said nothing are looked at.
const SILENT_LOOK_NS: i64 = 250_000_000;
const JSON: &str = "application/json";
const TURN_TIME_MAX: Duration = Duration::from_secs(2);
