//! What waits to be sent on a connection.
//!
//! Invariants: `output` names the list for the shell that the connection is in, because of what waits in its `out`.

use crate::logic::aliases::Aliases;
use crate::logic::connection::Connection;
use crate::time::Timestamp;

/// What of a connection waits for the store, see `delivery/deferred.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Deferring {
    Nothing,
    /// Acknowledgements, or messages at QoS 2: others of these kinds wait behind them.
    Acknowledgements,
    /// The CONNACK, and so everything. The shell does not have the connection in its list meanwhile.
    Everything,
}

/// In which list for the shell a connection is, because of what waits in its `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// In none: nothing waits.
    Flushed,
    /// In that of connections whose output depends on no other shard: it may be sent at any time.
    Independent,
    /// In that of connections whose output is sent when the other shards have what was for them.
    Dependent,
}

impl Connection {
    /// The bytes that wait to be taken by the shell.
    #[inline]
    pub(in crate::logic) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub(in crate::logic) fn waiting_bytes(&self) -> usize {
        self.out.len().saturating_add(self.unsent_bytes as usize)
    }

    /// So many bytes are with the shell and the kernel.
    #[inline]
    pub(in crate::logic) fn set_unsent(&mut self, now: Timestamp, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes < self.unsent_bytes || self.unsent_bytes == 0 {
            self.progress_at = now;
        }
        self.unsent_bytes = bytes;
    }

    /// Its output depends on batches for other shards; whether the shell's list lacks it.
    #[inline]
    pub(in crate::logic) fn become_dependent(&mut self) -> bool {
        let is_new = self.output != Output::Dependent;
        self.output = Output::Dependent;
        is_new
    }

    /// It has output that depends on no other shard; whether it had none before.
    #[inline]
    pub(in crate::logic) fn become_independent(&mut self) -> bool {
        let is_new = self.output == Output::Flushed;
        if is_new {
            self.output = Output::Independent;
        }
        is_new
    }

    /// Whether its output depends on batches for other shards.
    #[inline]
    pub(in crate::logic) fn depends_on_batches(&self) -> bool {
        self.output == Output::Dependent
    }

    /// Whether its output depends on no other shard, and there is some.
    #[inline]
    pub(in crate::logic) fn is_independent(&self) -> bool {
        self.output == Output::Independent
    }

    /// The shell has it in its list no more.
    #[inline]
    pub(in crate::logic) fn taken_by_shell(&mut self) {
        self.output = Output::Flushed;
    }

    /// Whether something that promises its client anything waits for the store.
    #[inline]
    pub(in crate::logic) fn is_deferring(&self) -> bool {
        self.deferring != Deferring::Nothing
    }

    /// Whether all of its output waits for the store.
    #[inline]
    pub(in crate::logic) fn is_deferring_everything(&self) -> bool {
        self.deferring == Deferring::Everything
    }

    /// One more of its packets waits for the store.
    pub(in crate::logic) fn begin_deferring(&mut self, what: Deferring) {
        self.rare().begin_deferring();
        self.deferring = self.deferring.max(what);
        // As if it were in the shell's list: so it is not put there.
        if what == Deferring::Everything {
            self.output = Output::Dependent;
        }
    }

    /// One of its packets waits no more.
    pub(in crate::logic) fn end_deferring(&mut self) {
        let is_last = self.rare().end_deferring();
        if is_last && self.deferring == Deferring::Acknowledgements {
            self.deferring = Deferring::Nothing;
        }
    }

    /// The CONNACK does not wait for the store any more, so later packets may be sent.
    pub(in crate::logic) fn end_deferring_output(&mut self) {
        if self.deferring == Deferring::Everything {
            self.deferring = Deferring::Acknowledgements;
            self.output = Output::Flushed;
        }
        self.end_deferring();
    }

    /// Its Topic Aliases: a look at a flag for those that have none.
    #[inline]
    pub(in crate::logic) fn outbound_aliases(&mut self) -> Option<&mut Aliases> {
        if !self.aliased {
            return None;
        }
        self.rare.as_mut()?.outbound_aliases()
    }

    /// Whether it has Topic Aliases for what it is sent.
    #[inline]
    pub(in crate::logic) fn is_aliased(&self) -> bool {
        self.aliased
    }

    /// From now on it has Topic Aliases for what it is sent.
    pub(in crate::logic) fn set_outbound_aliases(&mut self, aliases: Box<Aliases>) {
        self.rare().set_outbound_aliases(aliases);
        self.aliased = true;
    }
}
