//! Figures for each listener.
//!
//! Invariants: those of `metrics.rs`; listeners of clients have different names.

use std::sync::Arc;

use transport::http::open_metrics::OpenMetricsPage;

use crate::admission::ListenerCounts;
use crate::config::ListenerSocket;
use crate::in_effect::InEffect;

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub(super) struct ListenerFigures {
    /// Its port, with its address if it is bound to one; or the path of its Unix socket.
    pub(super) name: String,
    pub(super) open: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) certificate_not_after_s: Option<u64>,
}

/// A listener, and its counters.
pub(crate) struct CountedListener {
    name: String,
    counts: Arc<ListenerCounts>,
}

impl CountedListener {
    /// Its port, with its address if it is bound to one; or the path of its Unix socket.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The counters of the connections.
    pub(super) fn counts(&self) -> &Arc<ListenerCounts> {
        &self.counts
    }
}

/// The listeners with their counters, in the order of their numbers.
pub(crate) fn counted(listeners: &[ListenerSocket], counts: &[Arc<ListenerCounts>]) -> Vec<CountedListener> {
    let mut counted: Vec<CountedListener> = Vec::new();
    for (listener, counts) in listeners.iter().zip(counts) {
        let mut name = match (&listener.unix, &listener.host) {
            (Some(unix), _) => unix.path.display().to_string(),
            (None, Some(host)) => format!("{host}:{}", listener.port),
            (None, None) => listener.port.to_string(),
        };
        if counted.iter().any(|other| other.name == name) {
            // The same port on another interface, or for another address family.
            name = format!("{name}#{}", counted.len());
        }
        counted.push(CountedListener {
            name,
            counts: Arc::clone(counts),
        });
    }
    counted
}

/// The current figures of the listeners.
pub(super) fn figures(listeners: &[CountedListener], in_effect: &InEffect) -> Vec<ListenerFigures> {
    let kinds = listeners.iter().zip(&in_effect.listeners);
    kinds
        .map(|(listener, kind)| ListenerFigures {
            name: listener.name.clone(),
            open: listener.counts.open(),
            accepted: listener.counts.accepted(),
            refused: listener.counts.refused(),
            certificate_not_after_s: kind.certificate_not_after_s,
        })
        .collect()
}

/// Appends the families of the listeners.
pub(super) fn append(page: &mut OpenMetricsPage, listeners: &[ListenerFigures]) {
    let of = |read: fn(&ListenerFigures) -> u64| {
        listeners
            .iter()
            .map(move |listener| ([listener.name.as_str()], read(listener)))
    };
    page.labelled_gauges(
        "midge_listener_connections",
        "Open connections.",
        &["listener"],
        of(|listener| listener.open),
    );
    page.labelled_counters(
        "midge_listener_connections_accepted",
        "Accepted connections.",
        &["listener"],
        of(|listener| listener.accepted),
    );
    page.labelled_counters(
        "midge_listener_connections_refused",
        "Connections refused because of max_connections.",
        &["listener"],
        of(|listener| listener.refused),
    );
    let dated = listeners
        .iter()
        .filter_map(|listener| Some(([listener.name.as_str()], listener.certificate_not_after_s?)));
    let dated: Vec<_> = dated.collect();
    if !dated.is_empty() {
        page.labelled_gauges(
            "midge_certificate_not_after_timestamp_seconds",
            "Expiry of the certificate of a listener, in seconds since 1970.",
            &["listener"],
            dated,
        );
    }
}
