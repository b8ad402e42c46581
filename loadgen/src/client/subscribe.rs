//! `loadgen sub`: writes the messages that it receives to standard output. `loadgen rr` is a subscriber too: it
//! publishes its request when it has the subscription, and ends with the first message.
//!
//! Invariants: a QoS 2 message is printed once, when it first arrives. A message that could not be printed is not
//! acknowledged, so a session that is kept receives it again. If a connection is lost after it was accepted, the
//! program reconnects, as mosquitto_sub does, but a request is never published twice; a broker that refused the client
//! is not tried again. Each identifier of its own PUBLISHes is in `unacknowledged` until its handshake is complete.

mod handshakes;

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::num::NonZeroU16;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Packet, PacketIdentifier, Publish, QoS, RetainHandling, SubAck};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use mqtt::topic;

use super::EXIT_TIMEOUT;
use super::args::{RequestResponse, SubscribeRequest};
use super::output::Printer;
use super::publish::read;
use super::session::{Session, SessionEvent};
use crate::connection::{Broken, login};
use crate::scenario::properties::Carrier;
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::note;

/// Subscribes and prints messages until the requested end; returns the exit code.
pub fn run(request: &SubscribeRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    subscribe(request, None, interrupted)
}

/// Publishes a request and prints its response; returns the exit code.
pub fn request(request: &RequestResponse, interrupted: &AtomicBool) -> Result<u8, Failure> {
    // Read first, so that a missing file costs no connection.
    let payload = read(&request.message)?.unwrap_or_default();
    let question = Question {
        topic: &request.topic,
        payload,
    };
    subscribe(&request.response, Some(question), interrupted)
}

fn subscribe(
    request: &SubscribeRequest,
    question: Option<Question<'_>>,
    interrupted: &AtomicBool,
) -> Result<u8, Failure> {
    let until = request.timeout.map(|timeout| Instant::now() + timeout);
    let session = Session::open(&request.settings, interrupted)?;
    let mut subscriber = SubscribeClient {
        request,
        question,
        session,
        interrupted,
        printer: Printer::new(&request.output),
        received: 0,
        unreleased: HashSet::new(),
        unacknowledged: HashSet::new(),
        next_identifier: FIRST_IDENTIFIER,
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

/// The request of `loadgen rr`.
struct Question<'a> {
    topic: &'a str,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscribeEnd {
    /// The request is fulfilled, or the reader has closed its end.
    Done,
    /// The broker granted no subscription, or refused the request.
    Refused,
    /// The time of `-W` is over.
    TimedOut,
}

struct SubscribeClient<'a> {
    request: &'a SubscribeRequest,
    question: Option<Question<'a>>,
    session: Session<'a>,
    interrupted: &'a AtomicBool,
    printer: Printer<'a>,
    received: u64,
    /// QoS 2 messages whose PUBREL has not arrived.
    unreleased: HashSet<PacketIdentifier>,
    /// Its own messages whose handshakes are not complete.
    unacknowledged: HashSet<PacketIdentifier>,
    next_identifier: PacketIdentifier,
    /// The topics of the broker's Topic Aliases on this connection.
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
                Err(broken) if is_loss(&broken) && self.question.is_none() => broken,
                ended => return ended,
            };
            self.unacknowledged.clear();
            note(&format!("{lost}; reconnecting"));
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
        let mut packets = Vec::new();
        // Number of expected answers.
        let mut awaited = 0;
        if !filters.is_empty() {
            awaited += 1;
            encode::subscribe(
                SUBSCRIBE_IDENTIFIER,
                properties.as_properties(),
                &filters,
                self.session.version,
                &mut packets,
            )?;
        }
        let unsubscribed: Vec<_> = self.request.unsubscribed.iter().map(String::as_str).collect();
        if !unsubscribed.is_empty() {
            awaited += 1;
            encode::unsubscribe(
                UNSUBSCRIBE_IDENTIFIER,
                Properties::EMPTY,
                &unsubscribed,
                self.session.version,
                &mut packets,
            )?;
        }
        self.session.send(&packets)?;
        while awaited > 0 {
            let whole = match self.session.next(until)? {
                SessionEvent::Packet(whole) => whole,
                SessionEvent::Quiet => return Ok(Some(SubscribeEnd::TimedOut)),
                SessionEvent::Interrupted => return Ok(Some(SubscribeEnd::Done)),
            };
            // Messages of a kept session may arrive before.
            let end = match whole.packet(self.session.version)? {
                Packet::SubAck(suback) => {
                    awaited -= 1;
                    self.is_refused(suback).then_some(SubscribeEnd::Refused)
                }
                Packet::UnsubAck(_) => {
                    awaited -= 1;
                    None
                }
                packet => self.handle(packet)?,
            };
            if end.is_some() {
                return Ok(end);
            }
        }
        self.ask()?;
        Ok(self.request.exit_when_subscribed.then_some(SubscribeEnd::Done))
    }

    /// Whether no subscription was granted; each refusal is reported.
    fn is_refused(&self, suback: SubAck<'_>) -> bool {
        let mut granted = false;
        for (filter, &code) in self.request.filters.iter().zip(suback.reason_codes) {
            if login::is_granted(code) {
                granted = true;
                continue;
            }
            let reason = login::named(code);
            note(&format!("the broker refused the subscription {filter}: {reason}"));
        }
        !granted
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
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack)
                if !self.own_acknowledged(packet, ack)? =>
            {
                return Ok(Some(SubscribeEnd::Refused));
            }
            _ => {}
        }
        if self.request.count.is_none_or(|count| self.received < count) {
            return Ok(None);
        }
        self.await_handshakes()?;
        Ok(Some(SubscribeEnd::Done))
    }

    /// Prints and acknowledges a message; false at the end: the reader has closed its end, or further messages were
    /// not requested.
    fn take(&mut self, publish: Publish<'_>) -> Result<bool, Broken> {
        if self.request.retained_only && !publish.retain {
            return Ok(false);
        }
        if let (Some(alias), false) = (publish.properties.topic_alias(), publish.topic.is_empty()) {
            self.aliases.insert(alias, publish.topic.to_owned());
        }
        let is_new = match (publish.qos, publish.packet_identifier) {
            (QoS::ExactlyOnce, Some(identifier)) => self.unreleased.insert(identifier),
            _ => true,
        };
        let topic = self.topic_of(&publish);
        if is_new && self.is_wanted(&publish, &topic) {
            match self.printer.print(&publish, &topic) {
                Ok(()) => self.received += 1,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => {
                    return Err(Broken::Refused(format!(
                        "cannot write to standard output: {error}"
                    )));
                }
            }
            if publish.retain && self.request.remove_retained {
                self.publish(&topic, &[], QoS::AtLeastOnce, true, Properties::EMPTY)?;
            }
        }
        match (publish.qos, publish.packet_identifier) {
            (QoS::AtLeastOnce, Some(identifier)) => self.answer(PacketType::PubAck, identifier)?,
            (QoS::ExactlyOnce, Some(identifier)) => self.answer(PacketType::PubRec, identifier)?,
            _ => {}
        }
        Ok(true)
    }

    /// The topic, even if the packet has only an alias.
    fn topic_of(&self, publish: &Publish<'_>) -> String {
        let alias = publish.properties.topic_alias();
        let known = alias.and_then(|alias| self.aliases.get(&alias));
        known.cloned().unwrap_or_else(|| publish.topic.to_owned())
    }

    fn is_wanted(&self, publish: &Publish<'_>, topic: &str) -> bool {
        let filtered_out = &self.request.filtered_out;
        let is_left_out = publish.retain && self.request.no_retained
            || filtered_out.iter().any(|filter| topic::matches(filter, topic));
        !is_left_out
    }
}

/// Whether the connection was lost for a reason that may be temporary.
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

/// Packet Identifier of the SUBSCRIBE.
const SUBSCRIBE_IDENTIFIER: PacketIdentifier = PacketIdentifier::MIN;
/// Packet Identifier of the UNSUBSCRIBE.
const UNSUBSCRIBE_IDENTIFIER: PacketIdentifier = SUBSCRIBE_IDENTIFIER.saturating_add(1);
/// The lowest Packet Identifier of a PUBLISH.
const FIRST_IDENTIFIER: PacketIdentifier = UNSUBSCRIBE_IDENTIFIER.saturating_add(1);
/// Pause between two attempts to reconnect.
const RECONNECT: Duration = Duration::from_secs(1);
