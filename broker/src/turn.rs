//! The order of a shard's work, without I/O: one object decides what comes next, and a driver does it.
//!
//! The shell (`shard/mod.rs`), the simulator, the test cluster and the benches all drive a [`Turn`], so that what the
//! simulator tests is what the broker does. A driver does the step that [`Turn::step`] names, and reports with
//! [`Turn::advance`] how it ended:
//!
//! ```text
//! Wait ─► Take (each other shard) ─► Adopt ─► Handle ─► RunTimers ─► Push ─► Flush ─► Close ─► ChangeReceiving ─► Wait
//!            │ the turn is full       (only after a second look at all      │ blocked                 ▲
//!            ▼                         queues)                              └─────────────────────────┘
//!          Push ─► Flush ─► Take what is left           (blocked: FlushIndependent in place of Flush and Close)
//! ```
//!
//! Invariants: each with its reason; together they are the happens-before rule: what a client was sent (SUBACK,
//! PUBACK, a message) is known to every shard that later handles bytes of a client that acts on it.
//! - Everything for other shards is pushed before anything is flushed. While a queue is full, only output that depends
//!   on no other shard is flushed (a PINGRESP, the CONNACK of a new session): a client learns of nothing that another
//!   shard cannot know of. This also slows publishers that fill the queue.
//! - The completions are fixed in `Wait`, before the queues are read, and handled after them: bytes that a client sent
//!   because of what it had received are in a completion after the message that this shard gets of it.
//! - A connection that is transferred brings bytes that another shard has read, perhaps after another queue was read.
//!   So all queues are read once more before it is adopted; one that comes with the second reading waits for the next
//!   turn.
//! - What a connection causes when it breaks (a Will) is for other shards too, so it is closed after the flush, and
//!   what it causes is sent in the next turn, after its batches.
//! - A step takes what was there when it began, so a turn ends even if others keep sending.
//! - What a client sent on one connection is handled before a newer one takes over the session ([`TakeOvers`]): the
//!   bytes of the older one that the kernel has are read in one turn and handled in the next, after the queues.
//! - A turn holds a bounded amount of work ([`WorkBudget`]), whatever the bytes cost: in `Handle` a connection that
//!   has used its share goes to the back of the queue with the rest of its bytes.
//!
//! What breaks them: a driver that does a step at another time than the named one. The simulator has such drivers
//! (`tests/src/simulation/profile.rs`, `Fault`), and a test that detects each of them.

mod budget;
mod takeover;

pub use self::budget::{WorkBudget, WorkLimits};
pub use self::takeover::{TakeOver, TakeOvers};

/// The step that a shard has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnStep {
    /// Wait for something to happen, and fix the completions of this turn.
    Wait,
    /// Take the messages that another shard has sent.
    Take {
        /// The number of the shard that sent them.
        from: u16,
        /// The most messages to take, of those that are in the queue when the step begins.
        messages_max: u32,
    },
    /// Adopt the connections that [`Turn::take_adoptable`] returns.
    Adopt,
    /// Handle completions, until there are no more or the turn is full.
    Handle,
    /// Do what is due by the clock.
    RunTimers,
    /// Push the batches for other shards into their queues.
    Push,
    /// Send the output for clients, within the time of a flush.
    Flush,
    /// Send only output that depends on no other shard, because batches wait for room in a queue.
    FlushIndependent,
    /// Close the connections that ended or broke.
    Close,
    /// Pause and resume reading where the logic requests it: last, because the flush resumes publishers.
    ChangeReceiving,
}

// In one register: a turn has many steps, and most of them find little to do.
const _: () = assert!(size_of::<TurnStep>() == 8);

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step was done completely.
    Done,
    /// [`TurnStep::Take`] stopped because so much was written for clients that a flush is due.
    Full {
        /// The number of messages that are left.
        left: u32,
    },
    /// [`TurnStep::Push`] found a queue without room for all of it.
    Blocked,
}

/// The turns of one shard; `T` is a connection that another shard transfers to this one.
#[derive(Debug)]
pub struct Turn<T> {
    shard: u16,
    shards: u16,
    step: TurnStep,
    /// The step that continues after a flush in the middle of a turn.
    interrupted: Option<TurnStep>,
    /// Connections that came since the queues were last read twice.
    arrived: Vec<T>,
    /// Connections that came before the second reading.
    adoptable: Vec<T>,
}

impl<T> Turn<T> {
    /// The turns of that shard out of `shards`; the first one begins with [`TurnStep::Wait`].
    #[must_use]
    pub fn new(shard: u16, shards: u16) -> Self {
        Self {
            shard,
            shards,
            step: TurnStep::Wait,
            interrupted: None,
            arrived: Vec::new(),
            adoptable: Vec::new(),
        }
    }

    /// The step to do now.
    #[inline]
    #[must_use]
    pub fn step(&self) -> TurnStep {
        self.step
    }

    /// Records that the step was done, and returns the next step.
    #[inline]
    pub fn advance(&mut self, outcome: Outcome) -> TurnStep {
        self.step = match self.step {
            TurnStep::Adopt => TurnStep::Handle,
            TurnStep::Handle => TurnStep::RunTimers,
            TurnStep::RunTimers => TurnStep::Push,
            TurnStep::Close => TurnStep::ChangeReceiving,
            TurnStep::ChangeReceiving => TurnStep::Wait,
            step => self.decide(step, outcome),
        };
        self.step
    }

    /// The next step after one that has more than one successor.
    fn decide(&mut self, step: TurnStep, outcome: Outcome) -> TurnStep {
        match (step, outcome) {
            (TurnStep::Wait, _) => self.first_queue(),
            (TurnStep::Take { from, .. }, Outcome::Full { left }) => {
                let messages_max = left;
                self.interrupted = Some(TurnStep::Take { from, messages_max });
                TurnStep::Push
            }
            (TurnStep::Take { from, .. }, _) => self.after_queue(from),
            (TurnStep::Push, Outcome::Blocked) => TurnStep::FlushIndependent,
            (TurnStep::FlushIndependent, _) => self.resume_or(TurnStep::ChangeReceiving),
            (TurnStep::Push, _) => TurnStep::Flush,
            (TurnStep::Flush, _) => self.resume_or(TurnStep::Close),
            (step, _) => step,
        }
    }

    /// A connection came with the messages of another shard.
    pub fn arrived(&mut self, connection: T) {
        self.arrived.push(connection);
    }

    /// The connections to adopt in [`TurnStep::Adopt`], in the order in which they came.
    pub fn take_adoptable(&mut self) -> Vec<T> {
        std::mem::take(&mut self.adoptable)
    }

    /// Whether connections wait for a turn to adopt them.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        !self.arrived.is_empty() || !self.adoptable.is_empty()
    }

    /// Continues with what a flush has interrupted.
    #[inline]
    fn resume_or(&mut self, otherwise: TurnStep) -> TurnStep {
        match self.interrupted {
            None => otherwise,
            Some(interrupted) => {
                self.interrupted = None;
                interrupted
            }
        }
    }

    /// The queues of the other shards come first; a single shard has none.
    fn first_queue(&self) -> TurnStep {
        self.take_from(0).unwrap_or(TurnStep::Handle)
    }

    /// The first other shard's queue from that number on, if there is one.
    fn take_from(&self, from: u16) -> Option<TurnStep> {
        let from = if from == self.shard { from + 1 } else { from };
        let messages_max = u32::MAX;
        (from < self.shards).then_some(TurnStep::Take { from, messages_max })
    }

    /// A queue was read: the next one; after the last one all of them once more, if connections came.
    fn after_queue(&mut self, from: u16) -> TurnStep {
        if let Some(next) = self.take_from(from + 1) {
            return next;
        }
        if !self.adoptable.is_empty() {
            return TurnStep::Adopt;
        }
        std::mem::swap(&mut self.arrived, &mut self.adoptable);
        let again = self.take_from(0).filter(|_| !self.adoptable.is_empty());
        again.unwrap_or(TurnStep::Handle)
    }
}

#[cfg(test)]
mod tests;
