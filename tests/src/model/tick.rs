//! What the passing of time does: keep alive, the end of sessions, Wills held back.
//!
//! Invariants: none.

use mqtt::ReasonCode;

use super::{Model, Moment, SECOND_NS};

impl Model {
    /// A shard did what is due; `closes` says which connections it closes, for those of which nobody can know.
    /// Returns how many of them were slow, while slow clients held too much.
    pub fn tick(&mut self, shard: usize, at: Moment, closes: impl Fn(usize) -> bool) -> usize {
        // A grace period may be over.
        self.drained += 1;
        let silent = self.silent(shard, at.now, &closes);
        let slow: Vec<usize> = (0..self.connections.len())
            .filter(|connection| !silent.contains(connection))
            .filter(|&connection| self.may_be_disconnected(shard, connection) && closes(connection))
            .collect();
        for &connection in silent.iter().chain(&slow) {
            if let Some(session) = self.connections[connection].session {
                self.sessions[session].unsettled = true;
            }
        }
        // Whether one of them gets the Will of another one depends on who comes first, which nothing shows.
        self.ending = Some(Vec::new());
        for connection in silent.iter().copied() {
            self.owe_disconnect(connection, Some(ReasonCode::KeepAliveTimeout));
            self.close(connection, true, at);
        }
        for connection in slow.iter().copied() {
            // What is not with its socket is given up, the DISCONNECT too.
            if let Some(session) = self.connections[connection].session {
                self.sessions[session].lost_output = true;
            }
            self.close(connection, true, at);
        }
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            if !session.alive || session.shard != shard || session.connection.is_some() || session.unsettled {
                continue;
            }
            let since = session.disconnected_at;
            let due = |delay_s: u32| since + u64::from(delay_s) * SECOND_NS <= at.now;
            if let Some(will) = session.will.take_if(|will| due(will.delay_s)) {
                self.publish(shard, &will.message, at);
            }
            if self.sessions[number].expires_at() <= at.now {
                self.end_session(number, at);
            }
        }
        for session in self.ending.take().unwrap_or_default() {
            self.end_session(session, at);
        }
        for &connection in silent.iter().chain(&slow) {
            if let Some(session) = self.connections[connection].session {
                self.sessions[session].unsettled = false;
            }
        }
        slow.len()
    }
}
