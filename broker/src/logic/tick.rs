//! What the passing of time does: keep alive, the end of sessions, delayed Wills, the expiry of retained messages, `$SYS`.

use mqtt::ReasonCode;

use super::Shard;
use super::connection::{NONE, Stage};
use super::retained::Stamp;
use super::time::Timestamp;
use super::timer::Timer;

impl Shard {
    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Timestamp) {
        while let Some(due) = self.timers.take_due(now) {
            for timer in due {
                match timer {
                    Timer::KeepAlive { slot, generation } => self.check_keep_alive(now, slot, generation),
                    Timer::SessionExpiry { session, generation } => {
                        self.check_expiry(now, session, generation)
                    }
                    Timer::WillDelay { session, generation } => self.check_will(now, session, generation),
                    Timer::Retained { node, stamp } => self.check_retained(now, node, stamp),
                    Timer::Sys => self.publish_sys(now),
                }
            }
        }
    }

    /// Sets the timer of a connection's keep alive, for its present deadline.
    pub(super) fn watch_keep_alive(&mut self, slot: u32) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        let (deadline, generation) = (connection.keep_alive_deadline(), connection.generation);
        if deadline != Timestamp::NEVER {
            self.timers.set(deadline, Timer::KeepAlive { slot, generation });
        }
    }

    /// Nothing for one and a half times the keep alive: as if the network had failed [MQTT-3.1.2-24].
    fn check_keep_alive(&mut self, now: Timestamp, slot: u32, generation: u32) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        if connection.generation != generation || connection.stage != Stage::Connected {
            return;
        }
        // While the broker itself does not read, the client is not to blame.
        if connection.receive_paused {
            connection.last_received = now;
        }
        if connection.keep_alive_deadline() > now {
            self.watch_keep_alive(slot);
        } else {
            self.disconnect(now, slot, ReasonCode::KeepAliveTimeout, "keep alive exceeded");
        }
    }

    fn check_expiry(&mut self, now: Timestamp, slot: u32, generation: u32) {
        let linked = self.clients.sessions.link(slot) != NONE;
        let Some(session) = self.clients.sessions.get(slot) else {
            return;
        };
        if linked || session.generation != generation || session.expires_at() > now {
            return;
        }
        self.clients.counters().sessions_expired.add(1);
        self.end_session(now, slot);
    }

    fn check_will(&mut self, now: Timestamp, slot: u32, generation: u32) {
        let linked = self.clients.sessions.link(slot) != NONE;
        let Some(session) = self.clients.sessions.get_mut(slot) else {
            return;
        };
        let disconnected_at = session.disconnected_at;
        let due = |delay_s: u32| disconnected_at.plus_s(u64::from(delay_s)) <= now;
        if linked
            || session.generation != generation
            || !session.will.as_ref().is_some_and(|will| due(will.delay_s))
        {
            return;
        }
        if let Some(will) = session.will.take() {
            self.publish_will(now, &will);
        }
    }

    fn check_retained(&mut self, now: Timestamp, node: u32, stamp: Stamp) {
        if self.retained.stamp(node) == Some(stamp) {
            self.retained.sweep(now, node, true);
            self.count_retained();
        }
    }
}
