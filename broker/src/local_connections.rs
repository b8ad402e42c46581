//! Connections of the broker's own bridges on their way to the shards.
//!
//! Invariants: the other end of such a connection is in this process, so it needs no password and nobody else can have
//! one. Without new ones a shard looks at one flag a turn.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use transport::socket::{self, Socket};

use crate::admission::ListenerCounts;

/// The connections that wait, for each shard.
pub(crate) struct LocalConnections {
    shards: Vec<WaitingConnections>,
    /// They are counted as those of a listener are.
    counts: Arc<ListenerCounts>,
    wake: Box<dyn Fn(u16) + Send + Sync>,
}

#[derive(Default)]
struct WaitingConnections {
    /// Whether there are some; looked at without the lock.
    any: AtomicBool,
    sockets: Mutex<Vec<Socket>>,
}

impl LocalConnections {
    /// `wake` makes a shard turn, also one that sleeps.
    pub(crate) fn new(shards: u16, wake: impl Fn(u16) + Send + Sync + 'static) -> Self {
        Self {
            shards: (0..shards).map(|_| WaitingConnections::default()).collect(),
            counts: Arc::default(),
            wake: Box::new(wake),
        }
    }

    /// Connects to a shard; the client's end.
    ///
    /// # Errors
    /// What `socketpair(2)` gives.
    pub(crate) fn connect(&self, shard: u16) -> io::Result<OwnedFd> {
        let (client, server) = socket::pair()?;
        let waiting = self.shards.get(usize::from(shard));
        let waiting = waiting.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut sockets = waiting.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.push(server.into());
        waiting.any.store(true, Ordering::Release);
        drop(sockets);
        (self.wake)(shard);
        Ok(client)
    }

    /// How many shards can be connected to.
    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// The new connections of a shard.
    #[inline]
    pub(crate) fn take(&self, shard: u16) -> Vec<Socket> {
        let Some(waiting) = self.shards.get(usize::from(shard)) else {
            return Vec::new();
        };
        if !waiting.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut sockets = waiting.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.any.store(false, Ordering::Release);
        std::mem::take(&mut *sockets)
    }

    /// Where they are counted.
    pub(crate) fn counts(&self) -> &Arc<ListenerCounts> {
        &self.counts
    }
}

impl fmt::Debug for LocalConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConnections")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_comes_to_its_shard_once() {
        let connections = LocalConnections::new(2, |shard| assert_eq!(shard, 1));
        let _client = connections.connect(1).unwrap();
        assert!(connections.take(0).is_empty());
        assert_eq!(connections.take(1).len(), 1);
        assert!(connections.take(1).is_empty());
        assert!(connections.connect(2).is_err(), "no such shard");
    }
}
