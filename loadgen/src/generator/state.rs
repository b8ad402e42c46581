//! The state that the threads of one run share.
//!
//! Invariant: a gauge has one writer, its thread, and is read only by the coordinator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use transport::ring::Waker;

use crate::generator::identity;
use crate::generator::interruptions::Interruptions;
use crate::generator::verify::Expected;
use crate::generator::window::DeliveryWindow;
use crate::measure::ledger::Ledger;
use crate::measure::timeline::{Progress, Timeline};
use crate::outcome::series;
use crate::scenario::payload::PayloadText;
use crate::scenario::topics::TopicPlan;
use crate::scenario::{Load, Scenario};
use crate::target::endpoint::Endpoint;

/// The figures of one thread while it runs; on separate cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    /// Connections that have their CONNACK and their subscriptions.
    pub ready: AtomicU64,
    /// Messages that were sent.
    pub sent: AtomicU64,
    /// Deliveries that the sent messages should cause.
    pub expected: AtomicU64,
    /// Deliveries received, without duplicates.
    pub received: AtomicU64,
    /// QoS 1 and 2 messages that are not acknowledged.
    pub in_flight: AtomicU64,
    /// Publishers with messages on their schedule.
    pub unfinished: AtomicU64,
    /// Deliveries to slow subscribers received.
    pub slow_received: AtomicU64,
    /// Deliveries that were overtaken by later ones of the same publisher; for one thread it may wrap below 0.
    pub overtaken: AtomicU64,
    /// Connections that were lost.
    pub broken: AtomicU64,
}

/// Publishers of another thread that have room again.
#[derive(Debug, Default)]
pub struct Mailbox {
    publishers: Mutex<Vec<u32>>,
    waker: OnceLock<Waker>,
}

impl Mailbox {
    /// Sets its owner's waker, once.
    pub fn open(&self, waker: Waker) {
        // A mailbox is opened once, by its thread.
        let _ = self.waker.set(waker);
    }

    /// Posts `publishers`, leaving it empty, and wakes the owner.
    pub fn post(&self, publishers: &mut Vec<u32>) {
        if let Ok(mut waiting) = self.publishers.lock() {
            waiting.append(publishers);
        }
        self.wake();
    }

    /// Moves everything that was posted into `into`.
    pub fn take(&self, into: &mut Vec<u32>) {
        if let Ok(mut waiting) = self.publishers.lock() {
            into.append(&mut waiting);
        }
    }

    /// Wakes the owner, whether something was posted or not.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// Everything that the threads of one run share.
#[derive(Debug)]
pub struct Run {
    /// The load that is measured.
    pub scenario: Scenario,
    /// Which publishers each subscriber receives from.
    pub plan: TopicPlan,
    /// Its number, in stamps, topics and client identifiers.
    pub number: u16,
    /// Origin of the stamps, CLOCK_MONOTONIC ns.
    pub epoch_ns: u64,
    /// The address of the broker.
    pub endpoint: Endpoint,
    /// Length of the intervals of the time series, ns.
    pub interval_ns: u64,
    /// When the phases begin and end.
    pub timeline: Timeline,
    /// The gauges of each thread.
    pub gauges: Vec<Gauges>,
    /// The mailbox of each thread.
    pub mailboxes: Vec<Mailbox>,
    /// One window for each publisher; empty in open loop.
    pub windows: Vec<DeliveryWindow>,
    /// Whether payloads are JSON.
    pub json: bool,
    /// The expected properties of each message; `None` if messages are not verified.
    pub verified: Option<Expected>,
    /// The breaks of connections.
    pub interruptions: Interruptions,
    /// The ledgers of the groups of a shared subscription.
    pub groups: Vec<Arc<Mutex<Ledger>>>,
}

impl Run {
    /// The state of a run that has not begun.
    pub fn new(scenario: Scenario, endpoint: Endpoint, number: u16, epoch_ns: u64) -> Run {
        let Scenario {
            publishers,
            subscribers,
            threads,
            load,
            ..
        } = scenario;
        let topics = identity::named_topics(&scenario, number);
        let plan = TopicPlan::new(topics, publishers, subscribers, number);
        let group = || Arc::new(Mutex::new(Ledger::new(plan.publishers_of(0))));
        let groups = (0..plan.groups()).map(|_| group()).collect();
        let windows = match load {
            Load::Scheduled { .. } | Load::Flood | Load::Idle => Vec::new(),
            Load::Saturating { window } => (0..publishers)
                .map(|publisher| DeliveryWindow::new(window, plan.subscribers_of(publisher)))
                .collect(),
        };
        Run {
            json: scenario.text.as_ref().is_some_and(PayloadText::is_json),
            verified: Expected::new(&scenario, &plan),
            interruptions: Interruptions::new(publishers, scenario.reconnect),
            interval_ns: series::interval_ns(&scenario),
            scenario,
            plan,
            number,
            epoch_ns,
            endpoint,
            timeline: Timeline::new(),
            gauges: (0..threads).map(|_| Gauges::default()).collect(),
            mailboxes: (0..threads).map(|_| Mailbox::default()).collect(),
            windows,
            groups,
        }
    }

    /// The progress of all threads together.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for gauges in &self.gauges {
            progress.ready += gauges.ready.load(Ordering::Relaxed);
            progress.sent += gauges.sent.load(Ordering::Relaxed);
            progress.expected += gauges.expected.load(Ordering::Relaxed);
            progress.received += gauges.received.load(Ordering::Relaxed);
            progress.in_flight += gauges.in_flight.load(Ordering::Relaxed);
            progress.unfinished += gauges.unfinished.load(Ordering::Relaxed);
            progress.slow_received += gauges.slow_received.load(Ordering::Relaxed);
            let overtaken = gauges.overtaken.load(Ordering::Relaxed);
            progress.overtaken = progress.overtaken.wrapping_add(overtaken);
            progress.broken += gauges.broken.load(Ordering::Relaxed);
        }
        progress
    }

    /// Wakes every thread, so that it reads the timeline.
    pub fn wake_all(&self) {
        self.mailboxes.iter().for_each(Mailbox::wake);
    }

    /// The thread that runs a client.
    pub fn thread_of(&self, client: u32) -> usize {
        client as usize % self.scenario.threads.max(1)
    }
}
