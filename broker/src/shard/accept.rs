//! Accepts connections, even when the process runs out of descriptors.
//!
//! Invariants: one accept is in flight on each listener, or all are stopped until a pause is over. One descriptor is
//! kept in reserve and used when there is no other, so that clients are closed at once instead of waiting in the
//! kernel's backlog. Errors of accept are logged once in [`limits::ACCEPT_QUIET_NS`].

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use transport::ring::Ring;
use transport::socket::Socket;

use super::token::Subject;
use crate::bind::Listening;
use crate::limits;
use crate::logic::{ClientEvent, Events};
use crate::time::Timestamp;

/// A shard's side of all listeners.
pub(super) struct Acceptor {
    listening: Vec<Listening>,
    /// A descriptor that is given up when there is no other.
    reserve: Option<OwnedFd>,
    /// When listeners that could not accept try again.
    retry_at: Option<Timestamp>,
    /// Accept is cancelled on all listeners until then.
    is_paused: bool,
    /// The shard shuts down, so nothing is accepted any more.
    is_stopped: bool,
    /// Connections that were closed at once because of missing descriptors, and are not logged yet.
    refused: u64,
    /// A connection was closed in this way since accept last failed.
    is_refusing: bool,
    /// Until when further failures of accept are not logged.
    quiet_until: Timestamp,
}

impl Acceptor {
    /// Begins to accept on all listeners.
    pub(super) fn start(listening: Vec<Listening>, ring: &mut Ring) -> Self {
        let mut acceptor = Self {
            listening,
            reserve: None,
            retry_at: None,
            is_paused: false,
            is_stopped: false,
            refused: 0,
            is_refusing: false,
            quiet_until: Timestamp(0),
        };
        acceptor.keep_reserve();
        acceptor.accept_on_all(ring);
        acceptor
    }

    pub(super) fn listening(&self, index: usize) -> Option<&Listening> {
        self.listening.get(index)
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Handles the result of an accept; returns the socket of a connection that is admitted.
    pub(super) fn accepted(
        &mut self,
        ring: &mut Ring,
        now: Timestamp,
        index: usize,
        socket: io::Result<Socket>,
        more: bool,
        events: &Events,
    ) -> Option<Socket> {
        let socket = match socket {
            Ok(_) if self.is_stopped => None,
            // The one free descriptor is used to refuse the client at once.
            Ok(socket) if self.reserve.is_none() => {
                self.refused += 1;
                self.is_refusing = true;
                let listening = self.listening.get(index);
                let address = listening.and_then(|it| it.address_of(socket.as_fd()));
                let address = address.map(|address| address.machine());
                events.add(ClientEvent::refused(now, "no_descriptors", "", address, None));
                None
            }
            Ok(socket) => Some(socket),
            Err(error) => {
                self.failed(ring, now, index, &error, more);
                return None;
            }
        };
        if !more && !self.is_stopped {
            self.accept_on(ring, index);
        }
        socket
    }

    /// Descriptors or memory are used up. The descriptor in reserve is given up, so that waiting clients are accepted
    /// and closed at once; without one they stay in the backlog. After a pause, which prevents a busy loop, accepting
    /// continues as before if a descriptor is free.
    fn failed(&mut self, ring: &mut Ring, now: Timestamp, index: usize, error: &io::Error, more: bool) {
        if self.is_stopped || more {
            return;
        }
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return self.accept_on(ring, index);
        }
        self.log_failure(now, error);
        self.retry_at.get_or_insert(now.plus_ns(limits::ACCEPT_PAUSE_NS));
        let of_descriptors = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        // Without the reserve, each connection that was closed makes room for the next one.
        let makes_room = std::mem::take(&mut self.is_refusing) || self.reserve.take().is_some();
        if of_descriptors && makes_room && !self.is_paused {
            return self.accept_on(ring, index);
        }
        if !std::mem::replace(&mut self.is_paused, true) {
            // All listeners share the descriptors, so all of them stop; a second accept would be answered twice.
            self.cancel_all(ring);
        }
    }

    fn log_failure(&mut self, now: Timestamp, error: &io::Error) {
        if now < self.quiet_until {
            return;
        }
        self.quiet_until = now.plus_ns(limits::ACCEPT_QUIET_NS);
        let refused = std::mem::take(&mut self.refused);
        tracing::error!(
            "Cannot accept connections: {error}; {refused} connections were closed at once since this was \
            last logged. Raise the limit of open files (ulimit -n, LimitNOFILE=)."
        );
    }

    /// The pause is over: accepts as before, if there is a descriptor to keep in reserve.
    pub(super) fn retry(&mut self, ring: &mut Ring, now: Timestamp) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        self.keep_reserve();
        if self.reserve.is_none() {
            self.retry_at = Some(now.plus_ns(limits::ACCEPT_PAUSE_NS));
        }
        if std::mem::take(&mut self.is_paused) {
            self.accept_on_all(ring);
        }
    }

    /// Stops accepting for good, because the shard shuts down.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        self.is_stopped = true;
        self.retry_at = None;
        self.cancel_all(ring);
    }

    fn accept_on_all(&self, ring: &mut Ring) {
        for index in 0..self.listening.len() {
            self.accept_on(ring, index);
        }
    }

    fn accept_on(&self, ring: &mut Ring, index: usize) {
        if let Some(listening) = self.listening.get(index) {
            ring.accept(&listening.socket, Subject::Listener(index).token());
        }
    }

    fn cancel_all(&self, ring: &mut Ring) {
        for index in 0..self.listening.len() {
            ring.cancel_accept(Subject::Listener(index).token());
        }
    }

    /// Reserves a descriptor that is given up when there is no other.
    fn keep_reserve(&mut self) {
        if self.reserve.is_none() {
            let any = self.listening.first();
            self.reserve = any.and_then(|listening| listening.socket.as_fd().try_clone_to_owned().ok());
        }
    }
}
