//! The data for answers to operators.
//!
//! Invariants: a check whether the shards make turns waits for a bounded time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use store::{ShardLog, Statistics};
use transport::clock;
use transport::http::open_metrics::OpenMetricsPage;

use super::api_counts::ApiCounts;
use super::by_listener::{self, CountedListener};
use super::clocks::now;
use super::metrics::{self, Figures, Process};
use crate::auth::Authentication;
use crate::bans::Bans;
use crate::bridge::Bridges;
use crate::client_sampling::ClientSampling;
use crate::health::Health;
use crate::in_effect::Current;
use crate::log::SeldomLogged;
use crate::logic::{ClientEvent, Events, ShardCounters};
use crate::questions::Questions;
use crate::reload_requests::ReloadRequests;
use crate::settings::ListenerId;
use crate::traces::Traces;

/// The data for answers of `http_api`.
pub(crate) struct ApiState {
    pub(crate) counters: Arc<[ShardCounters]>,
    pub(crate) store: WatchedStore,
    pub(crate) health: Arc<Health>,
    pub(crate) current: Arc<Current>,
    pub(crate) shut_down: Arc<AtomicBool>,
    pub(crate) started_at: SystemTime,
    /// The JSON of each listener, for `/api/v1/listeners`.
    pub(crate) listeners: Vec<Value>,
    /// The listeners that the dashboard may connect to.
    pub(crate) web_sockets: Vec<WebSocketPort>,
    /// The same listeners, with their counts.
    pub(crate) counted: Vec<CountedListener>,
    pub(crate) queue_lengths: QueueLengths,
    pub(crate) questions: Arc<Questions>,
    pub(crate) bridges: Arc<Bridges>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) bans: Arc<Bans>,
    pub(crate) sampling: Arc<ClientSampling>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) reloads: Arc<ReloadRequests>,
    /// The clients that listeners of `http_api` refused recently.
    pub(crate) refused: Events,
    pub(crate) counts: ApiCounts,
    pub(crate) refusals_logged: SeldomLogged,
    pub(crate) strangers_logged: SeldomLogged,
}

/// A WebSocket listener that the dashboard may connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebSocketPort {
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

/// Messages in the queue from one shard to another.
pub(crate) type QueueLengths = Box<dyn Fn() -> Vec<(u16, u16, usize)> + Send + Sync>;

/// A handle of the store, once there is one: for its figures.
pub(crate) type WatchedStore = Arc<OnceLock<Mutex<ShardLog>>>;

impl ApiState {
    pub(super) fn process(&self) -> Process {
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

    /// Appends the metrics to a page of the requested format.
    pub(super) fn metrics(&self, page: OpenMetricsPage) -> String {
        let (process, store) = (self.process(), self.store_numbers());
        let listeners = by_listener::figures(&self.counted, &self.current.get());
        let queues = (self.queue_lengths)();
        let bridges = self.bridges.states();
        let figures = Figures {
            shards: &self.counters,
            process: &process,
            store: store.as_ref(),
            listeners: &listeners,
            queues: &queues,
            bridges: &bridges,
            api: &self.counts,
        };
        metrics::open_metrics(page, &figures)
    }

    /// The figures of the store, if there is one.
    pub(super) fn store_numbers(&self) -> Option<Statistics> {
        let store = self.store.get()?.lock().ok()?;
        Some(store.statistics())
    }

    /// Whether every shard makes turns: they are woken, and get some time for it.
    pub(super) fn is_healthy(&self) -> Result<(), &'static str> {
        let question = self.health.ask();
        let until = Instant::now() + TURN_TIME_MAX;
        while !self.health.have_turned(question) {
            if Instant::now() > until {
                return Err("a shard makes no turns");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether the broker is ready for clients; else the reason for `/readyz`.
    pub(super) fn is_ready(&self) -> Result<(), &'static str> {
        if self.shut_down.load(Ordering::Relaxed) {
            return Err("the broker is shutting down");
        }
        if !self.health.has_started() {
            return Err("the broker is starting");
        }
        self.is_healthy()
    }

    /// Records and logs a client whose request cannot be answered; at most one per second is logged.
    pub(super) fn refuse_stranger(&self, reason: &'static str, address: SocketAddr, why: &str) {
        self.refuse(reason, address, Some(why));
        if let Some(others) = self.strangers_logged.due(now()) {
            tracing::warn!(
                "Client {address} of the http_api was refused: {why}; {others} others since this was last logged."
            );
        }
    }

    /// Records a client that an `http_api` listener refuses.
    pub(super) fn refuse(&self, reason: &'static str, address: SocketAddr, detail: Option<&str>) {
        let address = Some(address.ip());
        self.refused
            .add(ClientEvent::refused(now(), reason, "", address, detail));
    }

    /// The name of a listener, by its number; `bridge` for connections of the broker's own bridges.
    pub(super) fn listener_name(&self, listener: u16) -> Option<&str> {
        if ListenerId(listener) == ListenerId::BRIDGES {
            return Some("bridge");
        }
        let listener = self.counted.get(usize::from(listener))?;
        Some(listener.name())
    }
}

const TURN_TIME_MAX: Duration = Duration::from_secs(2);
