//! Bytes of paused connections: the ring had received them before its receive could be cancelled.
//!
//! They stay here, and the logic does not handle them before the connection is resumed. So what a publisher can still
//! add to a consumer after it was paused is the rest of one read, and not all that the ring had received for it.
//!
//! Invariants: the bytes of a connection reach the logic in their order; nothing is received for a connection that has
//! bytes here; a stream that has ended is lost after its last bytes. [`limits::UNREAD_BYTES_MAX`] bounds their sum:
//! above it the logic gets what comes although the connection is paused.

use super::ShardLoop;
use super::connection::{ClientConnections, LostCause};
use crate::limits;
use crate::logic::{ConnectionId, Shard};

/// What a connection has unread.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// Its stream has ended behind them.
    ended: Option<LostCause>,
}

impl Unread {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl ClientConnections {
    /// Keeps bytes of a connection that is paused, or has older ones here. False if the logic is to get them.
    #[inline]
    pub(super) fn keep_unread(&mut self, logic: &Shard, id: ConnectionId, bytes: &[u8]) -> bool {
        let paused = logic.receive_paused(id) && self.unread_bytes < limits::UNREAD_BYTES_MAX;
        let Some(connection) = self
            .get(id)
            .filter(|connection| paused || !connection.unread.is_empty())
        else {
            return false;
        };
        connection.unread.bytes.extend_from_slice(bytes);
        self.unread_bytes += bytes.len();
        true
    }

    /// The stream of a connection has ended: it is to be lost after the flush, or after its last bytes.
    pub(super) fn end_of_stream(&mut self, id: ConnectionId, cause: LostCause) {
        match self.get(id) {
            Some(connection) if !connection.unread.is_empty() => connection.unread.ended = Some(cause),
            _ => self.ended.push((id, cause)),
        }
    }

    /// The next bytes of a connection that are to be handled; `None` if there are no more.
    fn take_unread(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let unread = &mut self.get(id)?.unread;
        let bytes = std::mem::take(&mut unread.bytes);
        self.unread_bytes -= bytes.len();
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Puts back what was not handled.
    fn put_unread_back(&mut self, id: ConnectionId, bytes: Vec<u8>) {
        let count = bytes.len();
        if let Some(connection) = self.get(id) {
            connection.unread.bytes = bytes;
            self.unread_bytes += count;
        }
    }
}

impl ShardLoop {
    /// Hands on the bytes of connections that were resumed, as long as they are not paused again.
    pub(super) fn read_unread(&mut self) {
        for id in std::mem::take(&mut self.connections.resumed) {
            if self.turn_is_over() {
                self.connections.resumed.push(id);
            } else {
                self.read_unread_of(id);
            }
        }
    }

    fn read_unread_of(&mut self, id: ConnectionId) {
        let Some(mut bytes) = self.connections.take_unread(id) else {
            return;
        };
        let mut handled = 0;
        while handled < bytes.len() && !self.logic.receive_paused(id) {
            let until = bytes.len().min(handled + READ_BYTES);
            self.logic
                .receive(self.now, id, bytes.get(handled..until).unwrap_or_default());
            handled = until;
        }
        self.connections.turn_bytes += handled;
        if handled < bytes.len() {
            bytes.drain(..handled);
            return self.connections.put_unread_back(id, bytes);
        }
        match self
            .connections
            .get(id)
            .and_then(|connection| connection.unread.ended.take())
        {
            Some(cause) => self.connections.ended.push((id, cause)),
            None => self.resume_receiving(id),
        }
    }
}

/// Bytes that are handled at once, as many as one read brings.
const READ_BYTES: usize = 16 * 1024;
