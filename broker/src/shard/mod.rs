//! The loop of a shard: the thin shell of sockets, ring and TLS around the sans-IO logic.
//!
//! [`crate::turn`] decides the order of the steps of a turn, which keeps the shards consistent; this module performs
//! the steps.
//!
//! The path of a connection: [`accept`], [`pending`] (until the client is authenticated), [`transfer`] by [`queues`]
//! to the shard that owns its session, [`connection`] and [`flush`] (`client_connections.rs` has all connections).
//! [`exchange`] is this shard's end of the queues, [`shut_down`] its end.
//!
//! Other files: `cpus.rs` (where the thread runs), `configured.rs` (its configuration), `token.rs` (names of requests
//! on the ring), `sending.rs` (bytes on their way to a socket), `unread.rs` (bytes that wait), `reading.rs` (whose
//! turn it is), `takeover.rs` (newer connections of a session), `tracer/` (packets in the log), `times.rs` (of turns
//! and messages), `client_times.rs` (of clients), `answering.rs` (operators' questions), `work_clock.rs` (the cost of
//! work by the clock), `scarcity.rs` (scarce receive buffers), `postponed.rs` (new clients for which a turn has no
//! time), `give_back.rs` (memory that is not needed).
//!
//! Invariants: a step is done when [`Turn`] names it and at no other time; the loop blocks only in [`Ring::wait`], and
//! there is no `.await` inside a turn.

mod accept;
mod answering;
mod client_connections;
mod client_times;
mod configured;
mod connection;
mod cpus;
mod exchange;
mod flush;
mod give_back;
mod pending;
mod postponed;
mod queues;
mod reading;
mod scarcity;
mod sending;
mod shut_down;
mod takeover;
mod times;
mod token;
mod tracer;
mod transfer;
mod unread;
mod work_clock;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use transport::clock::monotonic_ns;
use transport::ring::{Completion, ReceiveBuffer, ReceiveEnd, Ring, Token};

use self::accept::Acceptor;
use self::client_connections::ClientConnections;
use self::configured::{Configured, ShardAccess};
pub use self::cpus::allowed_cpus;
pub(crate) use self::cpus::placement;
use self::exchange::QueueEnds;
use self::give_back::GiveBack;
use self::pending::PendingConnections;
pub use self::pending::proxy_header_bytes;
use self::postponed::Postponed;
pub(crate) use self::queues::ShardQueues;
use self::shut_down::ShutDown;
use self::times::TurnTimes;
use self::token::Subject;
use self::transfer::ConnectionTransfer;
use self::unread::LostCause;
use crate::auth::Authentication;
use crate::bans::Bans;
use crate::bind::Listening;
use crate::client_sampling::ClientSampling;
use crate::dynamic_commands::DynamicCommands;
use crate::health::Health;
use crate::http::{ControlSocket, Pages};
use crate::in_effect::Current;
use crate::local_connections::LocalConnections;
use crate::log;
use crate::logic::{ConnectionId, Shard};
use crate::questions::Questions;
use crate::reload_requests::ReloadRequests;
use crate::time::Timestamp;
use crate::traces::Traces;
use crate::turn::{Outcome, TakeOvers, Turn, TurnStep};

/// What the shards of a broker share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) queues: Arc<ShardQueues>,
    pub(crate) current: Arc<Current>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) bans: Arc<Bans>,
    pub(crate) shut_down: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
    pub(crate) pages: Pages,
    pub(crate) questions: Arc<Questions>,
    pub(crate) local: Arc<LocalConnections>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) reloads: Arc<ReloadRequests>,
    /// Exists as long as the broker.
    pub(crate) control: Option<Arc<ControlSocket>>,
    pub(crate) sampling: Arc<ClientSampling>,
    pub(crate) commands: DynamicCommands,
}

/// The sockets and the logic of one shard.
pub(crate) struct ShardLoop {
    /// The time at the beginning of the turn.
    now: Timestamp,
    ring: Ring,
    logic: Shard,
    turn: Turn<Box<ConnectionTransfer>>,
    acceptor: Acceptor,
    pending: PendingConnections,
    connections: ClientConnections,
    /// Connections whose sessions have older ones.
    take_overs: TakeOvers<Box<ConnectionTransfer>, ConnectionId>,
    exchange: QueueEnds,
    configured: Configured,
    access: ShardAccess,
    health: Arc<Health>,
    /// Serves the files of `http_dir`.
    pages: Pages,
    questions: Arc<Questions>,
    /// Connections of the broker's own bridges.
    local: Arc<LocalConnections>,
    traces: Arc<Traces>,
    sampling: Arc<ClientSampling>,
    shut_down: ShutDown,
    give_back: GiveBack,
    times: TurnTimes,
    /// Events of pending connections and listeners that came when the turn had spent its budget.
    postponed: Postponed,
    /// Something that a turn had no time for continues in the next one: connections to admit, answers to take.
    goes_on: bool,
}

impl ShardLoop {
    /// Starts to accept on the ring of the calling thread.
    pub(crate) fn new(
        index: u16,
        shards: u16,
        mut ring: Ring,
        logic: Shard,
        listening: Vec<Listening>,
        shared: Shared,
    ) -> ShardLoop {
        let exchange = QueueEnds::new(index, shards, shared.queues, &ring);
        let mut shard = ShardLoop {
            now: Timestamp(monotonic_ns()),
            logic,
            turn: Turn::new(index, shards),
            acceptor: Acceptor::start(listening, &mut ring),
            ring,
            pending: PendingConnections::default(),
            connections: ClientConnections::default(),
            take_overs: TakeOvers::default(),
            exchange,
            configured: Configured::new(shared.current),
            access: ShardAccess::new(shared.authentication, shared.commands, shared.bans),
            health: shared.health,
            pages: shared.pages,
            questions: shared.questions,
            local: shared.local,
            traces: shared.traces,
            sampling: shared.sampling,
            shut_down: ShutDown::new(shared.shut_down),
            give_back: GiveBack::default(),
            times: TurnTimes::default(),
            postponed: Postponed::default(),
            goes_on: false,
        };
        shard.give_policy();
        shard
    }

    /// Makes turns until the broker is shut down.
    ///
    /// It never yields to glommio, so nothing else may run on this executor: a yield may end in glommio's own park,
    /// where no completion of this ring wakes it.
    ///
    /// # Errors
    /// When the ring fails, which no peer can cause.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        while !self.is_drained() {
            self.turn()?;
        }
        self.logic.submit_records();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        loop {
            let outcome = self.take_step(self.turn.step())?;
            if self.turn.advance(outcome) == TurnStep::Wait {
                return Ok(());
            }
        }
    }

    fn take_step(&mut self, step: TurnStep) -> io::Result<Outcome> {
        match step {
            TurnStep::Wait => self.begin_turn()?,
            TurnStep::Take { from, messages_max } => return Ok(self.take_from(from, messages_max)),
            TurnStep::Adopt => self.adopt_arrived(),
            TurnStep::Handle => self.handle_completions(),
            TurnStep::RunTimers => {
                self.run_timers();
                self.submit_commands();
                // Lines of messages from other shards, and of retained ones.
                self.connections.show_trace_lines(&mut self.logic);
            }
            TurnStep::Push => return self.exchange.push(self.now, &mut self.logic, &mut self.ring),
            TurnStep::Flush => self.flush(),
            TurnStep::FlushIndependent => self.flush_independent(),
            TurnStep::Close => self.end_closed(),
            TurnStep::ChangeReceiving => {
                self.change_receiving();
                self.give_memory_back();
            }
        }
        Ok(Outcome::Done)
    }

    fn begin_turn(&mut self) -> io::Result<()> {
        self.wait()?;
        if self.logic.store_has_failed() {
            return Err(io::Error::other("the store has failed"));
        }
        self.now = Timestamp(monotonic_ns());
        self.logic.begin_turn();
        self.times.begin(self.now, self.logic.counters());
        self.connections.tracer.begin_turn(&self.traces);
        self.logic
            .delivery()
            .trace_lines()
            .keep(self.connections.tracer.traces());
        self.logic
            .client_times()
            .measure(self.now, self.sampling.since(self.now));
        self.take_settings();
        self.publish_log();
        self.answer_question();
        self.begin_local();
        Ok(())
    }

    /// Publishes log lines, if this shard does that and there are some.
    fn publish_log(&mut self) {
        if self.exchange.shard() == 0 {
            for line in log::topic_lines().take_waiting() {
                self.logic.publish_log(self.now, line.topic, &line.text);
            }
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = Timestamp(monotonic_ns());
        self.logic.end_turn();
        self.times.end(now, self.logic.counters());
        let timeout = self.timeout(now);
        if timeout != Some(Duration::ZERO) && self.exchange.may_sleep() {
            self.ring.wait(timeout)?;
            self.exchange.woke();
            return Ok(());
        }
        self.ring.wait(Some(Duration::ZERO))
    }

    /// How long the ring may wait.
    fn timeout(&mut self, now: Timestamp) -> Option<Duration> {
        if self.exchange.is_blocked(&self.logic) {
            return Some(FULL_QUEUE_RETRY);
        }
        if self.logic.has_dirty()
            || self.goes_on
            || !self.postponed.is_empty()
            || self.logic.disconnects_all()
            || self.connections.has_unfinished()
            || self.turn.has_arrivals()
            || self.may_admit()
            || self.questions.are_waiting(self.exchange.shard())
        {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.logic.next_deadline(),
            self.pending
                .next_deadline(self.logic.settings().connect_timeout_s),
            self.connections.next_deadline(),
            self.acceptor.next_deadline(),
            self.shut_down.next_deadline(),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_nanos(next.since_ns(now)))
    }

    pub(super) fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { token, socket, more } => {
                if let Subject::Listener(index) = Subject::of(token) {
                    let (ring, now) = (&mut self.ring, self.now);
                    let events = &self.logic.counters().events;
                    if let Some(socket) = self.acceptor.accepted(ring, now, index, socket, more, events) {
                        self.begin_pending(index, socket);
                    }
                }
            }
            Completion::Received { token, buffer, more } => self.received(token, buffer, more),
            Completion::ReceiveEnded { token, cause } => self.receive_ended(token, cause),
            Completion::Sent { token, bytes, result } => {
                if let Subject::Connection(id) = Subject::of(token) {
                    self.sent(id, bytes, result);
                }
            }
            // The messages are taken at the end of the step.
            Completion::Woken => {}
            Completion::NotWoken { token, error } => {
                tracing::debug!("Shard {} is woken by its descriptor: {error}", token.0);
                self.exchange.wake(token.0 as u16);
            }
            Completion::Connected { .. } => {}
        }
    }

    fn received(&mut self, token: Token, buffer: ReceiveBuffer, more: bool) {
        match Subject::of(token) {
            Subject::Pending(id) => self.pending_received(id, buffer),
            Subject::Connection(id) => self.connection_received(id, buffer, more),
            Subject::Listener(_) => self.ring.recycle(buffer),
        }
    }

    fn receive_ended(&mut self, token: Token, cause: ReceiveEnd) {
        match (Subject::of(token), cause) {
            (Subject::Listener(_), _) => {}
            (Subject::Pending(id), ReceiveEnd::NoBuffers) => self.newcomer_found_no_buffer(id),
            (Subject::Pending(id), _) => {
                if let Some(pending) = self.pending.remove(id) {
                    self.count_without_connect(&pending);
                }
            }
            (Subject::Connection(id), ReceiveEnd::NoBuffers) => self.found_no_buffer(id),
            (Subject::Connection(id), ReceiveEnd::Cancelled) => self.receive_again(id),
            // Its earlier requests are answered first.
            (Subject::Connection(id), ReceiveEnd::EndOfStream) => {
                self.connections.end_of_stream(id, LostCause::EndOfStream);
            }
            (Subject::Connection(id), ReceiveEnd::Error(error)) => self.fail(id, &error),
        }
    }

    fn run_timers(&mut self) {
        let now = self.now;
        let timeout_s = self.logic.settings().connect_timeout_s;
        let walk = self.logic.settings().work.walk;
        self.begin_budget(walk);
        while !self.logic.work().turn_is_over()
            && let Some(pending) = self.pending.expired(now, timeout_s)
        {
            self.end_expired(pending);
            self.charge_time();
        }
        self.close_abandoned();
        while !self.logic.work().turn_is_over()
            && let Some(id) = self.connections.expired(now)
        {
            self.close(id);
            self.charge_time();
        }
        self.acceptor.retry(&mut self.ring, now);
        self.continue_shut_down();
        self.logic.tick(now);
    }
}

/// How soon a full queue of another shard is tried again.
const FULL_QUEUE_RETRY: Duration = Duration::from_micros(100);
