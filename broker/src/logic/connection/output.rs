//! The output that waits to be sent on a connection.
//!
//! Invariants: `output` names the shell's list that the connection is in, because of the content of its `out`.

use crate::logic::aliases::Aliases;
use crate::logic::connection::Connection;
use crate::time::Timestamp;

/// Which packets of a connection wait for the store, see `delivery/deferred.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logic) enum Deferring {
    Nothing,
    /// Acknowledgements, or messages at QoS 2: later packets of these kinds wait behind them.
    Acknowledgements,
    /// The CONNACK, and therefore everything. The connection is not in the shell's list then.
    Everything,
}

/// The shell's list that a connection is in, because of the content of its `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// In none, because nothing waits.
    Flushed,
    /// The list of connections whose output depends on no other shard: it may be sent at any time.
    Independent,
    /// The list of connections whose output is sent after the batches for other shards have been pushed.
    Dependent,
}

impl Connection {
    /// The bytes that wait for the shell.
    #[inline]
    pub(in crate::logic) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub(in crate::logic) fn waiting_bytes(&self) -> usize {
        self.out.len().saturating_add(self.unsent_bytes as usize)
    }

    /// Sets the number of bytes that are in the shell and the kernel.
    #[inline]
    pub(in crate::logic) fn set_unsent(&mut self, now: Timestamp, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes < self.unsent_bytes || self.unsent_bytes == 0 {
            self.progress_at = now;
        }
        self.unsent_bytes = bytes;
    }

    /// Its output depends on batches for other shards; returns whether it is missing in the shell's list.
    #[inline]
    pub(in crate::logic) fn become_dependent(&mut self) -> bool {
        let is_new = self.output != Output::Dependent;
        self.output = Output::Dependent;
        is_new
    }

    /// It has output that depends on no other shard; returns whether it had none before.
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

    /// The shell has removed it from its list.
    #[inline]
    pub(in crate::logic) fn taken_by_shell(&mut self) {
        self.output = Output::Flushed;
    }

    /// Whether a packet with a promise to its client waits for the store.
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
        // As if it were in the shell's list, so that it is not put there.
        if what == Deferring::Everything {
            self.output = Output::Dependent;
        }
    }

    /// One of its packets no longer waits.
    pub(in crate::logic) fn end_deferring(&mut self) {
        let is_last = self.rare().end_deferring();
        if is_last && self.deferring == Deferring::Acknowledgements {
            self.deferring = Deferring::Nothing;
        }
    }

    /// The CONNACK no longer waits for the store, so later packets may be sent.
    pub(in crate::logic) fn end_deferring_output(&mut self) {
        if self.deferring == Deferring::Everything {
            self.deferring = Deferring::Acknowledgements;
            self.output = Output::Flushed;
        }
        self.end_deferring();
    }

    /// Its Topic Aliases; costs the check of a flag for connections without any.
    #[inline]
    pub(in crate::logic) fn outbound_aliases(&mut self) -> Option<&mut Aliases> {
        if !self.aliased {
            return None;
        }
        self.rare.as_mut()?.outbound_aliases()
    }

    /// Whether it has Topic Aliases for outgoing messages.
    #[inline]
    pub(in crate::logic) fn is_aliased(&self) -> bool {
        self.aliased
    }

    /// Gives it Topic Aliases for outgoing messages.
    pub(in crate::logic) fn set_outbound_aliases(&mut self, aliases: Box<Aliases>) {
        self.rare().set_outbound_aliases(aliases);
        self.aliased = true;
    }
}
