//! `loadgen sub`: writes the messages that it receives to standard output.
//!
//! Invariants: a QoS 2 message is printed once, when it arrives for the first time. A message that could not be printed
//! is not acknowledged, so a session that is kept receives it again. A connection that is lost after it was accepted is
//! made again, as mosquitto_sub does; a broker that refused the client is not asked again.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Write as _};
use std::num::NonZeroU16;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Packet, PacketIdentifier, Publish, QoS, RetainHandling, SubAck};
use mqtt::reason::ReasonCode;

use super::EXIT_TIMEOUT;
use super::args::SubscribeRequest;
use super::session::{Session, SessionEvent};
use crate::connection::{Broken, login};
use crate::scenario::properties::Carrier;
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::note;

/// Subscribes and prints messages until the end that was asked for; returns the exit code.
pub fn run(request: &SubscribeRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    let until = request.timeout.map(|timeout| Instant::now() + timeout);
    let session = Session::open(&request.settings, interrupted)?;
    let mut subscriber = SubscribeClient {
        request,
        session,
        interrupted,
        received: 0,
        unreleased: HashSet::new(),
        aliases: HashMap::new(),
    };
    let end = subscriber
        .run(until)
        .map_err(|broken| Failure::Connect(broken.to_string()))?;
    subscriber.session.close();
    Ok(match end {
        SubscribeEnd::Done => EXIT_OK,
        SubscribeEnd::Refused => EXIT_MISSED,
        SubscribeEnd::TimedOut => EXIT_TIMEOUT,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscribeEnd {
    /// What was asked for has come, or the user wants no more.
    Done,
    /// The broker granted no subscription.
    Refused,
    /// The time of `-W` is over.
    TimedOut,
}

struct SubscribeClient<'a> {
    request: &'a SubscribeRequest,
    session: Session<'a>,
    interrupted: &'a AtomicBool,
    received: u64,
    /// QoS 2 messages whose PUBREL has not come.
    unreleased: HashSet<PacketIdentifier>,
    /// What the broker's Topic Aliases stand for, on this connection.
    aliases: HashMap<NonZeroU16, String>,
}

impl SubscribeClient<'_> {
    fn run(&mut self, until: Option<Instant>) -> Result<SubscribeEnd, Broken> {
        loop {
            let ended = self.subscribe(until).and_then(|end| match end {
                None => self.receive_all(until),
                Some(end) => Ok(end),
            });
            let lost = match ended {
                Err(broken) if is_loss(&broken) => broken,
                ended => return ended,
            };
            note(&format!("{lost}; connecting again"));
            if let Some(end) = self.connect_again(until)? {
                return Ok(end);
            }
        }
    }

    /// Tries until there is a connection, or another end.
    fn connect_again(&mut self, until: Option<Instant>) -> Result<Option<SubscribeEnd>, Broken> {
        if self.request.settings.clean_start {
            self.unreleased.clear();
        }
        loop {
            let next = Instant::now() + RECONNECT;
            if self.session.pause(until.map_or(next, |until| until.min(next))) {
                return Ok(Some(SubscribeEnd::Done));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Some(SubscribeEnd::TimedOut));
            }
            match Session::open_again(&self.request.settings, self.interrupted) {
                Ok(session) => {
                    self.session = session;
                    self.aliases.clear();
                    return Ok(None);
                }
                Err(broken) if is_loss(&broken) => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    fn subscribe(&mut self, until: Option<Instant>) -> Result<Option<SubscribeEnd>, Broken> {
        let subscription = self.request.subscription;
        let options = subscription.options(self.request.qos, RetainHandling::SendAtSubscribe);
        let properties = self.request.settings.properties.of(Carrier::Subscribe, None)?;
        let filters: Vec<_> = self
            .request
            .filters
            .iter()
            .map(|filter| (filter.as_str(), options))
            .collect();
        let mut packet = Vec::new();
        encode::subscribe(
            PacketIdentifier::MIN,
            properties.as_properties(),
            &filters,
            self.session.version,
            &mut packet,
        )?;
        self.session.send(&packet)?;
        loop {
            let whole = match self.session.next(until)? {
                SessionEvent::Packet(whole) => whole,
                SessionEvent::Quiet => return Ok(Some(SubscribeEnd::TimedOut)),
                SessionEvent::Interrupted => return Ok(Some(SubscribeEnd::Done)),
            };
            match whole.packet(self.session.version)? {
                Packet::SubAck(suback) => return Ok(self.subscribed(suback)),
                packet => {
                    // A kept session's messages may come before.
                    if let Some(end) = self.handle(packet)? {
                        return Ok(Some(end));
                    }
                }
            }
        }
    }

    fn subscribed(&self, suback: SubAck<'_>) -> Option<SubscribeEnd> {
        let mut granted = false;
        for (filter, &code) in self.request.filters.iter().zip(suback.reason_codes) {
            if login::is_granted(code) {
                granted = true;
                continue;
            }
            let reason = login::named(code);
            note(&format!("the broker refused the subscription {filter}: {reason}"));
        }
        match granted {
            false => Some(SubscribeEnd::Refused),
            true => self.request.exit_when_subscribed.then_some(SubscribeEnd::Done),
        }
    }

    fn receive_all(&mut self, until: Option<Instant>) -> Result<SubscribeEnd, Broken> {
        loop {
            let whole = match self.session.next(until)? {
                SessionEvent::Packet(whole) => whole,
                SessionEvent::Quiet => return Ok(SubscribeEnd::TimedOut),
                SessionEvent::Interrupted => return Ok(SubscribeEnd::Done),
            };
            if let Some(end) = self.handle(whole.packet(self.session.version)?)? {
                return Ok(end);
            }
        }
    }

    fn handle(&mut self, packet: Packet<'_>) -> Result<Option<SubscribeEnd>, Broken> {
        match packet {
            Packet::Publish(publish) if !self.take(publish)? => return Ok(Some(SubscribeEnd::Done)),
            Packet::PubRel(ack) => self.release(ack.packet_identifier)?,
            _ => {}
        }
        if self.request.count.is_none_or(|count| self.received < count) {
            return Ok(None);
        }
        self.await_releases()?;
        Ok(Some(SubscribeEnd::Done))
    }

    /// Prints and acknowledges a message; false if nobody reads what is printed.
    fn take(&mut self, publish: Publish<'_>) -> Result<bool, Broken> {
        if let (Some(alias), false) = (publish.properties.topic_alias(), publish.topic.is_empty()) {
            self.aliases.insert(alias, publish.topic.to_owned());
        }
        let is_new = match (publish.qos, publish.packet_identifier) {
            (QoS::ExactlyOnce, Some(identifier)) => self.unreleased.insert(identifier),
            _ => true,
        };
        if is_new && !(publish.retain && self.request.no_retained) {
            match self.print(publish) {
                Ok(()) => self.received += 1,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => {
                    return Err(Broken::Refused(format!(
                        "cannot write to standard output: {error}"
                    )));
                }
            }
        }
        match (publish.qos, publish.packet_identifier) {
            (QoS::AtLeastOnce, Some(identifier)) => self.answer(PacketType::PubAck, identifier)?,
            (QoS::ExactlyOnce, Some(identifier)) => self.answer(PacketType::PubRec, identifier)?,
            _ => {}
        }
        Ok(true)
    }

    fn print(&self, publish: Publish<'_>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.request.verbose {
            let alias = publish.properties.topic_alias();
            let topic = alias.and_then(|alias| self.aliases.get(&alias));
            write!(out, "{} ", topic.map_or(publish.topic, String::as_str))?;
        }
        out.write_all(publish.payload)?;
        if !self.request.no_newline {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    fn release(&mut self, identifier: PacketIdentifier) -> Result<(), Broken> {
        self.unreleased.remove(&identifier);
        self.answer(PacketType::PubComp, identifier)
    }

    /// Completes the handshakes of the messages that were printed.
    fn await_releases(&mut self) -> Result<(), Broken> {
        let until = Instant::now() + RELEASE;
        while !self.unreleased.is_empty() {
            let SessionEvent::Packet(whole) = self.session.next(Some(until))? else {
                return Ok(());
            };
            if let Packet::PubRel(ack) = whole.packet(self.session.version)? {
                self.release(ack.packet_identifier)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, packet_type: PacketType, identifier: PacketIdentifier) -> Result<(), Broken> {
        let mut packet = Vec::new();
        encode::ack(
            packet_type,
            identifier,
            ReasonCode::Success,
            self.session.version,
            &mut packet,
        );
        self.session.send(&packet)
    }
}

/// Whether the connection is gone for a reason that may pass.
fn is_loss(broken: &Broken) -> bool {
    match broken {
        Broken::Socket(_) | Broken::Closed | Broken::Timeout(_) => true,
        Broken::Disconnected(reason, _) => matches!(
            reason,
            ReasonCode::ServerShuttingDown
                | ReasonCode::ServerBusy
                | ReasonCode::KeepAliveTimeout
                | ReasonCode::ConnectionRateExceeded
        ),
        _ => false,
    }
}

/// Pause between two attempts to connect again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Time for the broker to release the last messages.
const RELEASE: Duration = Duration::from_secs(5);
