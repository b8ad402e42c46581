//! Everything between a message and one client's output or queue.
//!
//! A message goes to the local sessions of its route (fan_out.rs), one after the other (deliver.rs): it is encoded
//! once for all that get the same packet (encodings.rs) and appended to an output (outputs.rs), or waits in the
//! session's queue (waiting.rs) until acknowledgements (flight.rs) and the socket allow it to be sent. publications.rs
//! and journal.rs write records for the store; packets that promise durability wait in deferred.rs. The later part of
//! a long queue is only in the store until read_back.rs takes it. expiry.rs deletes what expires while its client is
//! disconnected. sessions.rs begins and ends sessions, and send.rs sends packets other than PUBLISH. drops.rs counts
//! what a client does not get, withheld.rs what access rules withhold from it; undelivered.rs records both, and
//! trace_lines.rs has both for the traces of clients.
//!
//! Invariants: only [`Delivery`] changes what it owns, so that its accounts (the shell's list, flow control, counters,
//! store) are right after each call.

mod deferred;
pub(super) mod deliver;
mod drops;
mod encodings;
mod expiry;
pub(super) mod fan_out;
pub(super) mod flight;
pub(super) mod journal;
mod outputs;
mod publications;
mod read_back;
mod send;
mod sessions;
mod trace_lines;
mod undelivered;
pub(super) mod waiting;
mod withheld;

use std::sync::Arc;

use mqtt::QoS;
use mqtt::property::PropertiesBuf;
use mqtt::publish_template::PublishTemplate;

use self::deferred::Deferred;
use self::encodings::Encodings;
use self::expiry::ExpiryTimes;
use self::journal::Journal;
pub use self::outputs::Outputs;
pub(crate) use self::trace_lines::ShownIn;
pub use self::trace_lines::TraceLines;
use self::undelivered::Undelivered;
use crate::auth::Policy;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::counters::ShardCounters;
use crate::logic::flow::FlowControl;
use crate::logic::message::{Message, StoredMessage};
use crate::settings::Settings;
use crate::time::Timestamp;

/// The messages that a shard sends to its clients, with all state for that.
#[derive(Debug)]
pub struct Delivery {
    /// The time of the current call.
    now: Timestamp,
    pub(in crate::logic) clients: Clients,
    pub(in crate::logic) outputs: Outputs,
    encodings: Encodings,
    /// A run in the encoding that its publisher does not use.
    translated: Vec<u8>,
    pub(in crate::logic) flow: FlowControl,
    settings: Arc<Settings>,
    /// The password and ACL rules in effect.
    policy: Arc<Policy>,
    pub(in crate::logic) journal: Journal,
    deferred: Deferred,
    counters: Arc<[ShardCounters]>,
    index: usize,
    /// `upgrade_outgoing_qos` of the settings, read for each copy.
    upgrade: bool,
    /// `memory_limit` is reached: nothing is queued.
    memory_full: bool,
    trace_lines: TraceLines,
    undelivered: Undelivered,
    expiry_times: ExpiryTimes,
    /// `max_inflight_bytes` of the settings, read for each copy.
    inflight_bytes_max: u64,
    template: PublishTemplate,
    properties: PropertiesBuf,
}

impl Delivery {
    pub(in crate::logic) fn new(index: u16, settings: Arc<Settings>, counters: Arc<[ShardCounters]>) -> Self {
        Self {
            now: Timestamp(0),
            clients: Clients::new(settings.hash_seed),
            upgrade: settings.upgrade_outgoing_qos,
            memory_full: false,
            trace_lines: TraceLines::default(),
            undelivered: Undelivered::default(),
            expiry_times: ExpiryTimes::default(),
            inflight_bytes_max: settings.inflight_bytes_max,
            outputs: Outputs::default(),
            encodings: Encodings::default(),
            translated: Vec::new(),
            flow: FlowControl::new(&settings),
            settings,
            policy: Arc::default(),
            journal: Journal::new(index),
            deferred: Deferred::default(),
            counters,
            index: usize::from(index),
            template: PublishTemplate::new(),
            properties: PropertiesBuf::new(),
        }
    }

    /// Frees the memory in which messages were encoded: the last one may be large, and a single block prevents the
    /// allocator from releasing the memory of its size class.
    pub(in crate::logic) fn drop_spare(&mut self) {
        self.outputs.drop_spare();
        self.encodings = Encodings::default();
        self.translated = Vec::new();
        self.template = PublishTemplate::new();
        self.properties = PropertiesBuf::new();
        self.journal.drop_spare();
    }

    /// The time of the current call.
    #[inline]
    pub(in crate::logic) fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets the time of the current call.
    #[inline]
    pub(in crate::logic) fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.flow.set_time(now);
    }

    /// The counters of this shard, which only this shard writes.
    #[inline]
    pub(in crate::logic) fn counters(&self) -> &ShardCounters {
        static NOWHERE: std::sync::LazyLock<ShardCounters> = std::sync::LazyLock::new(ShardCounters::default);
        self.counters.get(self.index).unwrap_or(&NOWHERE)
    }

    /// The counters of all shards, for `$SYS`.
    pub(in crate::logic) fn all_counters(&self) -> &Arc<[ShardCounters]> {
        &self.counters
    }

    /// A connection, with the settings of its client's listener.
    pub(in crate::logic) fn policy_and_connection(
        &mut self,
        slot: ConnectionSlot,
    ) -> (&Policy, Option<&mut Connection>) {
        (&self.policy, self.clients.connection(slot))
    }

    /// Replaces the settings of the broker.
    pub(in crate::logic) fn set_settings(&mut self, settings: Arc<Settings>) {
        self.upgrade = settings.upgrade_outgoing_qos;
        self.inflight_bytes_max = settings.inflight_bytes_max;
        self.flow.set_settings(&settings, self.memory_full);
        self.settings = settings;
    }

    /// The lines that traces show beside packets.
    pub fn trace_lines(&mut self) -> &mut TraceLines {
        &mut self.trace_lines
    }

    /// The password and ACL rules in effect.
    pub(in crate::logic) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Replaces the policy; returns the previous one.
    pub(in crate::logic) fn set_policy(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        std::mem::replace(&mut self.policy, policy)
    }

    /// Whether the process uses as much memory as `memory_limit` allows.
    pub(in crate::logic) fn is_memory_full(&self) -> bool {
        self.memory_full
    }

    pub(in crate::logic) fn set_memory_full(&mut self, full: bool) {
        if self.memory_full != full {
            self.memory_full = full;
            self.flow.set_settings(&self.settings, full);
        }
        if full {
            self.outputs.drop_spare();
        }
    }

    /// Whether a message of that QoS is queued for a client that is not connected.
    pub(in crate::logic) fn is_queued_offline(&self, qos: QoS) -> bool {
        qos != QoS::AtMostOnce || self.upgrade || self.settings.queue_qos0_messages
    }

    pub(in crate::logic) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Discards the encodings of the previous message: the next one begins.
    pub(in crate::logic) fn begin_message(&mut self) {
        self.encodings.begin();
        self.journal.begin(None);
    }

    /// Begins with a message that is stored already.
    pub(in crate::logic) fn begin_stored(&mut self, stored: &StoredMessage) {
        self.begin_message();
        self.encodings.set_stored(stored.clone());
    }

    /// The current message for queues, shared by all that keep it.
    pub(in crate::logic) fn stored_copy(&mut self, message: &Message<'_>) -> StoredMessage {
        self.encodings.stored(self.now, message)
    }
}
