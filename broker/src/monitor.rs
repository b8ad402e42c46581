//! A thread beside the shards. It compares the process's memory with `memory_limit`, has freed memory returned to the
//! system, and notifies systemd's watchdog.
//!
//! Invariants: the watchdog is notified only if every shard has made a turn since the last notification, so systemd
//! restarts a broker with a shard that hangs. Load is shed above nine tenths of the limit, so that messages already on
//! their way still find memory. Freed memory is returned to the system within seconds, so the process falls below the
//! limit by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use transport::clock;

use crate::health::Health;
use crate::in_effect::Current;
use crate::settings::UNLIMITED;
use crate::systemd;

/// The state of the thread that watches memory and shards.
pub(crate) struct Monitor {
    pub(crate) health: Arc<Health>,
    pub(crate) current: Arc<Current>,
}

impl Monitor {
    /// Starts the thread, which runs as long as the process.
    ///
    /// # Errors
    /// The operating system provides no thread.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let watchdog = systemd::watchdog_limit().map(|limit| limit / 3);
        let run = move || {
            let mut asked_at = Instant::now();
            let mut question = 0;
            let mut given_back_at = Instant::now();
            loop {
                self.watch_memory();
                self.give_back(&mut given_back_at);
                if watchdog.is_some_and(|every| asked_at.elapsed() >= every) {
                    asked_at = Instant::now();
                    question = self.notify_watchdog(question);
                }
                std::thread::sleep(self.pause(watchdog));
            }
        };
        std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(run)?;
        Ok(())
    }

    /// Notifies the watchdog if every shard has made a turn since this request; returns the next request.
    fn notify_watchdog(&self, question: u64) -> u64 {
        let alive = self.health.have_turned(question);
        if alive {
            systemd::notify_alive();
        }
        let next = self.health.ask();
        if alive { next } else { question }
    }

    fn pause(&self, watchdog: Option<Duration>) -> Duration {
        let limited = self.current.get().settings.memory_bytes_max < UNLIMITED;
        let pause = if limited { MEMORY_PAUSE } else { IDLE_PAUSE };
        watchdog
            .map_or(pause, |every| pause.min(every / 2))
            .max(PAUSE_MIN)
    }

    /// Has freed memory returned, by the shards and by this thread for what all share.
    fn give_back(&self, last: &mut Instant) {
        if last.elapsed() >= GIVE_BACK_PAUSE {
            *last = Instant::now();
            self.health.ask_to_give_back();
            transport::memory::give_back();
        }
    }

    fn watch_memory(&self) {
        // The exact number would need a walk over all pages, twenty times a second.
        let used = clock::process_rss_bytes_about(std::process::id()).unwrap_or(0);
        self.health.set_resident_bytes(used);
        let limit = self.current.get().settings.memory_bytes_max;
        let was_full = self.health.memory_full();
        if limit == UNLIMITED && !was_full {
            return;
        }
        // If the system does not report it, there is no limit to enforce.
        let shed_from = limit / 10 * 9;
        let full = if was_full {
            used > shed_from / 20 * 19
        } else {
            used > shed_from
        };
        if full == was_full {
            return;
        }
        self.health.set_memory_full(full);
        if full {
            tracing::error!(
                "Nine tenths of memory_limit are in use ({used} of {limit} bytes): nothing is queued or \
                retained and no session is created until less is in use."
            );
        } else {
            tracing::warn!(
                "Less than nine tenths of memory_limit are in use again ({used} of {limit} bytes)."
            );
        }
    }
}

/// Longer than memory is typically reused at once, and short enough to return below a limit within seconds.
const GIVE_BACK_PAUSE: Duration = Duration::from_secs(3);
const MEMORY_PAUSE: Duration = Duration::from_millis(50);
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(10);
