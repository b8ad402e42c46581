//! Handles the timers that are due: Keep Alive, the end of sessions, delayed Wills, the expiry of messages, `$SYS`.
//!
//! Invariant: the timer of an object that is gone or was changed has been cancelled, so the object of a timer exists.

use mqtt::ReasonCode;

use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;
use crate::logic::inconsistency::{count_found, unreachable_state};
use crate::logic::session::SessionSlot;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

impl Shard {
    /// Handles all timers that are due at `now`.
    pub fn tick(&mut self, now: Timestamp) {
        self.begin(now);
        count_found(self.index, self.delivery.counters());
        self.delivery.release_deferred();
        self.delivery.remember_undelivered_due();
        self.begin_flow();
        let walk = self.delivery.settings().work.walk;
        self.work.extend_turn(walk);
        self.retained
            .continue_walks(&mut self.delivery, &self.routing, &mut self.outboxes);
        while !self.work.is_spent()
            && let Some(timer) = self.timers.take_due(now)
        {
            self.work.spend(TIMER_WORK);
            match timer {
                Timer::KeepAlive { slot } => self.check_keep_alive(slot),
                Timer::SessionExpiry { session } => {
                    self.expire_session(session);
                }
                Timer::TokenEnd { session } => self.end_with_token(session),
                Timer::WillDelay { session } => self.publish_delayed_will(session),
                Timer::Retained { node } => {
                    self.retained.expire(now, node, self.delivery.counters());
                }
                Timer::Flow { slot } => self.flow_timer_due(slot),
                Timer::Rate { slot } => self.flow_events().rate_timer_due(slot),
                Timer::Unclaimed => self.sharing().place_unclaimed(),
                Timer::Output => self.output_timer_due(),
                Timer::Store => {
                    let is_backlogged = self.delivery.journal.keeps_waiting();
                    self.flow_events().store_timer_due(is_backlogged);
                }
                Timer::Unstored => self.unstored_timer_due(),
                Timer::Sys => self.publish_sys(),
            }
        }
        self.take_read_back();
        self.delete_expired();
        self.continue_endings();
        self.begin_flow();
    }

    /// Continues with sessions that end. Not while other shards' queues are full: the resulting records would keep
    /// this shard from flushing.
    fn continue_endings(&mut self) {
        if self.is_blocked || !self.endings.has_work() {
            // It goes on in the next turn.
            return;
        }
        let inherit = !self.forgets_messages();
        let (mut sharing, retained, endings) = self.sharing_beside_endings();
        endings.go_on(retained, &mut sharing, inherit);
    }

    /// Whether there is work in each turn until it is done: searching retained messages, or ending sessions.
    #[must_use]
    pub fn has_walks(&self) -> bool {
        self.retained.has_work() || self.endings.has_work()
    }

    /// Nothing received for one and a half times the Keep Alive: as if the network had failed [MQTT-3.1.2-22].
    fn check_keep_alive(&mut self, slot: ConnectionSlot) {
        let high = self.delivery.settings().client_output.high;
        let Some(connection) = self.delivery.clients.connection(slot) else {
            return unreachable_state("a keep alive of no connection");
        };
        if !connection.is_connected() {
            return;
        }
        connection.look_at_keep_alive(self.now, high);
        if connection.keep_alive_deadline() > self.now {
            self.delivery.clients.watch_keep_alive(&mut self.timers, slot);
        } else {
            self.disconnect(slot, ReasonCode::KeepAliveTimeout, "keep alive exceeded");
        }
    }

    fn publish_delayed_will(&mut self, session: SessionSlot) {
        let will = self
            .delivery
            .clients
            .session_mut(session)
            .and_then(|session| session.take_will());
        if let Some(will) = will {
            self.publish_will(&will);
            self.delivery.note_session(session);
        }
    }
}

/// Units of work of a timer that is due.
const TIMER_WORK: u64 = 8;
