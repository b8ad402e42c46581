//! A thread of the generator: one ring, its share of the clients, and the loop that drives them.
//!
//! `connect.rs` makes the connections, `publish.rs` sends, `receive.rs` handles packets from the broker, `stall.rs`
//! has the slow subscribers, `connection_lost.rs` handles connections that break, `upkeep.rs` has the periodic work,
//! `state.rs` the state shared by all clients of the thread.
//!
//! Invariants: a client belongs to the same thread for the whole run. Each turn of the loop takes the completions of
//! the ring, publishes what is due, and flushes each connection once. Between turns the thread sleeps in the ring until
//! the next intended time. What breaks them: unbounded work in the loop, which shows as schedule lag.

mod connect;
mod connection_lost;
mod publish;
mod receive;
mod stall;
mod state;
mod upkeep;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use transport::clock::monotonic_ns;
use transport::ring::{Completion, ReceiveBuffer, ReceiveEnd, Ring, RingOptions, Token};

use crate::connection::opening::{Opening, Stage};
use crate::connection::{Broken, Connection, Scratch};
use crate::generator::identity::Who;
use crate::generator::measure::WorkerOutcome;
use crate::generator::publisher::Publisher;
use crate::generator::state::Run;
use crate::generator::subscriber::Subscriber;
use crate::measure::thread_use::ThreadMeter;
use crate::outcome::series::IntervalPart;
use crate::system::error::Failure;
use state::LoadState;

/// A report of a thread to the coordinator.
#[derive(Debug)]
pub enum Event {
    /// All of its clients are ready.
    Ready,
    /// The thread ended with an error.
    Failed(Failure),
    /// An interval of the load is over.
    Interval(Box<IntervalPart>),
}

/// Runs the clients of the thread `index` until the run is over.
pub fn work(run: &Run, index: usize, events: &Sender<Event>) -> WorkerOutcome {
    let ended = Worker::new(run, index, events).and_then(|mut worker| {
        worker.connect_all()?;
        // The coordinator outlives its threads.
        let _ = events.send(Event::Ready);
        worker.drive()?;
        Ok(worker.finish())
    });
    ended.unwrap_or_else(|failure| {
        let _ = events.send(Event::Failed(failure));
        WorkerOutcome::default()
    })
}

struct Worker<'a> {
    ring: Ring,
    run: &'a Run,
    index: usize,
    events: &'a Sender<Event>,
    clients: Vec<Client>,
    /// The clients, in the order of their slots.
    order: Vec<Who>,
    /// How many of them are subscribers, including slow ones: these come first.
    subscribers: usize,
    ready: usize,
    /// Publishers by the intended time of their next message, CLOCK_MONOTONIC ns.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    dirty: Vec<u32>,
    load: LoadState,
    scratch: Scratch,
    looked_at_ns: u64,
    ping_cursor: usize,
    /// Whether the slow subscribers currently do not read.
    stalled: bool,
    usage: ThreadMeter,
}

struct Client {
    connection: Connection,
    role: Role,
    opening: Opening,
    who: Who,
    /// The number of connections that the client had before, so that late completions of those are ignored.
    generation: u64,
    /// Whether it currently does not read.
    stalled: bool,
    /// When it reconnects, CLOCK_MONOTONIC ns; 0: never.
    again_at_ns: u64,
    /// When it began, CLOCK_MONOTONIC ns; 0 once it is ready.
    started_at_ns: u64,
    dirty: bool,
}

enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
}

impl<'a> Worker<'a> {
    fn new(run: &'a Run, index: usize, events: &'a Sender<Event>) -> Result<Worker<'a>, Failure> {
        if let Some(cpus) = &run.scenario.cpus {
            cpus.one(index)
                .confine_this_thread()
                .map_err(Failure::system("cannot pin a thread"))?;
        }
        // Wakes at the intended time instead of 50 µs later. If it is not allowed, the lag shows it.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let threads = run.scenario.threads;
        let mine = |count: u32| (0..count).filter(move |&client| run.thread_of(client) == index);
        let mut order: Vec<Who> = mine(run.scenario.subscribers).map(Who::Subscriber).collect();
        order.extend(mine(run.scenario.slow_subscribers).map(Who::Slow));
        let subscribers = order.len();
        order.extend(mine(run.scenario.publishers).map(Who::Publisher));
        let ring = ring_options(order.len()).ring_or_smaller()?;
        if let Some(mailbox) = run.mailboxes.get(index) {
            mailbox.open(ring.waker());
        }
        Ok(Worker {
            ring,
            run,
            index,
            events,
            clients: Vec::with_capacity(order.len()),
            order,
            subscribers,
            ready: 0,
            due: BinaryHeap::new(),
            dirty: Vec::new(),
            load: LoadState::new(run, threads),
            scratch: Scratch::default(),
            looked_at_ns: 0,
            ping_cursor: 0,
            stalled: false,
            usage: ThreadMeter::default(),
        })
    }

    /// The loop from "all are ready" to the end of the run.
    fn drive(&mut self) -> Result<(), Failure> {
        while !self.run.timeline.is_over() {
            self.turn(self.sleep())?;
            self.begin_load();
            self.load.flush_windows(self.run);
            self.post_room();
            self.resume_publishers();
            self.publish_due();
            self.flush_dirty();
            self.publish_gauges();
            self.check_periodically();
        }
        Ok(())
    }

    /// Waits for completions and handles them.
    fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.ring
            .wait(Some(timeout))
            .map_err(Failure::system("cannot wait for the ring"))?;
        while let Some(completion) = self.ring.next() {
            self.complete(completion);
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Received { token, buffer, more } => self.received(token, buffer, more),
            Completion::Sent { token, result, .. } => self.sent(token, result),
            Completion::Connected { token, result } => self.connected(token, result),
            Completion::ReceiveEnded { token, cause } => self.receive_ended(token, cause),
            Completion::Woken => self.read_mailbox(),
            Completion::Accepted { .. } | Completion::NotWoken { .. } => {}
        }
    }

    fn received(&mut self, token: Token, buffer: ReceiveBuffer, more: bool) {
        let now_ns = monotonic_ns();
        if let Some(arrived_ns) = buffer.arrived_ns() {
            self.load.count_read(arrived_ns, now_ns);
        }
        let Some(slot) = self.slot_of_token(token) else {
            return self.ring.recycle(buffer);
        };
        let mut result = Ok(());
        if let Some(client) = self
            .clients
            .get_mut(slot)
            .filter(|client| client.opening.stage != Stage::Closed)
        {
            let bytes = self.ring.bytes(&buffer);
            result = client.take(
                bytes,
                &mut self.scratch,
                &mut self.load,
                self.run,
                slot as u32,
                now_ns,
            );
        }
        self.ring.recycle(buffer);
        match (result, self.clients.get_mut(slot)) {
            (Err(broken), _) => self.connection_lost(slot, &broken),
            (Ok(()), Some(client)) => {
                if !more && !client.stalled {
                    client.connection.receive(&mut self.ring);
                }
                self.advance(slot, now_ns);
                self.mark_dirty(slot);
            }
            (Ok(()), None) => {}
        }
    }

    fn sent(&mut self, token: Token, result: std::io::Result<()>) {
        let Some(slot) = self.slot_of_token(token) else {
            return;
        };
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        if let Err(broken) = client.connection.sent(result) {
            return self.connection_lost(slot, &broken);
        }
        if matches!(client.role, Role::Publisher(_)) {
            self.load.resumed.push(slot as u32);
        }
        self.mark_dirty(slot);
    }

    fn receive_ended(&mut self, token: Token, cause: ReceiveEnd) {
        let Some(slot) = self.slot_of_token(token) else {
            return;
        };
        match cause {
            ReceiveEnd::NoBuffers => {
                if let Some(client) = self.clients.get_mut(slot).filter(|client| !client.stalled) {
                    client.connection.receive(&mut self.ring);
                }
            }
            ReceiveEnd::Cancelled => {}
            ReceiveEnd::EndOfStream => self.connection_lost(slot, &Broken::Closed),
            ReceiveEnd::Error(error) => self.connection_lost(slot, &Broken::Socket(error)),
        }
    }

    fn mark_dirty(&mut self, slot: usize) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        if !client.dirty && client.connection.has_output() {
            client.dirty = true;
            self.dirty.push(slot as u32);
        }
    }

    fn flush_dirty(&mut self) {
        let now_ns = monotonic_ns();
        while let Some(slot) = self.dirty.pop() {
            let slot = slot as usize;
            let Some(client) = self.clients.get_mut(slot) else {
                continue;
            };
            client.dirty = false;
            if let Err(broken) = client.connection.flush(&mut self.ring, &mut self.scratch, now_ns) {
                self.connection_lost(slot, &broken);
            }
        }
    }

    fn read_mailbox(&mut self) {
        let mut publishers = Vec::new();
        if let Some(mailbox) = self.run.mailboxes.get(self.index) {
            mailbox.take(&mut publishers);
        }
        let slots = publishers.into_iter().map(|publisher| self.slot_of(publisher));
        self.load.resumed.extend(slots.collect::<Vec<_>>());
    }

    /// The slot of a publisher of this thread.
    fn slot_of(&self, publisher: u32) -> u32 {
        self.subscribers as u32 + publisher / self.run.scenario.threads as u32
    }

    fn post_room(&mut self) {
        for (thread, publishers) in self.load.announced.iter_mut().enumerate() {
            if publishers.is_empty() {
                continue;
            }
            if thread == self.index {
                let threads = self.run.scenario.threads as u32;
                let subscribers = self.subscribers as u32;
                self.load.resumed.extend(
                    publishers
                        .drain(..)
                        .map(|publisher| subscribers + publisher / threads),
                );
            } else if let Some(mailbox) = self.run.mailboxes.get(thread) {
                mailbox.post(publishers);
            }
        }
    }

    fn publish_gauges(&self) {
        let Some(gauges) = self.run.gauges.get(self.index) else {
            return;
        };
        gauges.ready.store(self.ready as u64, Ordering::Relaxed);
        gauges.sent.store(self.load.sent, Ordering::Relaxed);
        gauges.expected.store(self.load.expected, Ordering::Relaxed);
        gauges.received.store(self.load.received, Ordering::Relaxed);
        gauges.in_flight.store(self.load.in_flight, Ordering::Relaxed);
        gauges.unfinished.store(self.load.unfinished, Ordering::Relaxed);
        gauges
            .slow_received
            .store(self.load.slow_received, Ordering::Relaxed);
        gauges.overtaken.store(self.load.overtaken, Ordering::Relaxed);
        gauges.broken.store(self.load.broken, Ordering::Relaxed);
    }

    /// How long the loop may sleep.
    fn sleep(&self) -> Duration {
        if !self.load.resumed.is_empty() {
            return Duration::ZERO;
        }
        let next_ns = self.due.peek().map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns);
        if !self.due.is_empty() && next_ns >= self.stop_ns() {
            return Duration::ZERO;
        }
        Duration::from_nanos(next_ns.saturating_sub(monotonic_ns())).min(LOOK_AROUND)
    }
}

/// Many small buffers for many connections, fewer large ones for a few.
fn ring_options(clients: usize) -> RingOptions {
    let (buffers, buffer_bytes) = if clients > 512 {
        (2048, 4 * 1024)
    } else {
        (512, 16 * 1024)
    };
    RingOptions {
        buffers,
        buffer_bytes,
        ..RingOptions::default()
    }
}

/// Longest sleep, and the interval of periodic work.
const LOOK_AROUND: Duration = Duration::from_millis(100);
