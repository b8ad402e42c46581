//! What the benches share: the broker's allocator, packets of clients, and a stand-in for the shell around the logic.
//!
//! Invariants: [`Shell`] calls the logic in the order of the broker's [`Turn`] and gives every buffer back, so that
//! after the warm-up nothing is measured that a running broker would not do. It has no socket: a figure is the
//! logic's and the turn's alone. Time stands still, so no timer fires.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot make its packets or its clients has nothing to measure"
)]

use std::sync::Arc;
use std::time::Duration;

use broker::logic::{Batch, ConnectionId, ResourceCounts, Shard, ShardCounters, Timestamp, shard_counters};
use broker::settings::Settings;
use broker::turn::{Outcome, Turn, TurnStep};
use criterion::Criterion;
use mqtt::packet::{PacketIdentifier, Publish, QoS, RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::{ProtocolVersion, encode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The protocol version of all clients here.
pub const VERSION: ProtocolVersion = ProtocolVersion::V3_1_1;

/// The payload of all messages here.
pub const PAYLOAD: [u8; 64] = [b'x'; 64];

/// Settings of criterion with which all benches together take a few minutes.
#[must_use]
pub fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(800))
}

/// Appends a PUBLISH of [`PAYLOAD`]; at QoS 1 it carries the identifier.
pub fn publish(topic: &str, identifier: Option<PacketIdentifier>, out: &mut Vec<u8>) {
    let qos = identifier.map_or(QoS::AtMostOnce, |_| QoS::AtLeastOnce);
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_identifier: identifier,
        properties: Properties::EMPTY,
        payload: &PAYLOAD,
    };
    publish.encode(VERSION, out).unwrap();
}

/// A SUBSCRIBE to these filters.
#[must_use]
pub fn subscribe(filters: &[&str], qos: QoS) -> Vec<u8> {
    let options = SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    let filters: Vec<_> = filters.iter().map(|&filter| (filter, options)).collect();
    let mut packet = Vec::new();
    encode::subscribe(
        PacketIdentifier::MIN,
        Properties::EMPTY,
        &filters,
        VERSION,
        &mut packet,
    )
    .unwrap();
    packet
}

/// An UNSUBSCRIBE from these filters.
#[must_use]
pub fn unsubscribe(filters: &[&str]) -> Vec<u8> {
    let mut packet = Vec::new();
    encode::unsubscribe(
        PacketIdentifier::MIN,
        Properties::EMPTY,
        filters,
        VERSION,
        &mut packet,
    )
    .unwrap();
    packet
}

/// One shard with its clients, none of which ever is behind.
#[derive(Debug)]
pub struct Shell {
    logic: Shard,
    turn: Turn<()>,
    dirty: Vec<ConnectionId>,
}

impl Shell {
    /// The only shard of a broker.
    #[must_use]
    pub fn alone() -> Self {
        Self::new(0, 1, &shard_counters(1))
    }

    /// Two shards of one broker, that know nothing of one another before batches are moved.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let counters = shard_counters(2);
        (Self::new(0, 2, &counters), Self::new(1, 2, &counters))
    }

    /// All shards of one broker.
    #[must_use]
    pub fn all(count: u16) -> Vec<Self> {
        let counters = shard_counters(count);
        let shard = |index| Self::new(index, count, &counters);
        (0..count).map(shard).collect()
    }

    fn new(index: u16, count: u16, counters: &Arc<[ShardCounters]>) -> Self {
        let settings = Settings {
            sys_interval_s: 0,
            ..Settings::default()
        };
        Self {
            logic: Shard::new(index, count, Arc::new(settings), Arc::clone(counters)),
            turn: Turn::new(index, count),
            dirty: Vec::new(),
        }
    }

    /// The next turn begins: whatever is measured from here on begins with bytes of clients.
    pub fn begin_turn(&mut self) {
        self.reach(TurnStep::Handle);
    }

    /// Goes on to a step, past those in which a bench has nothing to do.
    #[inline]
    fn reach(&mut self, wanted: TurnStep) {
        while self.turn.step() != wanted {
            self.turn.advance(Outcome::Done);
        }
    }

    /// A client that has its CONNACK.
    pub fn connect(&mut self, client_identifier: &str) -> ConnectionId {
        let mut packet = Vec::new();
        test_support::connect(VERSION, client_identifier)
            .encode(&mut packet)
            .unwrap();
        self.reach(TurnStep::Handle);
        let id = test_support::open(&mut self.logic, NOW, test_support::peer(), &packet);
        assert!(self.logic.clients().connected(id));
        self.empty_outs(|_, _| {});
        id
    }

    /// What one read of a client's socket brought.
    #[inline]
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.reach(TurnStep::Handle);
        self.logic.receive(NOW, id, bytes);
    }

    /// Empties all `out`s as the shell does when sockets take everything, after a look at them; returns the bytes.
    #[inline]
    pub fn empty_outs(&mut self, mut look: impl FnMut(ConnectionId, &[u8])) -> usize {
        self.reach(TurnStep::Flush);
        let mut dirty = std::mem::take(&mut self.dirty);
        self.logic.swap_dirty(&mut dirty);
        let mut bytes = 0;
        for id in dirty.drain(..) {
            let out = std::mem::take(self.logic.delivery().out(id));
            look(id, &out);
            bytes += out.len();
            self.logic.outputs().recycle(out);
            self.logic.flushed(NOW, id, 0);
        }
        self.dirty = dirty;
        bytes
    }

    /// What a turn does that is not for one client: it goes on looking for retained messages.
    pub fn tick(&mut self) {
        self.reach(TurnStep::RunTimers);
        self.logic.tick(NOW);
    }

    /// Whether retained messages are still being looked for.
    #[must_use]
    pub fn has_walks(&self) -> bool {
        self.logic.has_walks()
    }

    /// The client's connection breaks.
    pub fn lose(&mut self, id: ConnectionId) {
        self.reach(TurnStep::Close);
        self.logic.lost(NOW, id);
    }

    /// How many filters match a topic.
    #[inline]
    pub fn count_matching(&mut self, topic: &str) -> usize {
        self.logic.count_matching(topic)
    }

    /// What the shard holds.
    #[must_use]
    pub fn resource_counts(&self) -> ResourceCounts {
        self.logic.resource_counts()
    }

    /// The next batch for the other shard of a pair.
    #[inline]
    pub fn take_batch(&mut self, to: u16) -> Option<Batch> {
        self.reach(TurnStep::Push);
        self.logic.take_batch(to)
    }

    /// A batch of the other shard of a pair.
    #[inline]
    pub fn receive_batch(&mut self, from: u16, batch: &Batch) {
        let messages_max = u32::MAX;
        self.reach(TurnStep::Take { from, messages_max });
        self.logic.receive_batch(NOW, from, batch);
    }

    /// A batch of this shard comes back.
    #[inline]
    pub fn recycle_batch(&mut self, batch: Batch) {
        self.logic.outboxes_mut().recycle(batch);
    }
}

const NOW: Timestamp = Timestamp(1_000_000_000);
