//! Notifications to systemd, if it started this process and asked for them.
//!
//! Invariants: a failed notification is ignored, because the broker serves clients without them too.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports that the broker serves: its start, or a reload, is over.
pub(crate) fn notify_ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("")]);
}

/// Reports that the start continues, and takes longer.
pub(crate) fn notify_starting(status: &str) {
    notify(&[
        NotifyState::Status(status),
        NotifyState::ExtendTimeoutUsec(START_EXTENDED_US),
    ]);
}

/// Reports that a reload begins. systemd compares the time with that of its own request.
pub(crate) fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Notifies systemd that the broker shuts down.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Reports that every shard has made a turn since the last time.
pub(crate) fn notify_alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How soon systemd restarts a broker that does not [`notify_alive`]; `None` if it does not watch it.
pub(crate) fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn notify(states: &[NotifyState<'_>]) {
    let _failed = sd_notify::notify(states);
}

/// How long a start may take after the last notification.
const START_EXTENDED_US: u32 = 60_000_000;
