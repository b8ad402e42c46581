//! Carries while both brokers are connected.
//!
//! Invariants: a broker is not read from while much waits for the other one, unless much waits for it too: then both
//! are read from, so that they cannot wait for each other, and messages at QoS 0 may be dropped.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use rustix::event::PollFlags;
use transport::clock::monotonic_ns;

use super::connect::{self, LocalState};
use super::connection::BridgeConnection;
use super::pipe::{Handled, NotCarried, Pipe, PipeOutputs, Side};
use super::thread::{BridgeEnd, BridgeThread, Opened};
use crate::bridge_settings::{BridgeSettings, StartType};
use crate::limits;
use crate::log::SeldomLogged;
use crate::time::Timestamp;

/// What is logged once in a while.
#[derive(Default)]
struct SeldomLines {
    dropped: SeldomLogged,
    refused: SeldomLogged,
}

/// An exchange in progress.
struct BridgeExchange<'a> {
    settings: Arc<BridgeSettings>,
    local: &'a mut BridgeConnection,
    remote: &'a mut BridgeConnection,
    pipe: Pipe,
    lines: SeldomLines,
    last_carried: Instant,
}

impl BridgeThread {
    /// Carries until something ends it.
    pub(super) fn carry(&mut self, local: &mut Opened, remote: &mut Opened) -> BridgeEnd {
        let settings = Arc::clone(&self.bridge.settings);
        let out = &mut local.connection.packets;
        connect::local_state(&settings, &local.accepted, LocalState::Connected, out);
        let mut exchange = BridgeExchange {
            pipe: Pipe::new(Arc::clone(&settings), &local.accepted, &remote.accepted),
            settings,
            local: &mut local.connection,
            remote: &mut remote.connection,
            lines: SeldomLines::default(),
            last_carried: Instant::now(),
        };
        let mut next_look = Instant::now() + FIRST_ADDRESS;
        loop {
            if let Err(ending) = exchange.advance() {
                return ending;
            }
            let now = Instant::now();
            if self.is_interrupted() {
                return self.interruption();
            }
            if exchange.idle_since(now) {
                return BridgeEnd::Idle;
            }
            let is_second = self.addresses.is_second_choice(&self.bridge.settings);
            if is_second && self.control.take_first() {
                return BridgeEnd::FirstIsThere;
            }
            if is_second && now >= next_look {
                next_look = now + FIRST_ADDRESS;
                self.look_for_first();
            }
            let until = exchange.next_deadline(is_second.then_some(next_look));
            let wanted = exchange.wanted();
            let sockets = [
                (exchange.local.descriptor(), wanted.0),
                (exchange.remote.descriptor(), wanted.1),
            ];
            let ready = match self.control.wait(sockets, until) {
                Ok(ready) => ready,
                Err(error) => return BridgeEnd::Failed(error.to_string()),
            };
            if let Err(ending) = exchange.receive(ready, &mut self.buffer) {
                return ending;
            }
        }
    }

    /// Of a lazy bridge: waits here until so many messages wait, and keeps the connection.
    pub(super) fn await_messages(&mut self, threshold: u32) -> Result<(), BridgeEnd> {
        if self.waiting.is_none() {
            self.waiting = Some(self.open_local(None)?);
        }
        let window = self.around.current.get().settings.inflight_messages_max;
        let enough = threshold.min(u32::from(window).max(1));
        let (mut messages, mut offset) = (0, 0);
        loop {
            if self.is_interrupted() {
                return Err(self.interruption());
            }
            let Some(Opened { connection, .. }) = &mut self.waiting else {
                return Err(BridgeEnd::Changed);
            };
            let received = connection.send(Instant::now());
            let received = received.and_then(|()| connection.receive(Instant::now(), &mut self.buffer));
            while let Some(frame) = connection.inbound.at(offset).map_err(malformed)? {
                offset += frame.wire_bytes;
                messages += u32::from(frame.packet_type == PacketType::Publish);
            }
            if let Err(error) = received {
                self.waiting = None;
                return Err(BridgeEnd::Failed(format!("this broker: {error}")));
            }
            let is_much = connection.inbound.waiting_bytes() > limits::BRIDGE_OUTPUT_HIGH_BYTES;
            if messages >= enough || is_much {
                return Ok(());
            }
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, connection.waiting_bytes() > 0);
            let waited = self.control.wait([(connection.descriptor(), wanted)], None);
            waited.map_err(|error| BridgeEnd::Failed(error.to_string()))?;
        }
    }

    /// Finds out on another thread whether the first address can be connected to, as a name may take long to look up.
    fn look_for_first(&self) {
        let (control, settings) = (Arc::clone(&self.control), Arc::clone(&self.bridge.settings));
        let look = move || {
            let Some(first) = settings.addresses.first() else {
                return;
            };
            let timeout = Duration::from_secs(5);
            let mut found = (first.host.as_str(), first.port)
                .to_socket_addrs()
                .into_iter()
                .flatten();
            if found.any(|address| TcpStream::connect_timeout(&address, timeout).is_ok()) {
                control.note_first();
            }
        };
        let thread = std::thread::Builder::new().name("bridge-look".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::warn!("A bridge cannot look for its first address: {error}");
        }
    }
}

impl BridgeExchange<'_> {
    /// Handles what has come and sends what is to go.
    fn advance(&mut self) -> Result<(), BridgeEnd> {
        self.handle(Side::Local)?;
        self.handle(Side::Remote)?;
        let now = Instant::now();
        for (side, connection) in [(Side::Local, &mut *self.local), (Side::Remote, &mut *self.remote)] {
            let sent = connection.check_alive(now).and_then(|()| connection.send(now));
            sent.map_err(|error| BridgeEnd::Failed(format!("{}: {error}", named(side))))?;
        }
        Ok(())
    }

    /// Handles the packets that have come from a broker.
    fn handle(&mut self, side: Side) -> Result<(), BridgeEnd> {
        loop {
            let (from, to) = match side {
                Side::Local => (&mut *self.local, &mut *self.remote),
                Side::Remote => (&mut *self.remote, &mut *self.local),
            };
            let failed =
                |error: &dyn std::fmt::Display| BridgeEnd::Failed(format!("{}: {error}", named(side)));
            let frame = from.inbound.next().map_err(|error| failed(&error))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            let mut outputs = PipeOutputs {
                back: &mut from.packets,
                onward: &mut to.packets,
            };
            let bytes = frame.wire_bytes;
            let handled = self.pipe.handle(side, &frame, &mut outputs);
            let handled = handled.map_err(|error| failed(&error))?;
            from.inbound.handled(bytes);
            self.note(side, handled)?;
        }
    }

    fn note(&mut self, side: Side, handled: Handled) -> Result<(), BridgeEnd> {
        let (name, broker) = (&self.settings.name, named(side));
        let now = Timestamp(monotonic_ns());
        match handled {
            Handled::Carried => self.last_carried = Instant::now(),
            Handled::Nothing => {}
            Handled::Disconnected(reason) => {
                return Err(BridgeEnd::Failed(format!(
                    "{broker} ends the connection: {reason}"
                )));
            }
            Handled::Subscribed(codes) => self.log_refused(side, &codes),
            Handled::Dropped(NotCarried::NoTopic, topic) => {
                tracing::debug!("Bridge {name} does not carry {topic} of {broker}.");
            }
            Handled::Dropped(why, topic) => {
                if let Some(others) = self.lines.dropped.due(now) {
                    let why = match why {
                        NotCarried::TooLarge => "is larger than a packet may be there",
                        _ => "was dropped, as neither broker takes anything",
                    };
                    tracing::warn!(
                        "Bridge {name}: a message of {broker} to {topic} {why}; {others} more since this was logged."
                    );
                }
            }
            Handled::Refused(reason) => {
                if let Some(others) = self.lines.refused.due(now) {
                    tracing::warn!(
                        "Bridge {name}: {broker} does not accept a message: {reason}; {others} more since this was \
                         logged."
                    );
                }
            }
        }
        Ok(())
    }

    fn log_refused(&self, side: Side, codes: &[u8]) {
        let topics = &self.settings.topics;
        let filters: Vec<_> = match side {
            Side::Local => topics.outgoing().map(|topic| &topic.local).collect(),
            Side::Remote => topics.incoming().map(|topic| &topic.remote).collect(),
        };
        let (name, broker) = (&self.settings.name, named(side));
        for (filter, code) in filters.iter().zip(codes) {
            if let Some(reason) = ReasonCode::from_u8(*code).filter(|reason| reason.is_error()) {
                tracing::error!("Bridge {name}: {broker} refuses its subscription to {filter}: {reason}.");
            }
        }
    }

    /// What is waited for on either socket.
    fn wanted(&self) -> (PollFlags, PollFlags) {
        let (to_local, to_remote) = (self.local.waiting_bytes(), self.remote.waiting_bytes());
        let flags = |from_waits: usize, to_waits: usize| {
            let high = limits::BRIDGE_OUTPUT_HIGH_BYTES;
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, to_waits < high || from_waits >= high);
            flags.set(PollFlags::OUT, from_waits > 0);
            flags
        };
        (flags(to_local, to_remote), flags(to_remote, to_local))
    }

    fn receive(&mut self, ready: [PollFlags; 2], buffer: &mut [u8]) -> Result<(), BridgeEnd> {
        let [local, remote] = ready;
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        for (side, ready) in [(Side::Local, local), (Side::Remote, remote)] {
            let connection = match side {
                Side::Local => &mut *self.local,
                Side::Remote => &mut *self.remote,
            };
            if ready.intersects(readable)
                && let Err(error) = connection.receive(Instant::now(), buffer)
            {
                // What came before is still handled: a DISCONNECT says why it ends.
                self.handle(side)?;
                return Err(BridgeEnd::Failed(format!("{}: {error}", named(side))));
            }
        }
        Ok(())
    }

    /// Whether a lazy bridge has carried nothing for long.
    fn idle_since(&self, now: Instant) -> bool {
        self.idle_at().is_some_and(|at| now >= at)
    }

    fn idle_at(&self) -> Option<Instant> {
        match self.settings.start {
            StartType::Lazy { idle_s, .. } => {
                Some(self.last_carried + Duration::from_secs(u64::from(idle_s)))
            }
            _ => None,
        }
    }

    fn next_deadline(&self, next_look: Option<Instant>) -> Option<Instant> {
        let checks = [self.local.next_check(), self.remote.next_check()];
        checks
            .into_iter()
            .chain([self.idle_at(), next_look])
            .flatten()
            .min()
    }
}

fn named(side: Side) -> &'static str {
    match side {
        Side::Local => "this broker",
        Side::Remote => "the other broker",
    }
}

fn malformed(error: mqtt::DecodeError) -> BridgeEnd {
    BridgeEnd::Failed(format!("this broker: {error}"))
}

/// Between two looks for the first address.
const FIRST_ADDRESS: Duration = Duration::from_nanos(limits::BRIDGE_PRIMARY_NS);
