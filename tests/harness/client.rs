//! A small blocking client that waits for what it expects and says what came instead.
//!
//! Messages that come while something else is awaited are kept and handed out later in their order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::{Auth, Packet, PacketIdentifier, Publish, RetainHandling, SubscriptionOptions};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, ReasonCode, encode};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::options::Options;
use super::stream::Stream;
use super::web_socket::WebSocketStream;
use super::{Broker, Message, Received, TIMEOUT};

/// A connection to the broker.
pub(crate) struct Client {
    stream: Stream,
    version: ProtocolVersion,
    unread: Vec<u8>,
    messages: VecDeque<Received>,
    next_identifier: u16,
}

/// What came, if anything.
#[derive(Debug)]
enum Event {
    Packet(Received),
    Closed,
    Nothing,
}

impl Client {
    /// A connection without a CONNECT.
    pub(crate) fn open(broker: &Broker) -> Self {
        Self::open_at(broker.address(), &Options::new(""))
    }

    /// A connection without a CONNECT, whose packets are read as those of `version`.
    pub(crate) fn open_as(broker: &Broker, version: ProtocolVersion) -> Self {
        Self::open_at(broker.address(), &Options::new("").version(version))
    }

    /// The same over TLS.
    pub(crate) fn open_tls(broker: &Broker, config: Arc<ClientConfig>) -> Self {
        Self::open_at(broker.address(), &Options::new("").tls(config))
    }

    fn open_at(address: SocketAddr, options: &Options) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = match &options.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = "localhost".try_into().unwrap();
                let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
                Stream::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        };
        let stream = if options.web_socket {
            Stream::WebSocket(Box::new(WebSocketStream::over(stream)))
        } else {
            stream
        };
        let version = options.version;
        Self {
            stream,
            version,
            unread: Vec::new(),
            messages: VecDeque::new(),
            next_identifier: 0,
        }
    }

    /// A client of another listener, which accepted it.
    pub(crate) fn connect_at(port: u16, options: &Options) -> Self {
        let mut client = Self::open_at((Ipv4Addr::LOCALHOST, port).into(), options);
        client.send(&options.encode());
        client.expect(PacketType::ConnAck);
        client
    }

    /// A client that the broker accepted.
    pub(crate) fn connect(broker: &Broker, options: &Options) -> Self {
        Self::connect_session(broker, options).0
    }

    /// As [`Client::connect`], with Session Present.
    pub(crate) fn connect_session(broker: &Broker, options: &Options) -> (Self, bool) {
        let (client, answer) = Self::try_connect(broker, options);
        match answer.as_ref().map(Received::packet) {
            Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
                (client, connack.session_present)
            }
            other => panic!(
                "the broker did not accept {}: {other:?}",
                options.client_identifier
            ),
        }
    }

    /// Sends the CONNECT; the broker's answer, or nothing if it closed.
    pub(crate) fn try_connect(broker: &Broker, options: &Options) -> (Self, Option<Received>) {
        let mut client = Self::open_at(broker.address(), options);
        // A connection that the broker closes first is no mistake of the test's.
        let _sent = client.stream.write_all(&options.encode());
        let answer = match client.next(TIMEOUT) {
            Event::Packet(packet) => Some(packet),
            Event::Closed => None,
            Event::Nothing => panic!("no answer to CONNECT"),
        };
        (client, answer)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends an AUTH with these properties.
    pub(crate) fn send_auth(&mut self, reason: ReasonCode, method: &str, data: &[u8]) {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(method)).unwrap();
        properties.push(Property::AuthenticationData(data)).unwrap();
        let mut out = Vec::new();
        Auth {
            reason,
            properties: properties.as_properties(),
        }
        .encode(self.version, &mut out);
        self.send(&out);
    }

    /// The next packet of this type, which must be the next one that is not a message.
    pub(crate) fn expect(&mut self, packet_type: PacketType) -> Received {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Event::Packet(packet) if packet.packet_type() == packet_type => return packet,
                Event::Packet(packet) if packet.packet_type() == PacketType::Publish => {
                    self.messages.push_back(packet)
                }
                other => panic!("{packet_type:?} was expected, not {other:?}"),
            }
        }
    }

    /// The bytes of the next packet, whatever it is.
    pub(crate) fn expect_bytes(&mut self) -> Vec<u8> {
        match self
            .messages
            .pop_front()
            .map_or_else(|| self.next(TIMEOUT), Event::Packet)
        {
            Event::Packet(packet) => packet.bytes().to_vec(),
            other => panic!("a packet was expected, not {other:?}"),
        }
    }

    /// Publishes and waits until the broker has taken the message over.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        self.publish_with(topic, payload, qos, false);
    }

    pub(crate) fn publish_retained(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        self.publish_with(topic, payload, qos, true);
    }

    fn publish_with(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) {
        let packet_identifier = self.send_publish(topic, payload, qos, retain);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert_eq!(self.expect(PacketType::PubAck).acknowledged(), packet_identifier),
            QoS::ExactlyOnce => {
                assert_eq!(self.expect(PacketType::PubRec).acknowledged(), packet_identifier);
                self.acknowledge(PacketType::PubRel, packet_identifier.unwrap());
                assert_eq!(self.expect(PacketType::PubComp).acknowledged(), packet_identifier);
            }
        }
    }

    /// Sends a PUBLISH and waits for nothing.
    pub(crate) fn send_publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Option<PacketIdentifier> {
        let packet_identifier = (qos != QoS::AtMostOnce).then(|| self.take_identifier());
        self.send_again(topic, payload, qos, retain, packet_identifier, false);
        packet_identifier
    }

    /// Sends a PUBLISH with a packet identifier of the test's choice.
    pub(crate) fn send_again(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        packet_identifier: Option<PacketIdentifier>,
        dup: bool,
    ) {
        let properties = Properties::EMPTY;
        let publish = Publish {
            dup,
            qos,
            retain,
            topic,
            packet_identifier,
            properties,
            payload,
        };
        let mut out = Vec::new();
        publish.encode(self.version, &mut out).unwrap();
        self.send(&out);
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(crate) fn acknowledge(&mut self, packet_type: PacketType, packet_identifier: PacketIdentifier) {
        let mut out = Vec::new();
        encode::ack(
            packet_type,
            packet_identifier,
            ReasonCode::Success,
            self.version,
            &mut out,
        );
        self.send(&out);
    }

    /// Subscribes to one filter; the reason code.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) -> u8 {
        let packet_identifier = self.take_identifier();
        self.send(&subscribe_packet(&[filter], qos, packet_identifier, self.version));
        let answer = self.expect(PacketType::SubAck);
        match answer.packet() {
            Packet::SubAck(suback) if suback.packet_identifier == packet_identifier => suback.reason_codes[0],
            other => panic!("another SUBACK: {other:?}"),
        }
    }

    /// Subscribes to all of them in one packet; how many are granted.
    pub(crate) fn subscribe_all(&mut self, filters: &[String], qos: QoS) -> usize {
        let packet_identifier = self.take_identifier();
        self.send(&subscribe_packet(filters, qos, packet_identifier, self.version));
        let answer = self.expect(PacketType::SubAck);
        let Packet::SubAck(suback) = answer.packet() else {
            panic!("another answer: {answer:?}");
        };
        suback.reason_codes.iter().filter(|&&code| code < 0x80).count()
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        let packet_identifier = self.take_identifier();
        self.send(&unsubscribe_packet(&[filter], packet_identifier, self.version));
        assert_eq!(
            self.expect(PacketType::UnsubAck).acknowledged(),
            Some(packet_identifier)
        );
    }

    /// The next message, acknowledged to its end.
    pub(crate) fn message(&mut self) -> Message {
        let message = self.message_unacknowledged();
        match (message.qos, message.packet_identifier) {
            (QoS::AtLeastOnce, Some(identifier)) => self.acknowledge(PacketType::PubAck, identifier),
            (QoS::ExactlyOnce, Some(identifier)) => {
                self.acknowledge(PacketType::PubRec, identifier);
                assert_eq!(self.expect(PacketType::PubRel).acknowledged(), Some(identifier));
                self.acknowledge(PacketType::PubComp, identifier);
            }
            _ => {}
        }
        message
    }

    /// The next message, not acknowledged.
    pub(crate) fn message_unacknowledged(&mut self) -> Message {
        match self.messages.pop_front() {
            Some(packet) => packet.message(),
            None => self.expect(PacketType::Publish).message(),
        }
    }

    /// The payloads of the next messages, in their order.
    pub(crate) fn payloads(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| String::from_utf8(self.message().payload).unwrap())
            .collect()
    }

    /// The payloads of the messages that are there: what was acknowledged to its publisher before is among them.
    pub(crate) fn arrived(&mut self) -> Vec<String> {
        self.ping();
        self.payloads(self.messages.len())
    }

    /// Fails if anything comes for a while.
    pub(crate) fn expect_nothing(&mut self) {
        assert!(self.messages.is_empty(), "a message came: {:?}", self.messages);
        match self.next(super::SILENCE) {
            Event::Nothing => {}
            other => panic!("nothing was expected, not {other:?}"),
        }
    }

    /// Waits for the broker to close; the reason of its DISCONNECT if it sent one, and for how long it took.
    pub(crate) fn expect_closed(&mut self) -> (Option<ReasonCode>, Duration) {
        let begin = Instant::now();
        let mut reason = None;
        loop {
            match self.next(TIMEOUT) {
                Event::Closed => return (reason, begin.elapsed()),
                Event::Nothing => panic!("the broker did not close"),
                Event::Packet(packet) => {
                    if let Packet::Disconnect(disconnect) = packet.packet() {
                        reason = Some(disconnect.reason);
                    }
                }
            }
        }
    }

    /// PINGREQ and its answer: everything sent before it has been handled.
    pub(crate) fn ping(&mut self) {
        let mut out = Vec::new();
        encode::pingreq(&mut out);
        self.send(&out);
        self.expect(PacketType::PingResp);
    }

    /// Where the broker sees it.
    pub(crate) fn local_address(&mut self) -> SocketAddr {
        self.stream.socket().local_addr().unwrap()
    }

    /// DISCONNECT, then waits until the broker has closed too.
    pub(crate) fn disconnect(mut self) {
        self.send(&[0xe0, 0]);
        self.expect_closed();
    }

    /// Every byte until the broker closes.
    pub(crate) fn read_to_end(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        self.stream.socket().set_read_timeout(Some(TIMEOUT)).unwrap();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the broker did not close: {error}"),
        }
    }

    /// Ends its side of the stream, and goes on to read.
    pub(crate) fn end_stream(&mut self) {
        self.stream.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Says by TLS that nothing more comes, and nothing by MQTT.
    pub(crate) fn end_tls(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    }

    /// The socket of a client without TLS, for a test that reads and writes bytes as they come.
    pub(crate) fn into_non_blocking(self) -> TcpStream {
        let Stream::Plain(socket) = self.stream else {
            panic!("bytes below TLS");
        };
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }

    fn take_identifier(&mut self) -> PacketIdentifier {
        self.next_identifier = self.next_identifier.wrapping_add(1).max(1);
        PacketIdentifier::new(self.next_identifier).unwrap()
    }

    fn next(&mut self, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(packet) = Received::take(&mut self.unread, self.version) {
                return Event::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Nothing;
            }
            self.stream.socket().set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Event::Closed,
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Event::Closed,
            }
        }
    }
}

/// A SUBSCRIBE to all of these filters.
pub(crate) fn subscribe_packet(
    filters: &[impl AsRef<str>],
    qos: QoS,
    packet_identifier: PacketIdentifier,
    version: ProtocolVersion,
) -> Vec<u8> {
    let options = SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    let filters: Vec<_> = filters.iter().map(|filter| (filter.as_ref(), options)).collect();
    let mut out = Vec::new();
    let properties = Properties::EMPTY;
    encode::subscribe(packet_identifier, properties, &filters, version, &mut out).unwrap();
    out
}

/// An UNSUBSCRIBE from all of these filters.
pub(crate) fn unsubscribe_packet(
    filters: &[impl AsRef<str>],
    packet_identifier: PacketIdentifier,
    version: ProtocolVersion,
) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(AsRef::as_ref).collect();
    let mut out = Vec::new();
    let properties = Properties::EMPTY;
    encode::unsubscribe(packet_identifier, properties, &filters, version, &mut out).unwrap();
    out
}
