//! The loop of a shard: the thin shell of sockets, ring and TLS around the sans-IO logic.
//!
//! What comes when in a turn is [`crate::turn`]'s to say, and with it the order that makes the shards agree; here each of
//! its steps is done.
//!
//! Invariants: a step is done when [`Turn`] names it and at no other time; the loop never blocks but in [`Ring::wait`], and
//! no `.await` stands inside a turn.

mod accept;
mod challenge;
mod connection;
mod exchange;
mod flush;
mod greeting;
mod links;
mod login;
mod placement;
mod proxy;
mod token;
mod upgrade;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use transport::clock::monotonic_ns;
use transport::ring::{Completion, ReceiveBuffer, ReceiveEnd, Ring, RingError, RingOptions, Token};

use crate::auth::Authentication;
use crate::bind::Listening;
use crate::health::Health;
use crate::http::Pages;
use crate::in_effect::{Current, InEffect};
use crate::limits;
use crate::logic::{ConnectionId, LostCause, Shard};
use crate::time::Timestamp;
use crate::turn::{Outcome, Step, Turn};
use connection::Connections;
use greeting::{Greeting, Greetings};
use links::Handoff;
pub(crate) use links::Links;
pub use placement::allowed_cpus;
pub(crate) use placement::placement;
use token::Subject;

/// What the shards of a broker have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) links: Arc<Links>,
    pub(crate) current: Arc<Current>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) shut_down: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
    pub(crate) pages: Pages,
}

/// One shard's sockets and logic.
pub(crate) struct ShardLoop {
    index: u16,
    shards: u16,
    now: Timestamp,
    ring: Ring,
    logic: Shard,
    links: Arc<Links>,
    listening: Vec<Listening>,
    current: Arc<Current>,
    /// What of it this shard goes by, and its number.
    in_effect: (u64, Arc<InEffect>),
    /// Listeners that could not accept, and when they try again.
    accept_again: Option<Timestamp>,
    /// Until when it is not logged again that they cannot.
    accept_quiet_until: Timestamp,
    /// Accept was cancelled on all listeners until then.
    accept_stopped: bool,
    /// A descriptor to be given up when there is no other one.
    reserve: Option<OwnedFd>,
    /// Connections that were closed at once for want of descriptors and not logged yet.
    refused_for_descriptors: u64,
    /// One was since accept last failed.
    is_refusing: bool,
    greetings: Greetings,
    connections: Connections,
    /// Connections on their way to their home shards.
    handoffs: Vec<(u16, Box<Handoff>)>,
    turn: Turn<Box<Handoff>>,
    authentication: Arc<Authentication>,
    /// Of the policy that the logic goes by.
    policy_generation: u64,
    shut_down: Arc<AtomicBool>,
    health: Arc<Health>,
    /// Who serves the files of `http_dir`.
    pages: Pages,
    /// Set while shutting down: when what is still open is cut.
    drain_until: Option<Timestamp>,
    /// Set with it: until when connections that were accepted before may say who they are.
    greet_until: Option<Timestamp>,
    /// The other shards know that this one ends.
    leaves: bool,
    /// Connections that ended, to be lost after the flush.
    ended: Vec<(ConnectionId, LostCause)>,
    /// Bytes received in this turn.
    turn_bytes: usize,
    /// Connections to flush for the shell's own reasons, beside those that the logic names.
    unflushed: Vec<ConnectionId>,
    /// Plain bytes out of a TLS stream, reused.
    plain: Vec<u8>,
    /// The logic's list of connections to flush, reused.
    dirty: Vec<ConnectionId>,
}

impl ShardLoop {
    /// Makes the ring of the calling thread and starts to accept.
    ///
    /// # Errors
    /// When the ring cannot be made.
    pub(crate) fn new(
        index: u16,
        shards: u16,
        logic: Shard,
        listening: Vec<Listening>,
        shared: Shared,
    ) -> Result<ShardLoop, RingError> {
        let Shared {
            links,
            current,
            authentication,
            shut_down,
            health,
            pages,
        } = shared;
        let ring = Ring::new(&RingOptions::default())?;
        links.introduce(index, ring.handle(), ring.waker());
        let in_effect = (0, current.get());
        // What was set before the introduction could not wake this shard: the first turn looks.
        links.wake(index);
        let mut shard = ShardLoop {
            index,
            shards,
            now: Timestamp(monotonic_ns()),
            ring,
            logic,
            links,
            listening,
            current,
            in_effect,
            accept_again: None,
            accept_quiet_until: Timestamp(0),
            accept_stopped: false,
            reserve: None,
            refused_for_descriptors: 0,
            is_refusing: false,
            greetings: Greetings::default(),
            connections: Connections::default(),
            handoffs: Vec::new(),
            turn: Turn::new(index, shards),
            authentication,
            policy_generation: 0,
            shut_down,
            health,
            pages,
            drain_until: None,
            greet_until: None,
            leaves: false,
            ended: Vec::new(),
            turn_bytes: 0,
            unflushed: Vec::new(),
            plain: Vec::new(),
            dirty: Vec::new(),
        };
        shard.take_policy();
        shard.keep_reserve();
        shard.accept_everywhere();
        Ok(shard)
    }

    /// Turns until the broker is shut down.
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
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        loop {
            let outcome = self.take_step(self.turn.step())?;
            if self.turn.advance(outcome) == Step::Wait {
                return Ok(());
            }
        }
    }

    fn take_step(&mut self, step: Step) -> io::Result<Outcome> {
        match step {
            Step::Wait => self.begin_turn()?,
            Step::Take { from, messages_max } => return Ok(self.take_from(from, messages_max)),
            Step::Adopt => self.adopt_arrived(),
            Step::Handle => self.handle_completions(),
            Step::RunTimers => self.run_timers(),
            Step::Push => return self.push_parcels(),
            Step::Flush => self.flush(),
            Step::Close => self.lose_ended(),
            Step::ChangeReceiving => self.change_receiving(),
        }
        Ok(Outcome::Done)
    }

    fn begin_turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.now = Timestamp(monotonic_ns());
        self.take_settings();
        Ok(())
    }

    fn handle_completions(&mut self) {
        self.turn_bytes = 0;
        while self.turn_bytes < limits::TURN_BYTES_MAX
            && !self.logic.turn_is_full()
            && let Some(completion) = self.ring.next()
        {
            self.handle(completion);
        }
    }

    /// After a reload: connections that are accepted from now on, and the logic, go by what was read.
    fn take_settings(&mut self) {
        if let Some(newer) = self.current.newer_than(self.in_effect.0) {
            self.logic.set_settings(self.now, Arc::clone(&newer.1.settings));
            self.in_effect = newer;
            self.take_policy();
        }
        self.health.turned(self.index);
        self.logic.set_memory_full(self.health.memory_full());
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        if timeout != Some(Duration::ZERO) && self.links.fall_asleep(self.index) {
            self.ring.wait(timeout)?;
            self.links.awake(self.index);
            return Ok(());
        }
        self.ring.wait(Some(Duration::ZERO))
    }

    /// How long the ring may wait.
    fn timeout(&self) -> Option<Duration> {
        if self.is_blocked() {
            return Some(FULL_QUEUE_RETRY);
        }
        let unfinished = !self.unflushed.is_empty() || self.turn.has_arrivals() || !self.ended.is_empty();
        if self.logic.has_dirty() || unfinished {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.logic.next_deadline(),
            self.greetings.next_deadline(),
            self.connections.next_deadline(),
            self.accept_again,
            self.drain_until,
            self.greet_until,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        let now = Timestamp(monotonic_ns());
        Some(Duration::from_nanos(next.since_ns(now)))
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { token, socket, more } => {
                if let Subject::Listener(index) = Subject::of(token) {
                    self.accepted(index, socket, more);
                }
            }
            Completion::Received { token, buffer, more } => self.received(token, buffer, more),
            Completion::ReceiveEnded { token, cause } => self.receive_ended(token, cause),
            Completion::Sent { token, bytes, result } => {
                if let Subject::Connection(id) = Subject::of(token) {
                    self.sent(id, bytes, result);
                }
            }
            Completion::Woken => self.woken(),
            Completion::NotWoken { token, error } => {
                tracing::debug!("Shard {} is woken by its descriptor: {error}", token.0);
                self.links.wake(token.0 as u16);
            }
            Completion::Connected { .. } => {}
        }
    }

    fn received(&mut self, token: Token, buffer: ReceiveBuffer, more: bool) {
        match Subject::of(token) {
            Subject::Greeting(place) => self.greeting_received(place, buffer),
            Subject::Connection(id) => self.connection_received(id, buffer, more),
            Subject::Listener(_) => self.ring.recycle(buffer),
        }
    }

    fn receive_ended(&mut self, token: Token, cause: ReceiveEnd) {
        match (Subject::of(token), cause) {
            (Subject::Listener(_), _) => {}
            (Subject::Greeting(place), ReceiveEnd::NoBuffers) => {
                if let Some(greeting) = self.greetings.get(place) {
                    self.ring.receive(&greeting.socket, token);
                }
            }
            (Subject::Greeting(place), _) => drop(self.greetings.remove(place)),
            (Subject::Connection(id), ReceiveEnd::NoBuffers | ReceiveEnd::Cancelled) => {
                self.receive_again(id)
            }
            // What it asked before is answered first.
            (Subject::Connection(id), ReceiveEnd::EndOfStream) => {
                self.ended.push((id, LostCause::EndOfStream));
            }
            (Subject::Connection(id), ReceiveEnd::Error(error)) => self.fail(id, &error),
        }
    }

    fn run_timers(&mut self) {
        let now = self.now;
        while let Some(greeting) = self.greetings.expired(now) {
            let what = if greeting.is_being_checked {
                "its password could not be checked"
            } else if greeting.challenged.is_some() {
                "no answer to AUTH"
            } else {
                "no CONNECT"
            };
            tracing::info!("Client {} closed: {what} within 5 seconds.", greeting.address);
            greeting.cut();
        }
        while let Some(id) = self.connections.expired(now) {
            self.close(id);
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_after_pause();
        }
        if self.shut_down.load(Ordering::Relaxed) && self.drain_until.is_none() {
            self.begin_shut_down();
        }
        if self.drain_until.is_some() {
            self.go_on_shutting_down();
        }
        self.logic.tick(now);
    }

    /// Stops accepting, says goodbye to everybody, and gives them [`limits::DRAIN_NS_MAX`] to hear it.
    fn begin_shut_down(&mut self) {
        self.drain_until = Some(self.now.plus_ns(limits::DRAIN_NS_MAX));
        for index in 0..self.listening.len() {
            self.ring.cancel_accept(Subject::Listener(index).token());
        }
        self.accept_again = None;
        self.greet_until = Some(self.now.plus_ns(limits::LATE_GREETING_NS_MAX));
        for place in self.greetings.being_checked() {
            self.turn_away(place);
        }
        self.logic.shut_down(self.now);
    }

    /// Connections may have been on their way to another shard. From now on each is answered where it was accepted, so once
    /// the last ones are with their homes nobody has to wait for more.
    fn go_on_shutting_down(&mut self) {
        if self.greet_until.is_some_and(|until| until <= self.now) {
            self.greet_until = None;
            self.greetings.drain().for_each(Greeting::cut);
        }
        if self.greetings.is_empty() {
            self.greet_until = None;
        }
        if !self.leaves && self.handoffs.is_empty() {
            self.leaves = true;
            self.links.leave(self.index);
        }
    }

    fn is_drained(&self) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        let is_quiet = |from| self.links.waiting(self.index, from) == 0;
        let nothing_comes = || self.links.all_leave() && self.others().all(is_quiet);
        let empty = || self.connections.is_empty() && !self.turn.has_arrivals() && self.greetings.is_empty();
        until <= self.now || (empty() && nothing_comes() && !self.is_blocked())
    }
}

/// How soon a full queue of another shard is tried again.
const FULL_QUEUE_RETRY: Duration = Duration::from_micros(100);
