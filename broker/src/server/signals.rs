//! Handles the signals that end the broker or cause a reload.
//!
//! Invariants: files are read on the signal thread, so no shard waits for a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::error::ServerError;
use super::subscription_tree;
use crate::logic::{SHOWN, ShardCounters};
use crate::questions::Questions;
use crate::reload::Reloader;
use crate::reload_requests::ReloadRequests;
use crate::shard::ShardQueues;
use crate::systemd;

/// Starts the thread that waits for signals: SIGTERM and SIGINT end the broker, a second one at once; SIGHUP reloads
/// the configuration; SIGUSR1, SIGUSR2 and SIGRTMIN do what they do in mosquitto.
///
/// # Errors
/// Signals cannot be handled, or the operating system provides no thread.
pub(super) fn watch_signals(
    queues: Arc<ShardQueues>,
    shut_down: Arc<AtomicBool>,
    mut reloader: Reloader,
    counters: Arc<[ShardCounters]>,
    reloads: Arc<ReloadRequests>,
    questions: Arc<Questions>,
) -> Result<signal_hook::iterator::Handle, ServerError> {
    let reopen_log = libc::SIGRTMIN();
    let watched = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, reopen_log];
    let mut signals = Signals::new(watched).map_err(ServerError::Signals)?;
    let handle = signals.handle();
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                let asked = reloads.take();
                let report = reloader.reload();
                queues.wake_all();
                for operator in asked {
                    // An operator that no longer waits gets nothing.
                    let _gone = operator.try_send(report.clone());
                }
                continue;
            }
            if [SIGUSR1, SIGUSR2, reopen_log].contains(&signal) {
                report(signal, &reloader, &counters, &questions);
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

/// The signals at which mosquitto saves its state, prints subscriptions and retained messages, and reopens its log.
fn report(signal: i32, reloader: &Reloader, counters: &[ShardCounters], questions: &Arc<Questions>) {
    match signal {
        SIGUSR1 => {
            tracing::info!("There is nothing to save: with `persistence true` changes are stored at once.")
        }
        SIGUSR2 => {
            let number = |name: &str| {
                let shown = SHOWN.iter().find(|shown| shown.name == name);
                shown.map_or(0, |shown| shown.of(counters))
            };
            tracing::info!(
                "{} sessions have {} subscriptions; {} messages are retained.",
                number("sessions"),
                number("subscriptions"),
                number("retained")
            );
            subscription_tree::log_by_itself(Arc::clone(questions));
        }
        _ => reloader.reopen_log(),
    }
}
