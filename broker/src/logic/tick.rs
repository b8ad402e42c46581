//! Handles the timers that are due: Keep Alive, the end of sessions, delayed Wills, the expiry of retained messages,
//! `$SYS`.
//!
//! Invariant: the timer of something that is gone or was changed has been cancelled, so what a timer refers to exists.

use mqtt::ReasonCode;

use crate::logic::Shard;
use crate::logic::connection::{ConnectionSlot, Stage};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::SessionSlot;
use crate::logic::timer::Timer;
use crate::logic::topic_tree::NodeSlot;
use crate::time::Timestamp;

impl Shard {
    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Timestamp) {
        self.begin(now);
        self.count_inconsistencies();
        self.delivery.release_deferred();
        self.begin_flow();
        let walk = self.delivery.settings().work.walk;
        self.work.extend_turn(walk);
        self.continue_retained_walks(now);
        while !self.work.is_spent()
            && let Some(timer) = self.timers.take_due(now)
        {
            self.work.spend(TIMER_WORK);
            match timer {
                Timer::KeepAlive { slot } => self.check_keep_alive(slot),
                Timer::SessionExpiry { session } => self.expire_session(session),
                Timer::WillDelay { session } => self.publish_delayed_will(session),
                Timer::Retained { node } => self.expire_retained(node),
                Timer::Flow { slot } => self.flow_timer_due(slot),
                Timer::Unclaimed => self.place_unclaimed(),
                Timer::Output => self.output_timer_due(),
                Timer::Store => self.store_timer_due(),
                Timer::Unstored => self.unstored_timer_due(),
                Timer::Sys => self.publish_sys(),
            }
        }
        self.take_read_back();
        self.continue_endings();
        self.begin_flow();
    }

    /// Sets the timer of a connection's keep alive, for its present deadline.
    pub(super) fn watch_keep_alive(&mut self, slot: ConnectionSlot) {
        let Some(connection) = self.delivery.connection(slot) else {
            return unreachable_state("a keep alive of no connection");
        };
        connection.watched_until = connection.keep_alive_deadline();
        self.timers
            .set(connection.watched_until, Timer::KeepAlive { slot });
    }

    /// Nothing for one and a half times the keep alive: as if the network had failed [MQTT-3.1.2-22].
    fn check_keep_alive(&mut self, slot: ConnectionSlot) {
        let high = self.delivery.settings().client_output.high;
        let Some(connection) = self.delivery.connection(slot) else {
            return unreachable_state("a keep alive of no connection");
        };
        if connection.stage != Stage::Connected {
            return;
        }
        if connection.take_suspended(high) {
            connection.last_received = self.now;
        }
        if connection.keep_alive_deadline() > self.now {
            self.watch_keep_alive(slot);
        } else {
            self.disconnect(slot, ReasonCode::KeepAliveTimeout, "keep alive exceeded");
        }
    }

    fn expire_session(&mut self, session: SessionSlot) {
        self.delivery.counters().sessions_expired.add(1);
        self.end_session(session);
    }

    fn publish_delayed_will(&mut self, session: SessionSlot) {
        let will = self
            .delivery
            .session_mut(session)
            .and_then(|session| session.take_will());
        if let Some(will) = will {
            self.publish_will(&will);
            self.delivery.note_session(session);
        }
    }

    fn expire_retained(&mut self, node: NodeSlot) {
        self.retained.expire(self.now, node, self.delivery.counters());
    }
}

/// Units of work that a timer costs that comes up.
const TIMER_WORK: u64 = 8;
