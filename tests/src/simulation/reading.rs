//! What clients make of what they read: they answer, resume their side of the session, and make others act.
//!
//! Invariants: none.

use mqtt::{Packet as Wire, ProtocolVersion, QoS};

use super::client::Pending;
use super::profile::chance;
use super::world::World;
use crate::model::{Checked, Packet};
use std::rc::Rc;

impl World {
    /// The client reads some of what there is.
    pub(super) fn read(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection else {
            return Ok(());
        };
        let is_stalled = self.profile.stalled_client == Some(client) && self.clients[client].connected;
        if is_stalled && chance(&mut self.rng, STALLED_PERCENT) {
            return Ok(());
        }
        let there = self.connections[number].down.len();
        let bytes = if self.rng.bool() {
            there
        } else {
            self.rng.usize(0..=there)
        };
        self.read_bytes(client, number, bytes)
    }

    /// The client reads all that there is, and sends all acknowledgements if the simulation is to quiesce.
    pub(super) fn read_all(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection else {
            return Ok(());
        };
        let there = self.connections[number].down.len();
        self.read_bytes(client, number, there)?;
        while self.quiescing && !self.clients[client].delayed.is_empty() {
            self.acknowledge(client)?;
        }
        Ok(())
    }

    fn read_bytes(&mut self, client: usize, number: usize, bytes: usize) -> Checked {
        let connection = &mut self.connections[number];
        self.moved |= bytes > 0;
        let reading = &mut self.clients[client];
        reading.received.extend(connection.down.drain(..bytes));
        let received = std::mem::take(&mut reading.received);
        let mut rest = received.as_slice();
        while let Some(frame) = mqtt::frame::split(rest, u32::MAX).map_err(|error| error.to_string())? {
            rest = &rest[frame.wire_bytes..];
            let version = self.connections[number].version;
            let packet = mqtt::decode::packet(&frame, version).map_err(|error| error.to_string())?;
            self.take(client, number, &packet)?;
            if self.clients[client].connection != Some(number) {
                return Ok(());
            }
        }
        self.clients[client].received = rest.to_vec();
        let connection = &self.connections[number];
        if connection.is_gone() && connection.down.is_empty() && self.clients[client].connection.is_some() {
            self.clients[client].connection = None;
            self.clients[client].connected = false;
        }
        Ok(())
    }

    fn take(&mut self, client: usize, number: usize, packet: &Wire<'_>) -> Checked {
        match packet {
            Wire::ConnAck(_) => self.take_connack(client, number),
            Wire::Publish(publish) => {
                let identifier = publish.packet_identifier.map_or(0, |identifier| identifier.get());
                self.take_publish(client, number, publish.qos, identifier)
            }
            Wire::PubRel(ack) => {
                let identifier = ack.packet_identifier.get();
                self.clients[client].inbound.retain(|&other| other != identifier);
                self.answer(client, Packet::PubComp(identifier))
            }
            Wire::PubAck(ack) => self.take_acknowledgement(client, ack.packet_identifier.get(), true),
            Wire::PubComp(ack) => self.take_acknowledgement(client, ack.packet_identifier.get(), true),
            Wire::PubRec(ack) => {
                let identifier = ack.packet_identifier.get();
                self.take_acknowledgement(client, identifier, false)?;
                self.send(client, Packet::PubRel(identifier), false)
            }
            Wire::SubAck(_) => {
                let filter = self.model.suback_read(self.connections[number].model, self.step);
                filter.map_or(Ok(()), |filter| self.react_to_subscription(client, filter))
            }
            _ => Ok(()),
        }
    }

    /// Resumes the client's side of the session, or forgets it.
    fn take_connack(&mut self, client: usize, number: usize) -> Checked {
        // Session Present alone does not show that it is the session of before: a CONNACK may have got lost in between.
        let session = self.model.session_number(self.connections[number].model);
        let connecting = &mut self.clients[client];
        let resumed = connecting.session == session;
        connecting.session = session;
        if !resumed && !connecting.clean_start && self.model.was_resumed(self.connections[number].model) {
            // A session that an older connection of this client made behind its back.
            connecting.forget();
            connecting.owes_clean_start = true;
            self.cut(client);
            return Ok(());
        }
        connecting.connected = true;
        connecting.owes_clean_start = false;
        if connecting.clean_start {
            return Ok(());
        }
        if !resumed {
            connecting.forget();
            return Ok(());
        }
        if self.connections[number].version != ProtocolVersion::V5 {
            connecting.pending.iter_mut().for_each(Pending::strip);
        }
        for pending in connecting.pending.clone() {
            let packet_identifier = pending.packet_identifier;
            let packet = if pending.released {
                Packet::PubRel(packet_identifier)
            } else {
                let message = pending.message;
                Packet::Publish {
                    message,
                    packet_identifier,
                }
            };
            self.send(client, packet, true)?;
        }
        Ok(())
    }

    fn take_publish(&mut self, client: usize, number: usize, qos: QoS, identifier: u16) -> Checked {
        let entry = self.connections[number]
            .entries
            .pop_front()
            .ok_or("a PUBLISH that nobody saw")?;
        let taking = &mut self.clients[client];
        let is_new = qos != QoS::ExactlyOnce || !taking.inbound.contains(&identifier);
        if is_new {
            self.ran.received += 1;
            let entry = self.model.take(entry)?;
            if entry.is_retained() {
                let message = &entry.message;
                taking
                    .retained
                    .push((message.topic.clone(), message.payload.clone()));
            }
        }
        match qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.answer(client, Packet::PubAck(identifier)),
            QoS::ExactlyOnce => {
                if is_new {
                    taking.inbound.push(identifier);
                }
                self.answer(client, Packet::PubRec(identifier))
            }
        }
    }

    fn answer(&mut self, client: usize, packet: Packet) -> Checked {
        if !self.quiescing && chance(&mut self.rng, self.profile.late_acknowledgements) {
            self.clients[client].delayed.push(packet);
            return Ok(());
        }
        self.send(client, packet, false)
    }

    /// PUBACK, PUBREC or PUBCOMP came for what this client published.
    fn take_acknowledgement(&mut self, client: usize, identifier: u16, done: bool) -> Checked {
        let pending = &mut self.clients[client].pending;
        let Some(at) = pending.iter().position(|p| p.packet_identifier == identifier) else {
            return Ok(());
        };
        let message = Rc::clone(&pending[at].message);
        if done {
            pending.remove(at);
        } else {
            pending[at].released = true;
        }
        self.model.puback_read(&message, self.step);
        if message.retain {
            return self.react_to_retained(client, &message.topic);
        }
        Ok(())
    }
}

/// Percent of its chances to read that a stalled client lets pass.
const STALLED_PERCENT: u32 = 95;
