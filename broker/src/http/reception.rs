//! The connections of one `http_api` listener that wait for more of their requests.
//!
//! Invariants: one thread waits for all of them, and none of them has its own thread: a client that sends nothing, or
//! half of a request, delays nobody. Other threads ([`super::api`]) receive what they send, and return connections
//! from which more is expected. They are bounded in number, in bytes and in time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use transport::socket;
use transport::stream::SecureStream;

use super::arriving::{Accepted, Arriving};
use super::byte_stream::ByteStream;
use super::client::HttpClient;
use super::state::ApiState;
use crate::admission::{Admission, too_many};
use crate::limits;
use crate::settings::ListenerId;
use crate::thread_priority::give_way_to_shards;

/// Connections that are returned, because more of their requests is expected.
pub(super) struct Returned {
    connections: Mutex<Vec<Arriving>>,
    wake: OwnedFd,
}

impl Returned {
    /// # Errors
    /// The operating system has no descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            connections: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Returns a connection. At most as many are returned as were passed on, which is bounded.
    pub(super) fn give(&self, arriving: Arriving) {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner).push(arriving);
        // It fails only if enough wakes are pending already.
        let _woken = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<Arriving> {
        let _nothing = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        let connections = self.connections.lock();
        std::mem::take(&mut *connections.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Accepts on a listener as long as the process runs, and passes on connections that have sent something.
pub(super) fn receive_all(
    listening: &OwnedFd,
    listener: ListenerId,
    state: &ApiState,
    returned: &Returned,
    give: impl Fn(Box<Arriving>) -> Result<(), Box<Arriving>>,
) {
    give_way_to_shards();
    let mut arriving: Vec<Arriving> = Vec::new();
    loop {
        let (is_ready, received) = wait(listening, returned, &arriving);
        let now = Instant::now();
        let before = std::mem::take(&mut arriving).into_iter().zip(received);
        for (connection, has_received) in before {
            if connection.is_over(now) {
                connection.expire(state);
            } else if !has_received {
                arriving.push(connection);
            } else if let Err(refused) = give(Box::new(connection)) {
                refused.turn_away(state);
            }
        }
        arriving.extend(returned.take());
        bound(&mut arriving, state);
        if is_ready {
            match accept(listening, listener, state) {
                Ok(accepted) => arriving.extend(accepted.map(Arriving::accepted)),
                // Descriptors are used up, or a client has gone: avoid a busy loop.
                Err(_) => std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS)),
            }
        }
    }
}

/// Turns the oldest away if there are too many, and those with the most bytes if all together have too many bytes.
fn bound(arriving: &mut Vec<Arriving>, state: &ApiState) {
    let excess = arriving.len().saturating_sub(limits::API_ARRIVING_MAX - 1);
    arriving
        .drain(..excess)
        .for_each(|oldest| oldest.turn_away(state));
    let bytes_of = |one: &Arriving| one.client().received_bytes();
    let bytes = |all: &[Arriving]| all.iter().map(bytes_of).sum::<usize>();
    while bytes(arriving) > limits::API_ARRIVING_BYTES_MAX {
        let by_bytes = |&at: &usize| arriving.get(at).map(bytes_of);
        let Some(largest) = (0..arriving.len()).max_by_key(by_bytes) else {
            return;
        };
        arriving.swap_remove(largest).turn_away(state);
    }
}

/// Accepts a connection; `None` if the listener refuses it.
fn accept(listening: &OwnedFd, listener: ListenerId, state: &ApiState) -> io::Result<Option<Accepted>> {
    let socket = rustix::net::accept_with(listening, rustix::net::SocketFlags::CLOEXEC)?;
    let address = socket::peer_address(socket.as_fd())?;
    let in_effect = state.current.get();
    let index = usize::from(listener.0);
    let (Some(kind), Some(counted)) = (in_effect.listeners.get(index), state.counted.get(index)) else {
        return Ok(None);
    };
    let connections_max = in_effect.settings.listener(listener).connections_max;
    let Some(admission) = Admission::enter(counted.counts(), connections_max) else {
        tracing::warn!("Client connection from {address} denied: max_connections exceeded.");
        state.refuse(
            "max_connections",
            address,
            Some(&too_many(socket.as_fd(), connections_max)),
        );
        return Ok(None);
    };
    let stream = SecureStream::server(kind.tls.as_ref()).map_err(io::Error::other)?;
    let until = Instant::now() + Duration::from_nanos(limits::API_NS_MAX);
    Ok(Some(Accepted {
        client: HttpClient::new(ByteStream::tcp(socket)?, stream, until),
        address,
        listener,
        admission,
    }))
}

/// Waits, for a bounded time, until a client connects, is returned or sends something; returns whether a client
/// connected, and which ones sent something.
fn wait(listening: &OwnedFd, returned: &Returned, arriving: &[Arriving]) -> (bool, Vec<bool>) {
    let sockets = arriving.iter().map(|connection| connection.client().descriptor());
    let sockets = [listening.as_fd(), returned.wake.as_fd()]
        .into_iter()
        .chain(sockets);
    let mut polled: Vec<_> = sockets
        .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: SILENT_LOOK_NS,
    };
    // Those that have sent nothing are checked again, because their time may be over.
    let timeout = (!arriving.is_empty()).then_some(&timeout);
    if poll(&mut polled, timeout).is_err() {
        std::thread::sleep(Duration::from_nanos(limits::ACCEPT_PAUSE_NS));
    }
    let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
    let is_ready = ready.next().unwrap_or_default();
    (is_ready, ready.skip(1).collect())
}

/// How often those that have sent nothing are checked.
const SILENT_LOOK_NS: i64 = 250_000_000;
