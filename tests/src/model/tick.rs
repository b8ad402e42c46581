//! What the passing of time does: keep alive, the end of sessions, Wills held back.

use mqtt::ReasonCode;

use super::{Model, Moment, SECOND_NS};

impl Model {
    /// A shard does what is due.
    pub fn tick(&mut self, shard: usize, at: Moment) {
        let silent: Vec<usize> = (0..self.connections.len())
            .filter(|&connection| {
                let connected = &self.connections[connection];
                connected.shard == shard && !connected.closed && connected.session.is_some()
            })
            .filter(|&connection| self.keep_alive_deadline(connection) <= at.now)
            .collect();
        for &connection in &silent {
            if let Some(session) = self.connections[connection].session {
                self.sessions[session].unsettled = true;
            }
        }
        // Whether one of them gets the Will of another one depends on who comes first, which nothing tells.
        self.ending = Some(Vec::new());
        for connection in silent.iter().copied() {
            self.say_goodbye(connection, Some(ReasonCode::KeepAliveTimeout));
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
        for connection in silent {
            if let Some(session) = self.connections[connection].session {
                self.sessions[session].unsettled = false;
            }
        }
    }
}
