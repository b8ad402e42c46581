//! How a bridge's thread is woken, and what it is asked for.
//!
//! Invariants: what is asked for is set before the thread is woken, so that it is seen then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Bridge;

/// What a bridge's thread shares with those who start and end it.
pub(super) struct BridgeControl {
    wake: OwnedFd,
    stops: AtomicBool,
    /// Nobody will use its session any more.
    is_removed: AtomicBool,
    /// The first address can be connected to.
    first_is_there: AtomicBool,
    /// What to be from the next connection on.
    changed: Mutex<Option<Bridge>>,
    reconnects: AtomicBool,
    connected: AtomicBool,
}

impl BridgeControl {
    /// # Errors
    /// What `eventfd(2)` gives.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stops: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            first_is_there: AtomicBool::new(false),
            changed: Mutex::new(None),
            reconnects: AtomicBool::new(false),
            connected: AtomicBool::new(false),
        })
    }

    /// Ends the bridge, which goes on after a restart of the broker.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the bridge for good, and its session at this broker with it.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
        self.stop();
    }

    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    /// Gives the bridge other settings, or the same with other files of TLS; what has changed counts at once if it says
    /// so.
    pub(super) fn change(&self, bridge: Bridge, has_changed: bool) {
        let at_once = has_changed && bridge.settings.reloads_at_once;
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(bridge);
        self.reconnects.store(at_once, Ordering::Release);
        self.wake();
    }

    pub(super) fn take_changed(&self) -> Option<Bridge> {
        self.reconnects.store(false, Ordering::Release);
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_to_reconnect(&self) -> bool {
        self.reconnects.load(Ordering::Acquire)
    }

    /// Notes whether both brokers are connected.
    pub(super) fn note_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Notes that the first address can be connected to.
    pub(super) fn note_first(&self) {
        self.first_is_there.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn take_first(&self) -> bool {
        self.first_is_there.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        // It fails only where it is woken already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Waits until one of the sockets is ready, the thread is woken, or it is that late. Which flags each of them has.
    ///
    /// # Errors
    /// What `poll(2)` gives.
    pub(super) fn wait<const N: usize>(
        &self,
        sockets: [(BorrowedFd<'_>, PollFlags); N],
        until: Option<Instant>,
    ) -> io::Result<[PollFlags; N]> {
        let mut entries = Vec::with_capacity(N + 1);
        entries.push(PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN));
        for (socket, flags) in sockets {
            entries.push(PollFd::from_borrowed_fd(socket, flags));
        }
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match poll(&mut entries, timeout.map(timespec).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut count = [0; 8];
        // It is there only where somebody has woken the thread.
        let _ = rustix::io::read(&self.wake, &mut count);
        let mut ready = [PollFlags::empty(); N];
        for (ready, entry) in ready.iter_mut().zip(entries.iter().skip(1)) {
            *ready = entry.revents();
        }
        Ok(ready)
    }
}

/// Rounded up, so that what is waited for is due then.
fn timespec(time: Duration) -> Timespec {
    let time = time + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
