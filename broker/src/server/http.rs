//! Starts the threads that answer HTTP requests beside the shards.
//!
//! Invariants: none.

use std::sync::Arc;
use std::time::SystemTime;

use super::error::ServerError;
use crate::bind::Bound;
use crate::bridge::Bridges;
use crate::config::{Configuration, ListenerSocket, Protocol};
use crate::http::{
    Api, ApiCounts, ApiState, ControlSocket, Pages, WatchedStore, WebSocketPort, counted, described,
};
use crate::log::SeldomLogged;
use crate::logic::{Events, ShardCounters};
use crate::privileges::RunsAs;
use crate::shard::Shared;

/// Starts the threads of `http_dir`, if a listener may need them: a reload may add a folder.
///
/// # Errors
/// The operating system provides no thread.
pub(super) fn start_pages(configuration: &Configuration) -> Result<Pages, ServerError> {
    let may_have_pages = |listener: &ListenerSocket| matches!(listener.protocol, Protocol::WebSockets(_));
    if configuration.listeners.iter().any(may_have_pages) {
        return Pages::start().map_err(ServerError::Pages);
    }
    Ok(Pages::default())
}

/// Opens the socket of `control_socket`, if it is configured, for the user to which the broker changes.
///
/// # Errors
/// It cannot be created.
pub(super) fn open_control(configuration: &Configuration) -> Result<Option<ControlSocket>, ServerError> {
    let path = configuration.control_socket.as_deref();
    let open = |path| {
        let runs_as = RunsAs::find(configuration.user.as_ref(), configuration.stays_root);
        ControlSocket::open(path, runs_as.user()).map_err(|source| ServerError::ControlSocket {
            path: path.to_owned(),
            source,
        })
    };
    path.map(open).transpose()
}

/// Starts the threads that answer operators.
///
/// # Errors
/// The operating system provides no thread.
pub(super) fn start_api(
    configuration: &Configuration,
    bound: &mut Bound,
    control: Option<&ControlSocket>,
    shared: &Shared,
    counters: Arc<[ShardCounters]>,
    store: WatchedStore,
    bridges: &Arc<Bridges>,
) -> Result<(), ServerError> {
    let counted = counted(&configuration.listeners, &bound.counts);
    let listeners = configuration
        .listeners
        .iter()
        .zip(&configuration.settings.listeners)
        .zip(counted.iter().zip(&bound.addresses))
        .map(|((socket, settings), (counted, addresses))| described(socket, settings, counted, addresses))
        .collect();
    let state = ApiState {
        counters,
        store,
        health: Arc::clone(&shared.health),
        current: Arc::clone(&shared.current),
        shut_down: Arc::clone(&shared.shut_down),
        questions: Arc::clone(&shared.questions),
        bridges: Arc::clone(bridges),
        traces: Arc::clone(&shared.traces),
        bans: Arc::clone(&shared.bans),
        sampling: Arc::clone(&shared.sampling),
        authentication: Arc::clone(&shared.authentication),
        reloads: Arc::clone(&shared.reloads),
        refused: Events::default(),
        counts: ApiCounts::default(),
        refusals_logged: SeldomLogged::default(),
        strangers_logged: SeldomLogged::default(),
        started_at: SystemTime::now(),
        listeners,
        web_sockets: web_sockets(configuration),
        counted,
        queue_lengths: {
            let queues = Arc::clone(&shared.queues);
            Box::new(move || queues.lengths())
        },
    };
    let control = control
        .map(ControlSocket::listener)
        .transpose()
        .map_err(ServerError::Pages)?;
    Api::start(std::mem::take(&mut bound.operators), control, state).map_err(ServerError::Pages)
}

fn web_sockets(configuration: &Configuration) -> Vec<WebSocketPort> {
    let listeners = configuration.listeners.iter();
    listeners
        .filter(|listener| matches!(listener.protocol, Protocol::WebSockets(_)))
        .map(|listener| WebSocketPort {
            port: listener.port,
            is_tls: listener.tls.is_some(),
        })
        .collect()
}
