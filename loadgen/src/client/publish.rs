//! `loadgen pub`: sends messages and receives their acknowledgements.
//!
//! Invariant: a Packet Identifier is in use from its PUBLISH until the PUBACK or PUBCOMP that completes it, or the
//! PUBREC that refuses it. The program ends when none is in use.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::error::EncodeError;
use mqtt::frame::PacketType;
use mqtt::packet::{Ack, Packet, PacketIdentifier, Publish, QoS};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::reason::ReasonCode;

use super::args::{Message, PublishRequest};
use super::session::{Session, SessionEvent};
use crate::connection::Broken;
use crate::connection::login::detailed;
use crate::scenario::properties::Carrier;
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::note;

/// Publishes the messages; returns the exit code.
pub fn run(request: &PublishRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    // Read first, so that a missing file costs no connection.
    let mut messages = Messages::open(request)?;
    let session = Session::open(&request.settings, interrupted)?;
    let mut publisher = PublishClient::new(request, session)?;
    match publisher.publish_all(&mut messages) {
        Ok(()) => {
            publisher.session.close();
            Ok(if publisher.refused == 0 {
                EXIT_OK
            } else {
                EXIT_MISSED
            })
        }
        Err(PublishEnd::Interrupted) => Err(Failure::Interrupted),
        Err(PublishEnd::Failed(failure)) => Err(failure),
        Err(PublishEnd::Broken(broken)) => Err(Failure::Connect(format!(
            "{broken}; {} were published, and {} of them not acknowledged",
            publisher.published,
            publisher.in_flight.len()
        ))),
    }
}

/// Why publishing ended early.
enum PublishEnd {
    Interrupted,
    Broken(Broken),
    Failed(Failure),
}

impl From<Broken> for PublishEnd {
    fn from(broken: Broken) -> PublishEnd {
        PublishEnd::Broken(broken)
    }
}

struct PublishClient<'a> {
    request: &'a PublishRequest,
    session: Session<'a>,
    /// The packet that each Packet Identifier waits for.
    in_flight: BTreeMap<PacketIdentifier, PacketType>,
    next_identifier: PacketIdentifier,
    published: u64,
    refused: u64,
    /// The Topic Alias, if one was given and the broker accepts it.
    alias: Option<NonZeroU16>,
    /// The broker knows the alias.
    registered: bool,
}

impl<'a> PublishClient<'a> {
    fn new(request: &'a PublishRequest, session: Session<'a>) -> Result<PublishClient<'a>, Failure> {
        if request.qos > session.granted.maximum_qos {
            return Err(Failure::Connect(format!(
                "the broker accepts QoS {} at most",
                session.granted.maximum_qos as u8
            )));
        }
        if request.retain && !session.granted.retain_available {
            return Err(Failure::Connect(
                "the broker accepts no retained messages".to_owned(),
            ));
        }
        let wanted = request.settings.properties.topic_alias();
        let alias = wanted.filter(|alias| alias.get() <= session.granted.topic_alias_maximum);
        if wanted.is_some() && alias.is_none() {
            let maximum = session.granted.topic_alias_maximum;
            note(&format!(
                "the broker accepts Topic Aliases up to {maximum}: the topic is sent each time"
            ));
        }
        Ok(PublishClient {
            request,
            session,
            in_flight: BTreeMap::new(),
            next_identifier: PacketIdentifier::MIN,
            published: 0,
            refused: 0,
            alias,
            registered: false,
        })
    }

    fn publish_all(&mut self, messages: &mut Messages) -> Result<(), PublishEnd> {
        let window = usize::from(
            self.session
                .granted
                .receive_maximum
                .min(self.request.in_flight_max),
        );
        loop {
            while self.in_flight.len() >= window {
                self.wait(None)?;
            }
            match messages.next()? {
                NextMessage::Message(payload) => self.publish(&payload)?,
                NextMessage::Wait(until) => self.wait(Some(until))?,
                NextMessage::PublishEnd => break,
            }
        }
        while !self.in_flight.is_empty() {
            self.wait(None)?;
        }
        Ok(())
    }

    fn publish(&mut self, payload: &[u8]) -> Result<(), PublishEnd> {
        let packet_identifier = (self.request.qos != QoS::AtMostOnce).then(|| self.free_identifier());
        let properties = self.properties().map_err(too_large).map_err(PublishEnd::Failed)?;
        let publish = Publish {
            dup: false,
            qos: self.request.qos,
            retain: self.request.retain,
            topic: if self.registered { "" } else { &self.request.topic },
            packet_identifier,
            properties: properties.as_properties(),
            payload,
        };
        let packet = encoded(&publish, &self.session).map_err(PublishEnd::Failed)?;
        if let Some(identifier) = packet_identifier {
            let awaits = match self.request.qos {
                QoS::ExactlyOnce => PacketType::PubRec,
                _ => PacketType::PubAck,
            };
            self.in_flight.insert(identifier, awaits);
        }
        self.session.send(&packet)?;
        self.published += 1;
        self.registered = self.alias.is_some();
        Ok(())
    }

    /// The given properties, with the alias.
    fn properties(&self) -> Result<PropertiesBuf, EncodeError> {
        let mut properties = self.request.settings.properties.of(Carrier::Publish, None)?;
        if let Some(alias) = self.alias {
            properties.push(Property::TopicAlias(alias))?;
        }
        Ok(properties)
    }

    /// Fewer messages are in flight than there are identifiers.
    fn free_identifier(&mut self) -> PacketIdentifier {
        while self.in_flight.contains_key(&self.next_identifier) {
            self.next_identifier = after(self.next_identifier);
        }
        let free = self.next_identifier;
        self.next_identifier = after(free);
        free
    }

    fn wait(&mut self, until: Option<Instant>) -> Result<(), PublishEnd> {
        let whole = match self.session.next(until)? {
            SessionEvent::Packet(whole) => whole,
            SessionEvent::Quiet => return Ok(()),
            SessionEvent::Interrupted => return Err(PublishEnd::Interrupted),
        };
        match whole.packet(self.session.version)? {
            Packet::PubAck(ack) => self.ended(ack, PacketType::PubAck),
            Packet::PubComp(ack) => self.ended(ack, PacketType::PubComp),
            Packet::PubRec(ack) if ack.reason.is_error() => self.ended(ack, PacketType::PubRec),
            Packet::PubRec(ack) => self.release(ack)?,
            // Messages of a kept session, which a publisher does not handle.
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, ack: Ack<'_>, awaited: PacketType) {
        if self.in_flight.get(&ack.packet_identifier) != Some(&awaited) {
            return;
        }
        self.in_flight.remove(&ack.packet_identifier);
        if ack.reason.is_error() {
            self.refused += 1;
            let reason = detailed(ack.reason, ack.properties);
            note(&format!("the broker refused a message: {reason}"));
        }
    }

    fn release(&mut self, ack: Ack<'_>) -> Result<(), Broken> {
        if let Some(awaits) = self.in_flight.get_mut(&ack.packet_identifier) {
            *awaits = PacketType::PubComp;
        }
        let mut packet = Vec::new();
        encode::ack(
            PacketType::PubRel,
            ack.packet_identifier,
            ReasonCode::Success,
            self.session.version,
            &mut packet,
        );
        self.session.send(&packet)
    }
}

/// An encoded PUBLISH, if it is within the broker's limit.
pub(super) fn encoded(publish: &Publish<'_>, session: &Session<'_>) -> Result<Vec<u8>, Failure> {
    let mut packet = Vec::with_capacity(publish.payload.len() + publish.topic.len() + 16);
    publish.encode(session.version, &mut packet).map_err(too_large)?;
    if packet.len() > session.granted.packet_bytes_max as usize {
        return Err(Failure::Limits(format!(
            "the packet of the message has {} bytes, but the broker accepts {} at most",
            packet.len(),
            session.granted.packet_bytes_max
        )));
    }
    Ok(packet)
}

/// A message that does not fit into any packet.
pub(super) fn too_large(error: EncodeError) -> Failure {
    Failure::Limits(format!("the message cannot be published: {error}"))
}

pub(super) fn after(identifier: PacketIdentifier) -> PacketIdentifier {
    identifier.checked_add(1).unwrap_or(PacketIdentifier::MIN)
}

/// The messages, one after the other.
enum Messages {
    Same {
        payload: Vec<u8>,
        left: u64,
        delay: Duration,
        due: Instant,
    },
    /// From a thread that reads standard input, so that the connection is kept alive while no line is typed.
    Lines(Receiver<std::io::Result<Vec<u8>>>),
}

enum NextMessage {
    Message(Vec<u8>),
    Wait(Instant),
    PublishEnd,
}

impl Messages {
    fn open(request: &PublishRequest) -> Result<Messages, Failure> {
        let Some(payload) = read(&request.message)? else {
            return Ok(Messages::Lines(lines()));
        };
        Ok(Messages::Same {
            payload,
            left: request.repeat,
            delay: request.repeat_delay,
            due: Instant::now(),
        })
    }

    fn next(&mut self) -> Result<NextMessage, PublishEnd> {
        match self {
            Messages::Same { left: 0, .. } => Ok(NextMessage::PublishEnd),
            Messages::Same { due, .. } if Instant::now() < *due => Ok(NextMessage::Wait(*due)),
            Messages::Same {
                payload,
                left,
                delay,
                due,
            } => {
                *left -= 1;
                *due = Instant::now() + *delay;
                Ok(NextMessage::Message(payload.clone()))
            }
            Messages::Lines(lines) => match lines.try_recv() {
                Ok(Ok(line)) => Ok(NextMessage::Message(line)),
                Ok(Err(error)) => Err(PublishEnd::Failed(Failure::system("cannot read standard input")(
                    error,
                ))),
                Err(TryRecvError::Empty) => Ok(NextMessage::Wait(Instant::now() + TYPING)),
                Err(TryRecvError::Disconnected) => Ok(NextMessage::PublishEnd),
            },
        }
    }
}

/// The payload of a message that is read as a whole; `None` for one message per line.
pub(super) fn read(message: &Message) -> Result<Option<Vec<u8>>, Failure> {
    Ok(Some(match message {
        Message::Text(text) => text.clone(),
        Message::File(path) => read_file(path)?,
        Message::StandardInput => {
            let mut bytes = Vec::new();
            let read = std::io::stdin()
                .lock()
                .take(PAYLOAD_BYTES_MAX)
                .read_to_end(&mut bytes);
            read.map_err(Failure::system("cannot read standard input"))?;
            bytes
        }
        Message::Lines => return Ok(None),
    }))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).map_err(Failure::system(unreadable()))?;
    let mut bytes = Vec::new();
    file.take(PAYLOAD_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(Failure::system(unreadable()))?;
    Ok(bytes)
}

/// The lines of standard input without their line ends.
fn lines() -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                line
            });
            // The receiver is gone when publishing has failed.
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Larger than any packet: the encoder refuses it.
const PAYLOAD_BYTES_MAX: u64 = 1 << 28;
/// Lines that are read before they are published.
const LINES_WAITING_MAX: usize = 64;
/// Interval of checking for a line.
const TYPING: Duration = Duration::from_millis(10);
