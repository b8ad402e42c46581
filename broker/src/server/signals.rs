//! Signals: the end of the broker, and a reload.
//!
//! Invariants: files are read on the thread of the signals, so no shard waits for a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::error::ServerError;
use crate::reload::Reloader;
use crate::shard::ShardQueues;
use crate::systemd;

/// Starts the thread that waits for signals: SIGTERM and SIGINT end the broker, a second one at once; SIGHUP reads the
/// configuration again.
///
/// # Errors
/// Signals cannot be caught, or the system does not give a thread.
pub(super) fn watch_signals(
    queues: Arc<ShardQueues>,
    shut_down: Arc<AtomicBool>,
    mut reloader: Reloader,
) -> Result<signal_hook::iterator::Handle, ServerError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServerError::Signals)?;
    let handle = signals.handle();
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                if reloader.reload() {
                    queues.wake_all();
                }
                continue;
            }
            if shut_down.swap(true, Ordering::Relaxed) {
                std::process::exit(1);
            }
            tracing::info!("Shutting down: signal {signal}.");
            systemd::notify_stopping();
            queues.wake_all();
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map_err(ServerError::Signals)?;
    Ok(handle)
}
