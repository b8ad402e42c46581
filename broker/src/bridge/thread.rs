//! The thread of a bridge: connects to both brokers, carries, and connects again.
//!
//! Invariants: it is connected to this broker while it is to the other one, and not longer (but for a lazy bridge,
//! which waits for messages here): so what waits for the other broker waits in its session, as for any client that is
//! away. The session is there before the first try, unless it is a clean one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::back_off::{AddressTurn, RestartTimes};
use super::connect::{BrokerTerms, LocalState};
use super::connection::BridgeConnection;
use super::control::BridgeControl;
use super::{Bridge, connect};
use crate::bridge_settings::{BridgeSettings, StartType};
use crate::in_effect::Current;
use crate::limits;
use crate::local_connections::LocalConnections;
use crate::log::NOTICE;
use crate::questions::Questions;

/// A bridge while it runs.
pub(super) struct BridgeThread {
    pub(super) bridge: Bridge,
    pub(super) control: Arc<BridgeControl>,
    pub(super) around: Around,
    pub(super) addresses: AddressTurn,
    /// Addresses whose brokers do not know of bridges, by their numbers.
    pub(super) not_private: Vec<usize>,
    /// Of a lazy bridge: the connection here that messages wait in.
    pub(super) waiting: Option<Opened>,
    /// Its session at this broker is being ended.
    pub(super) ends_session: bool,
    pub(super) buffer: Vec<u8>,
}

/// What a bridge uses of the broker.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) local: Arc<LocalConnections>,
    pub(super) current: Arc<Current>,
    pub(super) questions: Arc<Questions>,
}

/// A connection whose CONNACK has come.
pub(super) struct Opened {
    pub(super) connection: BridgeConnection,
    pub(super) accepted: BrokerTerms,
}

/// Why a bridge is not connected any more.
#[derive(Debug)]
pub(super) enum BridgeEnd {
    /// The bridge was asked to end.
    Stopped,
    /// It has other settings.
    Changed,
    /// Nothing was carried for long.
    Idle,
    /// The first address is there again.
    FirstIsThere,
    /// A connection could not be made, or has failed: why.
    Failed(String),
}

impl BridgeThread {
    /// Carries until the bridge is stopped.
    pub(super) fn run(mut self) {
        let mut back_off = RestartTimes::new(self.bridge.settings.restart);
        let mut ending = self.prepare();
        loop {
            if let Err(ending) = &ending
                && self.rest(ending, &mut back_off)
            {
                break;
            }
            if let Some(changed) = self.control.take_changed() {
                self.become_other(changed);
                back_off = RestartTimes::new(self.bridge.settings.restart);
            }
            let begun = Instant::now();
            ending = self.connect_and_carry(&mut back_off, begun);
        }
        self.end_waiting();
        if self.control.is_removed() {
            let name = &self.bridge.settings.name;
            tracing::info!(target: NOTICE, "Bridge {name} is not in the configuration any more.");
            self.forget_session();
        }
    }

    /// What follows an ending; whether the bridge is over.
    fn rest(&mut self, ending: &BridgeEnd, back_off: &mut RestartTimes) -> bool {
        let name = &self.bridge.settings.name;
        match ending {
            BridgeEnd::Stopped => return true,
            BridgeEnd::Changed | BridgeEnd::Idle => {}
            BridgeEnd::FirstIsThere => {
                tracing::info!(target: NOTICE, "Bridge {name}: its first address is there again.");
                self.addresses.back_to_first();
            }
            BridgeEnd::Failed(_) if self.control.is_stopping() => return true,
            BridgeEnd::Failed(why) if self.bridge.settings.start == StartType::Once => {
                tracing::error!("Bridge {name} ends, as its start_type is once: {why}.");
                return true;
            }
            BridgeEnd::Failed(why) => {
                self.addresses.failed(&self.bridge.settings);
                let wait = back_off.next();
                tracing::warn!("Bridge {name}: {why}. It connects again in {} s.", wait.as_secs());
                self.sleep(wait);
            }
        }
        self.control.is_stopping()
    }

    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.control.is_stopping() && !self.control.is_to_reconnect() {
            if self.control.wait([], Some(until)).is_err() {
                return;
            }
        }
    }

    /// Makes the session at this broker, so that messages wait in it, and publishes that the bridge is not connected.
    fn prepare(&mut self) -> Result<(), BridgeEnd> {
        loop {
            match self.open_local(None) {
                Ok(mut local) => {
                    self.end_local(&mut local);
                    local.connection.close();
                    return Ok(());
                }
                Err(BridgeEnd::Failed(why)) if !self.control.is_stopping() => {
                    tracing::error!("Bridge {}: {why}. It tries again.", self.bridge.settings.name);
                    self.sleep(Duration::from_secs(5));
                }
                Err(ending) => return Err(ending),
            }
        }
    }

    fn connect_and_carry(&mut self, back_off: &mut RestartTimes, begun: Instant) -> Result<(), BridgeEnd> {
        if let StartType::Lazy { threshold, .. } = self.bridge.settings.start {
            self.await_messages(threshold)?;
        }
        let mut remote = self.open_remote()?;
        let receive_max = remote.accepted.receive_max;
        let window = self.around.current.get().settings.inflight_messages_max;
        if receive_max.is_some_and(|max| max.get() < window) {
            // More may be in flight on the connection that waits than the other broker takes.
            self.end_waiting();
        }
        let local = match self.waiting.take() {
            Some(waiting) => Ok(waiting),
            None => self.open_local(receive_max),
        };
        let mut local = match local {
            Ok(local) => local,
            Err(ending) => {
                self.end_remote(&mut remote);
                return Err(ending);
            }
        };
        self.control.note_connected(true);
        let ending = self.carry(&mut local, &mut remote);
        self.control.note_connected(false);
        back_off.lasted(begun.elapsed());
        if matches!(ending, BridgeEnd::Failed(_)) {
            let name = &self.bridge.settings.name;
            tracing::debug!("Bridge {name} was connected for {:?}.", begun.elapsed());
        }
        self.end_local(&mut local);
        local.connection.close();
        self.end_remote(&mut remote);
        Err(ending)
    }

    /// Publishes that the bridge is not connected, disconnects from this broker, and waits until that has closed the
    /// connection.
    fn end_local(&mut self, local: &mut Opened) {
        let settings = &self.bridge.settings;
        let out = &mut local.connection.packets;
        connect::local_state(settings, &local.accepted, LocalState::NotConnected, out);
        connect::disconnect(mqtt::ProtocolVersion::V5, out);
        let until = Instant::now() + Duration::from_nanos(limits::BRIDGE_END_NS_MAX);
        self.drain(&mut local.connection, until);
        while local.connection.receive(Instant::now(), &mut self.buffer).is_ok() && Instant::now() < until {
            let sockets = [(local.connection.descriptor(), PollFlags::IN)];
            if self.control.wait(sockets, Some(until)).is_err() {
                return;
            }
        }
    }

    /// The same of the other broker, if it can still be reached.
    fn end_remote(&self, remote: &mut Opened) {
        let settings = &self.bridge.settings;
        connect::end_remote(settings, &remote.accepted, &mut remote.connection.packets);
        let until = Instant::now() + Duration::from_nanos(limits::BRIDGE_END_NS_MAX);
        self.drain(&mut remote.connection, until);
    }

    /// Sends what waits, until then at most.
    fn drain(&self, connection: &mut BridgeConnection, until: Instant) {
        while connection.send(Instant::now()).is_ok() && connection.waiting_bytes() > 0 {
            let ready = self
                .control
                .wait([(connection.descriptor(), PollFlags::OUT)], Some(until));
            if ready.is_err() || Instant::now() >= until {
                return;
            }
        }
    }

    /// Disconnects from this broker where messages were waited for.
    fn end_waiting(&mut self) {
        if let Some(mut waiting) = self.waiting.take() {
            self.end_local(&mut waiting);
            waiting.connection.close();
        }
    }

    /// Goes on with other settings.
    fn become_other(&mut self, other: Bridge) {
        self.end_waiting();
        if other.settings.local.client_identifier != self.bridge.settings.local.client_identifier {
            self.forget_session();
        }
        self.bridge = other;
        self.addresses = AddressTurn::default();
        self.not_private.clear();
        // It is tried again with the connection.
        let _ = self.prepare();
    }

    /// Ends the session at this broker, which nobody will use any more.
    pub(super) fn forget_session(&mut self) {
        let mut settings = BridgeSettings::clone(&self.bridge.settings);
        settings.local_clean_session = true;
        settings.topics.0.clear();
        self.bridge.settings = Arc::new(settings);
        self.ends_session = true;
        if let Ok(mut local) = self.open_local(None) {
            self.end_local(&mut local);
            local.connection.close();
        }
        self.ends_session = false;
    }
}
