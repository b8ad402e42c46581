//! Clients that go on where they were when the broker is back: what they were promised, and what they got.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::{Connect, Publish, RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::{Packet, PacketIdentifier, ProtocolVersion, QoS, ReasonCode, encode};

const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
/// Messages that a publisher has in flight.
const WINDOW: usize = 20;

/// The connection is over: the broker was killed.
#[derive(Debug)]
pub(super) struct Gone;

/// A connection of a client with a session that outlives it.
pub(super) struct Connection {
    socket: TcpStream,
    unread: Vec<u8>,
    out: Vec<u8>,
    pub(super) session_present: bool,
}

impl Connection {
    pub(super) fn open(port: u16, client_identifier: &str) -> Result<Self, Gone> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|_| Gone)?;
        socket.set_nodelay(true).map_err(|_| Gone)?;
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .map_err(|_| Gone)?;
        let mut connection = Self {
            socket,
            unread: Vec::new(),
            out: Vec::new(),
            session_present: false,
        };
        let connect = Connect {
            version: V3,
            clean_start: false,
            keep_alive_s: 0,
            properties: Properties::EMPTY,
            client_identifier,
            will: None,
            user_name: None,
            password: None,
        };
        connect.encode(&mut connection.out).unwrap();
        connection.flush()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        // What stands behind the CONNACK is for whoever opens the connection.
        while connection.unread.len() < 4 {
            assert!(Instant::now() < deadline, "no CONNACK for {client_identifier}");
            connection.read()?;
        }
        let connack: Vec<u8> = connection.unread.drain(..4).collect();
        let frame = mqtt::frame::split(&connack, 4).unwrap().unwrap();
        match mqtt::decode::packet(&frame, V3).unwrap() {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, ReasonCode::Success);
                connection.session_present = connack.session_present;
            }
            other => panic!("no CONNACK but {other:?}"),
        }
        Ok(connection)
    }

    fn read(&mut self) -> Result<(), Gone> {
        let mut bytes = [0; 65_536];
        match self.socket.read(&mut bytes) {
            Ok(0) => Err(Gone),
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Reads what is there and hands each packet over, with where its answer goes.
    pub(super) fn packets(&mut self, mut handle: impl FnMut(&Packet<'_>, &mut Vec<u8>)) -> Result<(), Gone> {
        self.read()?;
        let mut at = 0;
        while let Ok(Some(frame)) = mqtt::frame::split(&self.unread[at..], 1 << 20) {
            let packet = mqtt::decode::packet(&frame, V3).unwrap();
            handle(&packet, &mut self.out);
            at += frame.wire_bytes;
        }
        self.unread.drain(..at);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let sent = self.socket.write_all(&self.out).map_err(|_| Gone);
        self.out.clear();
        sent
    }

    pub(super) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        identifier: u16,
        dup: bool,
    ) {
        let publish = Publish {
            dup,
            qos,
            retain,
            topic,
            packet_identifier: PacketIdentifier::new(identifier),
            properties: Properties::EMPTY,
            payload,
        };
        publish.encode(V3, &mut self.out).unwrap();
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: QoS, identifier: u16) {
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let identifier = PacketIdentifier::new(identifier).unwrap();
        encode::subscribe(
            identifier,
            Properties::EMPTY,
            &[(filter, options)],
            V3,
            &mut self.out,
        )
        .unwrap();
    }

    pub(super) fn send(&mut self) -> Result<(), Gone> {
        self.flush()
    }
}

pub(super) fn acknowledge(packet_type: PacketType, identifier: PacketIdentifier, out: &mut Vec<u8>) {
    encode::ack(packet_type, identifier, ReasonCode::Success, V3, out);
}

/// A client that publishes numbers, and knows which of them were acknowledged.
pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) topic: String,
    qos: QoS,
    retain: bool,
    next: u64,
    /// By their Packet Identifiers: the number, and whether PUBREC came.
    in_flight: BTreeMap<u16, (u64, bool)>,
    /// The order in which they are sent again.
    order: Vec<u16>,
    pub(super) acknowledged: Vec<u64>,
    had_session: bool,
}

impl Publisher {
    pub(super) fn new(name: &str, topic: &str, qos: QoS, retain: bool) -> Self {
        Self {
            name: name.to_owned(),
            topic: topic.to_owned(),
            qos,
            retain,
            next: 0,
            in_flight: BTreeMap::new(),
            order: Vec::new(),
            acknowledged: Vec::new(),
            had_session: false,
        }
    }

    /// Publishes until the broker is gone, or until all is acknowledged after `stop`.
    pub(super) fn run(&mut self, port: u16, stop: &AtomicBool) -> Result<(), Gone> {
        let mut connection = Connection::open(port, &self.name)?;
        assert!(
            connection.session_present || !self.had_session,
            "the session of {} is lost",
            self.name
        );
        self.had_session = true;
        for &identifier in &self.order {
            match self.in_flight.get(&identifier) {
                Some((_, true)) => {
                    let identifier = PacketIdentifier::new(identifier).unwrap();
                    acknowledge(PacketType::PubRel, identifier, &mut connection.out);
                }
                Some(&(number, false)) => {
                    let payload = format!("{} {number}", self.name);
                    connection.publish(
                        &self.topic,
                        payload.as_bytes(),
                        self.qos,
                        self.retain,
                        identifier,
                        true,
                    );
                }
                None => {}
            }
        }
        loop {
            let stops = stop.load(Ordering::Relaxed);
            if stops && self.in_flight.is_empty() {
                return Ok(());
            }
            while !stops && self.in_flight.len() < WINDOW {
                self.publish_next(&mut connection);
            }
            connection.send()?;
            connection.packets(|packet, out| self.handle(packet, out))?;
        }
    }

    fn publish_next(&mut self, connection: &mut Connection) {
        let number = self.next;
        self.next += 1;
        let identifier = u16::try_from(number % 60_000 + 1).unwrap();
        let payload = format!("{} {number}", self.name);
        connection.publish(
            &self.topic,
            payload.as_bytes(),
            self.qos,
            self.retain,
            identifier,
            false,
        );
        self.in_flight.insert(identifier, (number, false));
        self.order.push(identifier);
    }

    fn handle(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                let identifier = ack.packet_identifier.get();
                let Some((number, released)) = self.in_flight.remove(&identifier) else {
                    panic!("{}: {identifier} is not in flight", self.name);
                };
                self.order.retain(|&other| other != identifier);
                if !released {
                    self.acknowledged.push(number);
                }
            }
            Packet::PubRec(ack) => {
                if let Some((number, released)) = self.in_flight.get_mut(&ack.packet_identifier.get()) {
                    if !std::mem::replace(released, true) {
                        self.acknowledged.push(*number);
                    }
                    acknowledge(PacketType::PubRel, ack.packet_identifier, out);
                }
            }
            other => panic!("{}: not {other:?}", self.name),
        }
    }
}

/// A client that takes what it subscribed to.
pub(super) struct Subscriber {
    pub(super) name: String,
    filter: String,
    /// Identifiers of QoS 2 messages that await PUBREL.
    unreleased: BTreeSet<u16>,
    /// What came, message for message as an application gets it: the QoS, the publisher and the number.
    pub(super) got: Vec<(QoS, String, u64)>,
    subscribed: bool,
}

impl Subscriber {
    pub(super) fn new(name: &str, filter: &str) -> Self {
        Self {
            name: name.to_owned(),
            filter: filter.to_owned(),
            unreleased: BTreeSet::new(),
            got: Vec::new(),
            subscribed: false,
        }
    }

    /// Subscribes, once for good.
    pub(super) fn subscribe(&mut self, port: u16) -> Result<(), Gone> {
        let mut connection = Connection::open(port, &self.name)?;
        connection.subscribe(&self.filter, QoS::ExactlyOnce, 1);
        connection.send()?;
        while !self.subscribed {
            connection.packets(|packet, _| self.subscribed |= matches!(packet, Packet::SubAck(_)))?;
        }
        Ok(())
    }

    /// Takes messages until the broker is gone, or nothing came for `silence`.
    pub(super) fn run(&mut self, port: u16, silence: Duration) -> Result<(), Gone> {
        let mut connection = Connection::open(port, &self.name)?;
        assert!(connection.session_present, "the session of {} is lost", self.name);
        let mut last = Instant::now();
        while last.elapsed() < silence {
            let before = self.got.len() + self.unreleased.len();
            connection.packets(|packet, out| self.handle(packet, out))?;
            if before != self.got.len() + self.unreleased.len() {
                last = Instant::now();
            }
        }
        Ok(())
    }

    fn handle(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::Publish(publish) => {
                let identifier = publish.packet_identifier.expect("QoS 1 or 2");
                if publish.qos == QoS::AtLeastOnce {
                    self.take(publish);
                    acknowledge(PacketType::PubAck, identifier, out);
                } else {
                    if self.unreleased.insert(identifier.get()) {
                        self.take(publish);
                    }
                    acknowledge(PacketType::PubRec, identifier, out);
                }
            }
            Packet::PubRel(ack) => {
                self.unreleased.remove(&ack.packet_identifier.get());
                acknowledge(PacketType::PubComp, ack.packet_identifier, out);
            }
            other => panic!("{}: not {other:?}", self.name),
        }
    }

    fn take(&mut self, publish: &Publish<'_>) {
        let text = std::str::from_utf8(publish.payload).unwrap();
        let (name, number) = text.split_once(' ').unwrap();
        self.got
            .push((publish.qos, name.to_owned(), number.parse().unwrap()));
    }

    /// What a publisher's client was promised is there, in order, at QoS 2 once.
    pub(super) fn check(&self, publisher: &Publisher, qos: QoS) {
        let of_it = self.got.iter().filter(|(_, name, _)| *name == publisher.name);
        let mut seen = BTreeSet::new();
        let mut first: Vec<u64> = Vec::new();
        for &(got_at, _, number) in of_it {
            assert_eq!(got_at, qos, "of {}", publisher.name);
            let is_new = seen.insert(number);
            assert!(
                is_new || qos == QoS::AtLeastOnce,
                "{} got {number} of {} twice at QoS 2",
                self.name,
                publisher.name
            );
            if is_new {
                first.push(number);
            }
        }
        assert!(
            first.is_sorted(),
            "{}: the order of {}",
            self.name,
            publisher.name
        );
        let missing: Vec<_> = publisher
            .acknowledged
            .iter()
            .filter(|number| !seen.contains(number))
            .collect();
        assert!(
            missing.is_empty(),
            "{} never got {} of {} acknowledged messages of {}, such as {:?}",
            self.name,
            missing.len(),
            publisher.acknowledged.len(),
            publisher.name,
            missing.iter().take(10).collect::<Vec<_>>()
        );
    }
}
