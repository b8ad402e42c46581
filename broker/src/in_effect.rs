//! The configuration that is in effect now: the settings, and how each listener treats the connections that it accepts.
//! A reload replaces it.
//!
//! Invariants: the configuration in effect is never changed, only replaced as a whole. A shard takes the new one at
//! the beginning of its next turn, so each turn uses one configuration from beginning to end.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::ServerConfig;
use transport::tls::{IdentityKind, ServerTlsConfig};
use transport::websocket::handshake::Wanted;

use crate::config::{ListenerSocket, Network, Protocol, ProxyProtocol};
use crate::log::NOTICE;
use crate::named_paths::NamedPaths;
use crate::settings::Settings;

/// The configuration that a shard uses; replaced as a whole.
#[derive(Debug)]
pub(crate) struct InEffect {
    pub(crate) settings: Arc<Settings>,
    /// At the index of the listener.
    pub(crate) listeners: Vec<ListenerInEffect>,
    /// The paths that the configuration itself names.
    pub(crate) named: NamedPaths,
}

impl InEffect {
    /// The result of applying a configuration; `tls` has the TLS of each listener, in their order.
    pub(crate) fn new(
        settings: Arc<Settings>,
        listeners: &[ListenerSocket],
        tls: Vec<Option<ServerTlsConfig>>,
        named: NamedPaths,
    ) -> Self {
        let listeners = listeners.iter().zip(tls);
        Self {
            settings,
            named,
            listeners: listeners
                .map(|(socket, tls)| ListenerInEffect::new(socket, tls))
                .collect(),
        }
    }

    /// Gives a listener back its previous TLS, and the setting that names its users.
    pub(crate) fn keep_tls(&mut self, listener: usize, before: &InEffect) {
        if let (Some(now), Some(had)) = (self.listeners.get_mut(listener), before.listeners.get(listener)) {
            now.tls.clone_from(&had.tls);
            now.certificate_not_after_s = had.certificate_not_after_s;
            now.requires_certificate = had.requires_certificate;
            now.identity = had.identity;
        }
    }
}

/// How a listener treats the connections that it accepts.
#[derive(Clone, Debug)]
pub(crate) struct ListenerInEffect {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// When its certificate expires, in seconds since 1970.
    pub(crate) certificate_not_after_s: Option<u64>,
    /// Only clients with a certificate are accepted.
    pub(crate) requires_certificate: bool,
    /// The part of a client's certificate that names its user, if it does.
    pub(crate) identity: Option<IdentityKind>,
    /// A load balancer sends the client's address first.
    pub(crate) proxy: Option<ProxyProtocol>,
    /// Addresses of the load balancers; `None` for any address.
    pub(crate) trusted_proxies: Option<Arc<[Network]>>,
    /// How WebSocket upgrades are answered; `None` if clients of this listener use plain MQTT.
    pub(crate) upgrade: Option<Arc<Upgrade>>,
    /// The folder of `http_dir` on a listener with `protocol http_api`.
    pub(crate) pages: Option<Arc<Path>>,
}

/// How a listener with `protocol websockets` checks upgrades, and which pages it serves to other requests.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) wanted: Wanted,
    /// The folder of `http_dir`.
    pub(crate) pages: Option<Arc<Path>>,
}

/// The configuration in effect, and how often it has changed.
#[derive(Debug)]
pub(crate) struct Current {
    number: AtomicU64,
    newest: Mutex<Newest>,
    shards: u16,
}

#[derive(Debug)]
struct Newest {
    in_effect: Arc<InEffect>,
    number: u64,
    /// Number of shards that use an older one.
    behind: u16,
    since: Instant,
}

impl Current {
    pub(crate) fn new(in_effect: InEffect, shards: u16) -> Self {
        Self {
            number: AtomicU64::new(0),
            newest: Mutex::new(Newest {
                in_effect: Arc::new(in_effect),
                number: 0,
                behind: 0,
                since: Instant::now(),
            }),
            shards,
        }
    }

    /// The newer configuration, if there is one, for a shard that has the one with this number.
    #[inline]
    pub(crate) fn newer_than(&self, number: u64) -> Option<(u64, Arc<InEffect>)> {
        if self.number.load(Ordering::Acquire) == number {
            return None;
        }
        let mut newest = self.newest();
        newest.behind = newest.behind.saturating_sub(1);
        if newest.behind == 0 {
            let took_ms = newest.since.elapsed().as_secs_f64() * 1e3;
            tracing::info!(target: NOTICE, "Configuration reloaded in {took_ms:.1} ms.");
        }
        Some((newest.number, Arc::clone(&newest.in_effect)))
    }

    /// Whether every shard uses the newest one.
    pub(crate) fn is_taken(&self) -> bool {
        self.newest().behind == 0
    }

    pub(crate) fn get(&self) -> Arc<InEffect> {
        Arc::clone(&self.newest().in_effect)
    }

    /// Replaces the configuration; `since` is when the reload began. The shards take it in their next turn.
    pub(crate) fn replace(&self, in_effect: InEffect, since: Instant) {
        let mut newest = self.newest();
        newest.in_effect = Arc::new(in_effect);
        newest.number += 1;
        newest.behind = self.shards;
        newest.since = since;
        self.number.store(newest.number, Ordering::Release);
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerInEffect {
    /// Whether a peer at this address may report the addresses of clients, if a load balancer is expected.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let of = |trusted: &Arc<[Network]>| trusted.iter().any(|network| network.contains(address));
        self.trusted_proxies.as_ref().is_none_or(of)
    }

    fn new(socket: &ListenerSocket, tls: Option<ServerTlsConfig>) -> Self {
        let identity = socket.tls.as_ref().and_then(|tls| tls.identity);
        let pages: Option<Arc<Path>> = socket.pages.as_deref().map(Arc::from);
        let upgrade = match &socket.protocol {
            Protocol::Mqtt | Protocol::HttpApi => None,
            Protocol::WebSockets(wanted) => Some(Arc::new(Upgrade {
                wanted: wanted.clone(),
                pages: pages.clone(),
            })),
        };
        Self {
            requires_certificate: socket
                .tls
                .as_ref()
                .is_some_and(|tls| tls.require_client_certificate),
            certificate_not_after_s: tls.as_ref().and_then(|tls| tls.not_after_s),
            tls: tls.map(|tls| tls.config),
            identity,
            proxy: socket.proxy,
            trusted_proxies: Some(socket.trusted_proxies.as_slice())
                .filter(|trusted| !trusted.is_empty())
                .map(Arc::from),
            upgrade,
            pages,
        }
    }
}
