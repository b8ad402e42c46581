//! The end of a run: everything comes to rest, everybody gets what is owed, and nothing is left when all have gone.
//!
//! Invariants: none.

use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::property::PropertiesBuf;
use mqtt::{ProtocolVersion, QoS};
use std::rc::Rc;

use broker::limits;
use broker::logic::{ResourceCounts, owner_shard};

use super::client::Client;
use super::turn::index_of;
use super::world::World;
use crate::model::{Checked, ConnectRequest, Message, Packet};

impl World {
    pub(super) fn finish(&mut self) -> Checked {
        self.quiescing = true;
        for connection in &mut self.connections {
            connection.down_max = usize::MAX;
        }
        self.note(|| "everybody reads and acknowledges".to_owned());
        self.quiesce()?;
        self.come_back()?;
        // What found no member waits for the next step of the timers.
        self.now = self.now.plus_ns(2 * limits::TIMER_STEP_NS);
        self.come_back()?;
        self.model.check_received(self.now.0)?;
        let probes = self.clients.len();
        self.compare_retained()?;
        self.end_sessions(probes)?;
        self.delete_retained(probes)?;
        self.check_nothing_left()
    }

    /// Clients with a session come back to it and finish what they began.
    fn come_back(&mut self) -> Checked {
        // More than once, as one may find that the session is not its own.
        for _ in 0..3 {
            for client in 0..self.clients.len() {
                let coming = &self.clients[client];
                if coming.connection.is_none() && self.model.session_of(&coming.name).is_some() {
                    let request = self.plain_connect(client, coming.owes_clean_start);
                    self.connect(client, request)?;
                }
            }
            self.quiesce()?;
        }
        self.check_one_connection()?;
        match self
            .clients
            .iter()
            .find(|client| client.connected && !client.pending.is_empty())
        {
            Some(client) => Err(format!(
                "{} waits for acknowledgements: {:?}",
                client.name, client.pending
            )),
            None => Ok(()),
        }
    }

    fn plain_connect(&self, client: usize, clean_start: bool) -> ConnectRequest {
        ConnectRequest {
            version: ProtocolVersion::V5,
            client: self.clients[client].name.clone(),
            clean_start,
            keep_alive_s: 0,
            session_expiry_s: if clean_start { 0 } else { u32::MAX },
            receive_max: None,
            packet_bytes_max: None,
            topic_alias_max: None,
            will: None,
        }
    }

    /// A new client at each shard subscribes to everything: all get the same retained messages.
    fn compare_retained(&mut self) -> Checked {
        let shards = index_of(self.shards.len());
        let probes = self.clients.len()..self.clients.len() + self.shards.len();
        for shard in 0..shards {
            let name = (0..).map(|n| format!("probe-{n}"));
            let name = name.into_iter().find(|name| owner_shard(name, shards) == shard);
            self.clients.push(Client::new(&name.unwrap_or_default()));
        }
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        for probe in probes.clone() {
            let request = self.plain_connect(probe, true);
            self.connect(probe, request)?;
            let packet = Packet::Subscribe {
                packet_identifier: 1,
                identifier: None,
                filters: vec![("#", options), ("$x/#", options)],
            };
            self.send(probe, packet, false)?;
        }
        self.quiesce()?;
        let mut found = Vec::new();
        for probe in &mut self.clients[probes] {
            probe.retained.sort_unstable();
            found.push(&probe.retained);
        }
        if found.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("the shards hold different retained messages: {found:?}"));
        }
        Ok(())
    }

    /// All clients but the probes end their sessions.
    fn end_sessions(&mut self, clients: usize) -> Checked {
        for client in 0..clients {
            let request = self.plain_connect(client, true);
            self.connect(client, request)?;
            self.quiesce()?;
            self.leave_for_good(client)?;
        }
        self.quiesce()
    }

    /// A probe deletes all retained messages; then the probes leave too.
    fn delete_retained(&mut self, probe: usize) -> Checked {
        for topic in self.model.retained_topics() {
            let message = Rc::new(Message {
                topic,
                payload: String::new(),
                qos: QoS::AtMostOnce,
                retain: true,
                properties: PropertiesBuf::new(),
                expiry_s: None,
                publisher: self.clients[probe].name.clone(),
                is_will: false,
            });
            let packet = Packet::Publish {
                message,
                packet_identifier: 0,
            };
            self.send(probe, packet, false)?;
        }
        self.quiesce()?;
        for probe in probe..self.clients.len() {
            self.leave_for_good(probe)?;
        }
        self.quiesce()
    }

    fn leave_for_good(&mut self, client: usize) -> Checked {
        let packet = Packet::Disconnect {
            with_will: false,
            session_expiry_s: None,
        };
        self.leave(client, packet)
    }

    /// A year later nothing is left in any shard.
    fn check_nothing_left(&mut self) -> Checked {
        for _ in 0..2 {
            self.now = self.now.plus_s(365 * 86_400);
            self.quiesce()?;
        }
        for (shard, simulated) in self.shards.iter().enumerate() {
            let left = simulated.logic.resource_counts();
            if left != ResourceCounts::default() {
                return Err(format!("in shard {shard} is left: {left:?}"));
            }
        }
        let sum =
            |read: fn(&broker::logic::ShardCounters) -> u64| self.counters.iter().map(read).sum::<u64>();
        let counts = [
            ("sessions", sum(|c| c.sessions.get())),
            ("clients_connected", sum(|c| c.clients_connected.get())),
            ("subscriptions", sum(|c| c.subscriptions.get())),
            ("shared_subscriptions", sum(|c| c.shared_subscriptions.get())),
            ("retained", sum(|c| c.retained.get())),
            ("queued_messages", sum(|c| c.queued_messages.get())),
            ("queued_bytes", sum(|c| c.queued_bytes.get())),
        ];
        match counts.iter().find(|(_, count)| *count != 0) {
            Some((name, count)) => Err(format!("{name} counts {count} when all have gone")),
            None => self.check_disk_is_empty(),
        }
    }

    /// Of what was stored nothing is needed any more but the records that a topic has no retained message.
    fn check_disk_is_empty(&mut self) -> Checked {
        let topics = self.model.retained_topics().len() as u64;
        let Some(log) = self.store.as_mut().and_then(|store| store.log.as_mut()) else {
            return Ok(());
        };
        let live = log.statistics().bytes_live;
        if live > LIVE_BYTES_AT_END + topics * CLEARED_BYTES {
            return Err(format!("{live} bytes of the store are live when all have gone"));
        }
        Ok(())
    }
}

/// Bytes of the record of the last start, and some more.
const LIVE_BYTES_AT_END: u64 = 100;
/// Bytes of the record that a topic has no retained message.
const CLEARED_BYTES: u64 = 60;
