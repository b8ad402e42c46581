//! The end of a shard's clients when the broker ends: Wills are published, then all connections are disconnected.
//!
//! Invariants: it proceeds in steps, each of which costs little, so it takes as many turns as it needs. All Wills that
//! are due are published before the first connection is closed, so that clients get them. New clients are refused from
//! the beginning, so the walks over the slots miss nobody.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::slots::Slot as _;
use crate::time::Timestamp;

/// The progress of the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Disconnecting {
    #[default]
    NotBegun,
    /// Wills are published; the next slot of a session to visit.
    Wills {
        next: u32,
    },
    /// Connections are closed; the next slot to visit.
    Connections {
        next: u32,
    },
    Done,
}

impl Disconnecting {
    /// Whether the end has begun.
    pub(super) fn has_begun(self) -> bool {
        self != Self::NotBegun
    }
}

impl Shard {
    /// The process ends: nobody may connect from now on, and [`Self::continue_shut_down`] disconnects all clients.
    pub fn begin_shut_down(&mut self) {
        if self.shut_down == Disconnecting::NotBegun {
            self.shut_down = Disconnecting::Wills { next: 0 };
        }
    }

    /// Whether clients may still have to be disconnected.
    #[must_use]
    pub fn disconnects_all(&self) -> bool {
        matches!(
            self.shut_down,
            Disconnecting::Wills { .. } | Disconnecting::Connections { .. }
        )
    }

    /// A step of the end. Wills are published first, as for any connection that the client did not end itself. Delayed
    /// Wills of stored sessions wait in the store until the broker runs again; those of other sessions are due,
    /// because their sessions end. Then each client is disconnected.
    pub fn continue_shut_down(&mut self, now: Timestamp) {
        self.begin(now);
        self.work.spend(limits::CONNECTION_WORK);
        match self.shut_down {
            Disconnecting::NotBegun | Disconnecting::Done => {}
            Disconnecting::Wills { next } => {
                let (will, looked_at) = self.delivery.clients.sessions_mut().take_due_will(next);
                self.shut_down = match looked_at {
                    Some(last) => Disconnecting::Wills { next: last + 1 },
                    None => Disconnecting::Connections { next: 0 },
                };
                if let Some(will) = will {
                    self.publish_will(&will);
                }
            }
            Disconnecting::Connections { next } => {
                let found = self.delivery.clients.connections().iter_from(next).next();
                let Some(slot) = found.map(|(slot, _)| slot) else {
                    self.shut_down = Disconnecting::Done;
                    return;
                };
                let next = slot.number().get() + 1;
                self.shut_down = Disconnecting::Connections { next };
                self.disconnect(slot, ReasonCode::ServerShuttingDown, "the broker shuts down");
            }
        }
    }

    /// The whole end at once, for callers without turns.
    pub fn shut_down(&mut self, now: Timestamp) {
        self.begin_shut_down();
        while self.disconnects_all() {
            self.continue_shut_down(now);
        }
    }

    /// Whether the broker ends without a store: then it is not worth searching for another member of a group.
    pub(super) fn forgets_messages(&self) -> bool {
        self.shut_down.has_begun() && !self.delivery.journal.is_open()
    }
}
