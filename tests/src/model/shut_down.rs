//! The broker ends in order: the Wills that are due are published, all are disconnected, and nothing is lost.
//!
//! Invariants: after that a store has all, acknowledged or not, and the next start takes it back as it was.

use mqtt::ReasonCode;

use super::{Model, Moment};

impl Model {
    /// A shard publishes the Wills that are due and disconnects all.
    pub fn shut_down(&mut self, shard: usize, at: Moment) {
        let is_here = |&connection: &usize| {
            let connected = &self.connections[connection];
            connected.shard == shard && !connected.closed && connected.session.is_some()
        };
        let here: Vec<usize> = (0..self.connections.len()).filter(is_here).collect();
        // Which Will comes first does not show.
        self.ending = Some(Vec::new());
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            if !session.alive || session.shard != shard {
                continue;
            }
            // One with a delay waits in the store, if that keeps the session.
            let is_kept = session.expiry_s > 0;
            if let Some(will) = session.will.take_if(|will| will.delay_s == 0 || !is_kept) {
                self.publish(shard, &will.message, at);
            }
        }
        for connection in here {
            self.owe_disconnect(connection, Some(ReasonCode::ServerShuttingDown));
            self.close(connection, true, at);
        }
        for session in self.ending.take().unwrap_or_default() {
            self.end_session(session, at);
        }
    }

    /// All shards have ended, and the store has all that they handled.
    pub fn stopped(&mut self) {
        self.is_stopped = true;
        for published in &mut self.publishes {
            published.acknowledged = true;
        }
        for session in &mut self.sessions {
            let lasting = &mut session.lasting;
            lasting.is_certain = session.alive;
            lasting.is_gone = !session.alive;
            lasting.knows_will = session.alive;
            for change in &mut lasting.subscriptions {
                change.acknowledged = true;
            }
            for change in &mut lasting.received {
                change.acknowledged = true;
            }
            for &entry in session.obligations.iter().filter(|_| session.alive) {
                let entry = &mut self.entries[entry];
                entry.promised |= entry.owed;
            }
        }
    }
}
