//! Flow control as clients can see it: which messages may be dropped for a client that does not read, which connections
//! the broker may leave unread and for how long, and whose keep alive is suspended meanwhile.
//!
//! The model knows the bytes that wait for each socket, from what was written to it and what it took. It does not know
//! how the broker picks those that it pauses, so a pause is allowed where somebody is above a high-water mark; it must
//! end where nobody is above a low-water mark, and after a grace period.
//!
//! Invariant: whatever waits in the same call of the broker may have come first, so a bound counts as reached where it
//! can be.

use super::session::Entry;
use super::{Checked, Model, ModelConnection, NEVER};

/// Bytes of what waits: publishers are paused above the first until no more than the second is left; QoS 0 is dropped
/// above the third.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// High-water mark: above it publishers are paused.
    pub high: usize,
    /// Low-water mark: at or below it publishers go on.
    pub low: usize,
    /// Bound of what waits: QoS 0 above it is dropped.
    pub cap: usize,
}

/// What the model knows of a connection's bytes.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes that wait for the socket.
    waiting: usize,
    /// What the broker may have written since, at most.
    pending: usize,
    /// Since when it is not read from, and what had drained by then.
    paused: Option<(u64, u64)>,
    /// When it was read last although it is paused, for a newer connection's sake: what came of that may be one reason
    /// more.
    read_while_paused: u64,
    /// Since it was paused its own queue may have been above the high-water mark: then it is to acknowledge, and is
    /// read from for that.
    queue_was_above: bool,
    keep_alive_suspended: bool,
    /// When its keep alive was looked at, and whether it was paused then.
    looked_at: u64,
    paused_at_look: bool,
    /// Its keep alive was looked at in the tick that is now compared.
    is_looked_at: bool,
    /// It was resumed in the tick in which its keep alive was looked at, or what waits for it passed the high-water
    /// mark: nobody can know what came first, nor when it is looked at from then on.
    ambiguous: bool,
    /// When it is looked at next.
    watched_until: u64,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            waiting: 0,
            pending: 0,
            paused: None,
            read_while_paused: 0,
            queue_was_above: false,
            keep_alive_suspended: false,
            looked_at: NEVER,
            paused_at_look: false,
            is_looked_at: false,
            ambiguous: false,
            watched_until: NEVER,
        }
    }

    /// A packet that is not longer may be written.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.pending = self.pending.saturating_add(bytes);
    }

    /// Bytes of its client were handled at that time.
    pub(super) fn was_read(&mut self, now: u64) {
        if self.paused.is_some() {
            self.read_while_paused = now;
        }
    }

    /// More waits in its session's queue than the high-water mark.
    pub(super) fn queue_grew_above(&mut self) {
        self.queue_was_above = true;
    }

    fn suspend_keep_alive(&mut self, marks: &Marks) {
        self.keep_alive_suspended |= self.paused.is_some() && self.waiting <= marks.high;
    }
}

impl Model {
    /// So many bytes wait for the connection's socket: all that was written is known.
    pub fn set_waiting(&mut self, connection: usize, bytes: usize) {
        let shard = self.connections[connection].shard;
        self.look_for_backlog(shard);
        let high = self.bounds.client_output.high;
        let flow = &mut self.connections[connection].flow;
        if std::mem::take(&mut flow.is_looked_at) && flow.paused_at_look {
            flow.ambiguous |= (flow.waiting <= high) != (bytes <= high);
        }
        flow.waiting = bytes;
        flow.pending = 0;
        self.look_for_backlog(shard);
    }

    /// A shard that is above a high-water mark may ask the others to pause their publishers, and they get that later.
    fn look_for_backlog(&mut self, shard: usize) {
        if !self.was_above[shard] {
            let high = self.bounds.client_output.high;
            let mut connections = self
                .connections
                .iter()
                .filter(|connected| connected.shard == shard);
            self.was_above[shard] = connections
                .any(|connected| connected.flow.waiting.saturating_add(connected.flow.pending) > high)
                || self.is_above_high(shard);
        }
    }

    /// The socket took bytes, or took none; so many wait.
    pub fn flushed(&mut self, connection: usize, bytes: usize) {
        self.set_waiting(connection, bytes);
        self.drained += u64::from(bytes <= self.bounds.client_output.low);
        let marks = self.bounds.client_output;
        self.connections[connection].flow.suspend_keep_alive(&marks);
    }

    /// The connection's socket is closed. What was written to it since the last flush is in the sum until the next.
    pub fn gone(&mut self, connection: usize) {
        let shard = self.connections[connection].shard;
        self.look_for_backlog(shard);
        let connected = &mut self.connections[connection];
        connected.lost = true;
        self.ended_bytes[shard] += connected.flow.waiting + connected.flow.pending;
        self.drained += 1;
    }

    /// A shard begins to flush: what waits now decides what its clients get until the next time.
    pub fn begin_flush(&mut self, shard: usize) {
        self.look_for_backlog(shard);
        self.sums[shard] = self.sum(shard);
        self.ended_bytes[shard] = 0;
    }

    /// The broker does not read from the connection any more, or again.
    ///
    /// # Errors
    /// When it has no reason for that.
    pub fn set_paused(&mut self, connection: usize, paused: bool, now: u64) -> Checked {
        let marks = self.bounds.client_output;
        let client = self.connections[connection].client.clone();
        if paused && !self.may_pause(connection) {
            return Err(format!(
                "{client} is paused, and nobody is above a high-water mark"
            ));
        }
        let (shards, drained) = (self.shards, self.drained);
        // Who is to acknowledge does not wait for others' acknowledgements.
        let acknowledges = self.queue_is_above(connection, 2);
        let flow = &mut self.connections[connection].flow;
        match flow.paused {
            Some(_) if paused => return Err(format!("{client} is paused twice")),
            None if !paused => return Err(format!("{client} is resumed twice")),
            Some(since)
                if shards == 1 && since == (now, drained) && !acknowledges && !flow.queue_was_above =>
            {
                return Err(format!("{client} is resumed, and nothing has drained"));
            }
            _ => {}
        }
        flow.queue_was_above = acknowledges;
        flow.paused = paused.then_some((now, drained));
        flow.ambiguous |= flow.paused_at_look && flow.looked_at == now;
        flow.paused_at_look = false;
        flow.suspend_keep_alive(&marks);
        Ok(())
    }

    /// No connection of a shard is paused without a reason, or for longer than a grace period for others' sake. With
    /// other shards beside it a reason may be there.
    ///
    /// # Errors
    /// When one is.
    pub fn check_pauses(&self, shard: usize, now: u64) -> Checked {
        if self.shards > 1 {
            return Ok(());
        }
        let marks = self.bounds.client_output;
        let reason = self.is_above(shard, &marks, self.bounds.shard_output.low, 4);
        // What ends is read no more, with or without a reason.
        let is_read = |connected: &&ModelConnection| !connected.lost && !connected.closed;
        for connected in self.connections.iter().filter(is_read) {
            let Some((since, _)) = connected.flow.paused else {
                continue;
            };
            if connected.flow.waiting > marks.low {
                continue;
            }
            if !reason {
                return Err(format!("{} is paused, and nothing waits", connected.client));
            }
            let since = since.max(connected.flow.read_while_paused);
            if now.saturating_sub(since) > self.bounds.grace_ns {
                return Err(format!("{} is paused since {since}", connected.client));
            }
        }
        Ok(())
    }

    /// Whether a QoS 0 message for a connection may be dropped.
    pub(super) fn may_drop(&self, connection: usize, entry_bytes: usize, queued: usize) -> bool {
        let connected = &self.connections[connection];
        let poured = if queued > 0 {
            self.bounds.client_output.low
        } else {
            0
        };
        let waiting = connected.flow.waiting + connected.flow.pending + poured;
        waiting.saturating_add(entry_bytes) > self.bounds.client_output.cap
            || self.sum(connected.shard).max(self.sums[connected.shard]) > self.bounds.shard_output.high
    }

    /// Whether a connection may end because slow clients hold more than half of the shard's cap: those with the most
    /// do, so it has something.
    pub(super) fn may_be_disconnected(&self, shard: usize, connection: usize) -> bool {
        let connected = &self.connections[connection];
        let is_there = connected.shard == shard && !connected.closed && connected.session.is_some();
        is_there
            && self.was_above[shard]
            && connected.flow.waiting + connected.flow.pending > 0
            && self.sum(shard) > self.bounds.shard_output.cap / 2
    }

    /// Whether a session's queue may be above its bounds by what belongs to groups, which does not show.
    pub(super) fn is_tight(&self) -> bool {
        self.bounds.client_output.cap < PLENTY
    }

    /// The connections whose keep alive is over. That of those which were not read from begins again. Where nobody can
    /// know whether it does, the broker closes it or not.
    pub(super) fn silent(&mut self, shard: usize, now: u64, closes: impl Fn(usize) -> bool) -> Vec<usize> {
        let marks = self.bounds.client_output;
        let mut silent = Vec::new();
        for connection in 0..self.connections.len() {
            let connected = &mut self.connections[connection];
            let watched = connected.shard == shard && !connected.closed && connected.session.is_some();
            let flow = &mut connected.flow;
            if !watched {
                continue;
            }
            if flow.ambiguous {
                if self.keep_alive_deadline(connection) <= now && closes(connection) {
                    silent.push(connection);
                }
                continue;
            }
            if flow.watched_until > now {
                continue;
            }
            (flow.looked_at, flow.paused_at_look) = (now, flow.paused.is_some());
            flow.is_looked_at = true;
            if std::mem::take(&mut flow.keep_alive_suspended) {
                connected.last_received = now;
            }
            flow.suspend_keep_alive(&marks);
            let deadline = self.keep_alive_deadline(connection);
            if deadline <= now {
                silent.push(connection);
            } else {
                self.connections[connection].flow.watched_until = deadline;
            }
        }
        silent
    }

    /// The keep alive of a connection begins.
    pub(super) fn watch_keep_alive(&mut self, connection: usize) {
        self.connections[connection].flow.watched_until = self.keep_alive_deadline(connection);
    }

    fn may_pause(&self, connection: usize) -> bool {
        let here = self.connections[connection].shard;
        (0..self.shards).any(|shard| shard != here && self.was_above[shard]) || self.is_above_high(here)
    }

    /// Whether anything of a shard is above a high-water mark.
    fn is_above_high(&self, shard: usize) -> bool {
        let marks = Marks {
            low: self.bounds.client_output.high,
            ..self.bounds.client_output
        };
        self.is_above(shard, &marks, self.bounds.shard_output.high, 2)
    }

    /// Whether anything of a shard is above a low-water mark: a client's output, the sum, or a queue with more than one
    /// part in `parts` of its bound.
    fn is_above(&self, shard: usize, marks: &Marks, sum: usize, parts: usize) -> bool {
        let mut connections = self
            .connections
            .iter()
            .filter(|connected| connected.shard == shard);
        let queue = self.bounds.queued_messages_max / parts;
        let mut sessions = self.sessions.iter();
        connections.any(|connected| !connected.lost && connected.flow.waiting > marks.low)
            || self.sum(shard) > sum
            || sessions.any(|session| {
                session.connection.is_some() && (session.waiting.len() > queue || session.shares())
            })
    }

    /// Whether the queue of a connection's session may hold more than one part in `parts` of its bound.
    fn queue_is_above(&self, connection: usize, parts: usize) -> bool {
        let session = self.connections[connection]
            .session
            .map(|number| &self.sessions[number]);
        let queue = self.bounds.queued_messages_max / parts;
        session.is_some_and(|session| session.waiting.len() > queue || session.shares())
    }

    /// The bytes that wait for all sockets of a shard, at most: what was written in a turn may count twice in it.
    fn sum(&self, shard: usize) -> usize {
        let connections = self.connections.iter();
        let here = connections.filter(|connected| connected.shard == shard && !connected.lost);
        let waiting = here.map(|connected| connected.flow.waiting + connected.flow.pending);
        2 * (waiting.sum::<usize>() + self.ended_bytes[shard])
    }
}

/// Bytes that the PUBLISH of a delivery has at most, with an alias.
pub(super) fn entry_bytes_max(entry: &Entry) -> usize {
    super::deliver::packet_bytes(entry).saturating_add(8)
}

/// Bytes that an answer of the broker has at most.
pub(super) const REPLY_BYTES_MAX: usize = 200;

/// With a cap of so many bytes no run reaches it.
pub(super) const PLENTY: usize = 1 << 20;
