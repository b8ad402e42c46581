//! Starts the threads that answer HTTP requests beside the shards.
//!
//! Invariants: none.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use super::error::ServerError;
use crate::admission::ListenerCounts;
use crate::config::{Configuration, ListenerSocket, Protocol};
use crate::http::{Api, ApiState, Pages, WatchedStore, counted, described};
use crate::logic::ShardCounters;
use crate::settings::ListenerId;
use crate::shard::Shared;

/// Starts the threads of `http_dir`, if a listener may need them: a reload can name a folder where there was none.
///
/// # Errors
/// The system does not give a thread.
pub(super) fn start_pages(configuration: &Configuration) -> Result<Pages, ServerError> {
    let may_have_pages = |listener: &ListenerSocket| matches!(listener.protocol, Protocol::WebSockets(_));
    if configuration.listeners.iter().any(may_have_pages) {
        return Pages::start().map_err(ServerError::Pages);
    }
    Ok(Pages::default())
}

/// Starts the threads that answer operators.
///
/// # Errors
/// The system does not give a thread.
pub(super) fn start_api(
    configuration: &Configuration,
    sockets: Vec<(OwnedFd, ListenerId)>,
    counts: &[Arc<ListenerCounts>],
    shared: &Shared,
    counters: Arc<[ShardCounters]>,
    store: WatchedStore,
) -> Result<(), ServerError> {
    let listeners = configuration
        .listeners
        .iter()
        .zip(&configuration.settings.listeners);
    let state = ApiState {
        counters,
        store,
        health: Arc::clone(&shared.health),
        current: Arc::clone(&shared.current),
        shut_down: Arc::clone(&shared.shut_down),
        started_at: SystemTime::now(),
        listeners: listeners
            .map(|(socket, settings)| described(socket, settings))
            .collect(),
        counted: counted(&configuration.listeners, counts),
        queue_lengths: {
            let queues = Arc::clone(&shared.queues);
            Box::new(move || queues.lengths())
        },
    };
    Api::start(sockets, state).map_err(ServerError::Pages)
}
