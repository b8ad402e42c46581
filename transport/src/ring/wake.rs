//! Wakes a ring: from any thread with a [`Waker`], from another ring with a [`RingHandle`].
//!
//! Invariants: both own a descriptor of what they wake, so its number never belongs to another file, even after the
//! ring has ended.
//! ring has ended.
#![allow(unsafe_code, reason = "io_uring returns its descriptor only as a number")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::IoUring;
use rustix::event::{EventfdFlags, eventfd};

/// Wakes a ring from any thread, through an eventfd.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes [`super::Ring::wait`] return with [`super::Completion::Woken`].
    pub fn wake(&self) {
        // The only possible failure is a full counter (EAGAIN): then a wake is already on its way.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Another ring as the target of [`super::Ring::wake`]. Waking a ring that has ended has no effect.
#[derive(Clone, Debug)]
pub struct RingHandle(Arc<OwnedFd>);

impl RingHandle {
    /// A duplicate descriptor of the ring, which keeps no request of it alive.
    pub(super) fn of(ring: &IoUring) -> io::Result<Self> {
        // SAFETY: the ring is borrowed, so its descriptor is open until the clone is made.
        let descriptor = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        Ok(Self(Arc::new(descriptor.try_clone_to_owned()?)))
    }

    pub(super) fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.0
    }

    /// A descriptor that is not a ring, as the target of wakes that fail.
    #[cfg(test)]
    pub(super) fn of_no_ring(waker: &Waker) -> Self {
        Self(Arc::clone(&waker.0))
    }
}
