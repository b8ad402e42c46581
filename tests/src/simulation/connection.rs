//! A connection: the bytes on their way in both directions, and where the broker's shell has it.
//!
//! Invariants: none.

use std::collections::VecDeque;

use broker::logic::ConnectionId;
use mqtt::ProtocolVersion;

use super::alias::Aliases;
use crate::model::Packet;

/// Where the shell has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Accepted; the CONNECT has not come whole.
    Pending,
    /// On its way to the shard that owns its session, or waiting for it.
    Transferred,
    /// With the logic of the shard that owns its session.
    Owned(ConnectionId),
    /// Closed by the shell.
    Gone,
}

/// A packet on its way to the broker.
#[derive(Debug)]
pub(super) struct Upward {
    /// Bytes of the stream at its end.
    pub(super) end: u64,
    pub(super) packet: Packet,
    /// The step at which it was written.
    pub(super) step: u64,
}

/// A socket with both of its ends.
#[derive(Debug)]
pub(super) struct SimulatedConnection {
    pub(super) client: usize,
    pub(super) version: ProtocolVersion,
    pub(super) owner: usize,
    pub(super) place: Place,
    /// Its number in the model, once the logic has it.
    pub(super) model: usize,
    /// Bytes to the broker that it has not read.
    pub(super) up: VecDeque<u8>,
    pub(super) packets: VecDeque<Upward>,
    pub(super) written: u64,
    pub(super) read: u64,
    /// The client has ended the stream, at that step.
    pub(super) ended: Option<u64>,
    /// Bytes and end that this turn's completions hold.
    pub(super) ready: usize,
    pub(super) end_is_ready: bool,
    /// Bytes that the client's socket holds, and how many it takes.
    pub(super) down: VecDeque<u8>,
    pub(super) down_max: usize,
    /// Bytes with the shell that precede all newer ones: the socket took no more, or others have their turn first.
    pub(super) wire: Vec<u8>,
    /// The shell's ring sends them as room comes.
    pub(super) is_sending: bool,
    /// Those of them that the logic was notified of.
    pub(super) unsent: usize,
    /// The logic does not want it to be read.
    pub(super) paused: bool,
    /// A newer connection waits until it was read to its end.
    pub(super) awaited: bool,
    /// All that the kernel had since then is among this turn's completions, or was.
    pub(super) rest_is_read: bool,
    pub(super) linger_until: Option<u64>,
    /// Bytes of the logic's `out` that were compared with the model.
    pub(super) observed: usize,
    /// What the broker's Topic Aliases stand for.
    pub(super) aliases: Aliases,
    /// The deliveries written to it that the client has not read, in order.
    pub(super) entries: VecDeque<usize>,
}

impl SimulatedConnection {
    pub(super) fn new(client: usize, version: ProtocolVersion, owner: usize) -> Self {
        Self {
            client,
            version,
            owner,
            place: Place::Pending,
            model: usize::MAX,
            up: VecDeque::new(),
            packets: VecDeque::new(),
            written: 0,
            read: 0,
            ended: None,
            ready: 0,
            end_is_ready: false,
            down: VecDeque::new(),
            down_max: usize::MAX,
            wire: Vec::new(),
            is_sending: false,
            unsent: 0,
            paused: false,
            awaited: false,
            rest_is_read: false,
            linger_until: None,
            observed: 0,
            aliases: Aliases::default(),
            entries: VecDeque::new(),
        }
    }

    /// The client writes a packet.
    pub(super) fn write(&mut self, bytes: &[u8], packet: Packet, step: u64) {
        self.up.extend(bytes);
        self.written += bytes.len() as u64;
        self.packets.push_back(Upward {
            end: self.written,
            packet,
            step,
        });
    }

    /// The connection breaks: only the first `kept` bytes on their way to the broker arrive.
    pub(super) fn cut(&mut self, kept: usize, step: u64) {
        self.up.truncate(kept);
        self.written = self.read + self.up.len() as u64;
        let written = self.written;
        self.packets.retain(|packet| packet.end <= written);
        self.ended = Some(step);
        self.down.clear();
        self.down_max = usize::MAX;
    }

    /// Bytes that the client's socket takes now.
    pub(super) fn room(&self) -> usize {
        self.down_max.saturating_sub(self.down.len())
    }

    /// Bytes that wait for the socket, as far as the logic knows.
    pub(super) fn waiting(&self) -> usize {
        self.unsent + self.observed
    }

    /// Whether the broker's shell has closed it.
    pub(super) fn is_gone(&self) -> bool {
        self.place == Place::Gone
    }
}
