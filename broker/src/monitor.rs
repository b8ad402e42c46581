//! A thread beside the shards that looks after them: memory against `memory_limit`, and life for systemd's watchdog.
//!
//! Invariant: the watchdog is told that all is well only if every shard has turned since the last time; a shard that hangs
//! lets systemd restart the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use transport::clock;

use crate::reload::Current;
use crate::settings::UNLIMITED;
use crate::shard::Links;

/// What the monitor and the shards tell each other.
#[derive(Debug)]
pub(crate) struct Pulse {
    beat: AtomicU64,
    /// The beat that each shard has seen.
    seen: Vec<AtomicU64>,
    /// `memory_limit` is reached.
    pub(crate) memory_full: AtomicBool,
}

impl Pulse {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            beat: AtomicU64::new(0),
            seen: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            memory_full: AtomicBool::new(false),
        }
    }

    /// A shard turns.
    #[inline]
    pub(crate) fn feel(&self, shard: u16) {
        let beat = self.beat.load(Ordering::Relaxed);
        if let Some(seen) = self.seen.get(usize::from(shard))
            && seen.load(Ordering::Relaxed) != beat
        {
            seen.store(beat, Ordering::Relaxed);
        }
    }

    /// Whether all shards have turned since the last call.
    fn is_alive(&self) -> bool {
        let alive = self.was_felt(self.beat.load(Ordering::Relaxed));
        if alive {
            self.raise();
        }
        alive
    }

    /// Another beat, for the shards to feel.
    pub(crate) fn raise(&self) -> u64 {
        self.beat.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether all shards have turned since this beat.
    pub(crate) fn was_felt(&self, beat: u64) -> bool {
        self.seen.iter().all(|seen| seen.load(Ordering::Relaxed) >= beat)
    }
}

/// Tells systemd, if it started this process and wants to know.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    // A manager that does not listen is no reason to stop.
    let _told = sd_notify::notify(states);
}

/// That a reload begins: systemd compares the time with that of its own.
pub(crate) fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

pub(crate) struct Monitor {
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) current: Arc<Current>,
    pub(crate) links: Arc<Links>,
}

impl Monitor {
    /// Goes on as long as the process.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        let run = move || {
            let mut told_at = Instant::now();
            loop {
                self.watch_memory();
                if watchdog.is_some_and(|every| told_at.elapsed() >= every) {
                    told_at = Instant::now();
                    if self.pulse.is_alive() {
                        tell(&[NotifyState::Watchdog]);
                    }
                    self.links.wake_all();
                }
                std::thread::sleep(self.pause(watchdog));
            }
        };
        std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(run)?;
        Ok(())
    }

    fn pause(&self, watchdog: Option<Duration>) -> Duration {
        let limited = self.current.get().settings.memory_bytes_max < UNLIMITED;
        let pause = if limited { MEMORY_PAUSE } else { IDLE_PAUSE };
        watchdog
            .map_or(pause, |every| pause.min(every / 2))
            .max(PAUSE_MIN)
    }

    fn watch_memory(&self) {
        let limit = self.current.get().settings.memory_bytes_max;
        let was_full = self.pulse.memory_full.load(Ordering::Relaxed);
        if limit == UNLIMITED && !was_full {
            return;
        }
        // Where the system does not tell, there is no limit to keep.
        let used = clock::process_rss_bytes(std::process::id()).unwrap_or(0);
        let full = if was_full {
            used > limit / 20 * 19
        } else {
            used > limit
        };
        if full == was_full {
            return;
        }
        self.pulse.memory_full.store(full, Ordering::Relaxed);
        if full {
            tracing::error!(
                "memory_limit is reached ({used} of {limit} bytes): nothing is queued or retained and no session is made \
                 until less is in use."
            );
        } else {
            tracing::warn!("Less memory is in use again ({used} of {limit} bytes).");
        }
        self.links.wake_all();
    }
}

const MEMORY_PAUSE: Duration = Duration::from_millis(50);
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_that_hangs_is_noticed() {
        let pulse = Pulse::new(2);
        assert!(pulse.is_alive());
        pulse.feel(0);
        assert!(!pulse.is_alive(), "shard 1 has not turned");
        pulse.feel(1);
        assert!(pulse.is_alive());
        assert!(!pulse.is_alive(), "nobody has turned since");
    }
}
