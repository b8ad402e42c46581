//! A server that accepts every client and passes a PUBLISH to the subscribers of exactly its topic. It has no
//! sessions and no QoS 2.
//!
//! Invariants: it is one thread with one io_uring instance. Each connection has at most one send in the ring, and
//! newer output waits. The thread ends when the [`Sink`] is dropped. It listens on 127.0.0.1 only and serves only the
//! generator's clients, so nothing else is bounded.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mqtt::encode;
use mqtt::error::DecodeError;
use mqtt::frame::{self, Frame, PacketType};
use mqtt::packet::{ConnAck, Packet, QoS};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion::V3_1_1;
use transport::ring::{Completion, ReceiveEnd, Ring, RingOptions, Token, Waker};
use transport::socket::{self, Socket};

use crate::system::error::Failure;

/// A sink that runs until it is dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Starts a sink on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port, ring or thread can be created.
    pub fn start() -> Result<Sink, Failure> {
        transport::socket::raise_descriptor_limit();
        let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true);
        let listener = listener.map_err(Failure::system("cannot open the sink's port"))?;
        let address = socket::local_address(listener.as_fd())
            .map_err(Failure::system("cannot read the sink's port"))?;
        let over = Arc::new(AtomicBool::new(false));
        let (sender, made) = std::sync::mpsc::channel();
        let ended = Arc::clone(&over);
        let work = move || match RING.ring_or_smaller() {
            Ok(ring) => {
                // The thread that starts the sink waits for this.
                let _ = sender.send(Ok(ring.waker()));
                Server::new(ring, listener.into()).serve(&ended);
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        };
        let builder = std::thread::Builder::new().name("sink".to_owned());
        let thread = builder
            .spawn(work)
            .map_err(Failure::system("cannot start the sink's thread"))?;
        let waker = made.recv().map_err(|_| Failure::Thread)??;
        Ok(Sink {
            address,
            over,
            waker,
            thread: Some(thread),
        })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

struct Server {
    ring: Ring,
    listener: Socket,
    clients: Vec<Option<SinkClient>>,
    /// The slots of the subscribers of each topic.
    subscribers: HashMap<String, Vec<usize>>,
    dirty: Vec<usize>,
    /// What is to be passed on: slot and bytes.
    deliveries: Vec<(usize, usize, usize)>,
    delivery_bytes: Vec<u8>,
}

struct SinkClient {
    socket: Socket,
    unread: Vec<u8>,
    out: Vec<u8>,
    sending: bool,
    dirty: bool,
}

impl Server {
    fn new(mut ring: Ring, listener: Socket) -> Server {
        ring.accept(&listener, LISTENER);
        Server {
            ring,
            listener,
            clients: Vec::new(),
            subscribers: HashMap::new(),
            dirty: Vec::new(),
            deliveries: Vec::new(),
            delivery_bytes: Vec::new(),
        }
    }

    fn serve(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Acquire) && self.ring.wait(Some(LOOK)).is_ok() {
            while let Some(completion) = self.ring.next() {
                self.complete(completion);
            }
            self.flush();
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { socket, more, .. } => {
                if let Ok(socket) = socket {
                    self.add_client(socket);
                }
                if !more {
                    self.ring.accept(&self.listener, LISTENER);
                }
            }
            Completion::Received { token, buffer, more } => {
                let slot = token.0 as usize;
                let mut client = self.clients.get_mut(slot).and_then(Option::take);
                if let Some(client) = &mut client {
                    client.unread.extend_from_slice(self.ring.bytes(&buffer));
                }
                self.ring.recycle(buffer);
                if let Some(client) = client {
                    self.read(slot, client, more);
                }
            }
            Completion::ReceiveEnded { token, cause } => match (cause, self.client(token.0 as usize)) {
                (ReceiveEnd::NoBuffers, Some(_)) => self.receive(token.0 as usize),
                _ => self.close(token.0 as usize),
            },
            Completion::Sent { token, result, .. } => {
                let slot = token.0 as usize;
                match self.client(slot) {
                    Some(client) if result.is_ok() => {
                        client.sending = false;
                        self.mark(slot);
                    }
                    _ => self.close(slot),
                }
            }
            Completion::Connected { .. } | Completion::Woken | Completion::NotWoken { .. } => {}
        }
    }

    fn client(&mut self, slot: usize) -> Option<&mut SinkClient> {
        self.clients.get_mut(slot)?.as_mut()
    }

    /// Slots are never reused, so a late completion never reaches another client.
    fn add_client(&mut self, socket: Socket) {
        let slot = self.clients.len();
        self.clients.push(Some(SinkClient {
            socket,
            unread: Vec::new(),
            out: Vec::new(),
            sending: false,
            dirty: false,
        }));
        self.receive(slot);
    }

    fn receive(&mut self, slot: usize) {
        if let Some(Some(client)) = self.clients.get(slot) {
            self.ring.receive_multishot(&client.socket, Token(slot as u64));
        }
    }

    fn close(&mut self, slot: usize) {
        if let Some(client) = self.clients.get_mut(slot).and_then(Option::take) {
            socket::shut_down(client.socket.as_fd());
        }
    }

    /// Answers whole packets, and passes each PUBLISH on to the subscribers of its topic.
    fn read(&mut self, slot: usize, mut client: SinkClient, more: bool) {
        let mut taken = 0;
        let mut went_well = true;
        while went_well {
            match frame::split(client.unread.get(taken..).unwrap_or_default(), PACKET_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let end = taken + frame.wire_bytes;
                    let whole = client.unread.get(taken..end).unwrap_or_default();
                    went_well = self.answer(slot, &frame, whole, &mut client.out).is_ok();
                    taken = end;
                }
                Ok(None) => break,
                Err(_) => went_well = false,
            }
        }
        client.unread.drain(..taken);
        if let Some(place) = self.clients.get_mut(slot) {
            *place = Some(client);
        }
        if !went_well {
            return self.close(slot);
        }
        if !more {
            self.receive(slot);
        }
        self.mark(slot);
        self.deliver();
    }

    fn answer(
        &mut self,
        slot: usize,
        frame: &Frame<'_>,
        whole: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if frame.packet_type == PacketType::Publish {
            return self.publish(frame, whole, out);
        }
        match mqtt::decode::packet(frame, V3_1_1)? {
            Packet::Connect(_) => ConnAck {
                session_present: false,
                reason: ReasonCode::Success,
                properties: Properties::EMPTY,
            }
            .encode(V3_1_1, out),
            Packet::Subscribe(subscribe) => {
                let mut granted = Vec::new();
                for (filter, _) in subscribe.filters.iter() {
                    self.subscribers.entry(filter.to_owned()).or_default().push(slot);
                    granted.push(QoS::AtMostOnce as u8);
                }
                let none = Properties::EMPTY;
                encode::suback(subscribe.packet_identifier, none, &granted, V3_1_1, out);
            }
            Packet::PingReq => encode::pingresp(out),
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, frame: &Frame<'_>, whole: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let publish = mqtt::decode::publish(frame, V3_1_1)?;
        if let Some(identifier) = publish.packet_identifier {
            encode::ack(PacketType::PubAck, identifier, ReasonCode::Success, V3_1_1, out);
        }
        let Some(slots) = self.subscribers.get(publish.topic) else {
            return Ok(());
        };
        let from = self.delivery_bytes.len();
        self.delivery_bytes.extend_from_slice(whole);
        let to = self.delivery_bytes.len();
        self.deliveries.extend(slots.iter().map(|&slot| (slot, from, to)));
        Ok(())
    }

    fn deliver(&mut self) {
        let deliveries = std::mem::take(&mut self.deliveries);
        let bytes = std::mem::take(&mut self.delivery_bytes);
        for &(slot, from, to) in &deliveries {
            if let Some(client) = self.client(slot) {
                client
                    .out
                    .extend_from_slice(bytes.get(from..to).unwrap_or_default());
                self.mark(slot);
            }
        }
        (self.deliveries, self.delivery_bytes) = (deliveries, bytes);
        self.deliveries.clear();
        self.delivery_bytes.clear();
    }

    fn mark(&mut self, slot: usize) {
        let Some(client) = self.client(slot) else { return };
        if !client.dirty && !client.out.is_empty() {
            client.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(Some(client)) = self.clients.get_mut(slot) else {
                continue;
            };
            client.dirty = false;
            if client.sending || client.out.is_empty() {
                continue;
            }
            let sent = match socket::send_now(client.socket.as_fd(), &client.out) {
                Ok(sent) => sent,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.close(slot);
                    continue;
                }
            };
            if sent < client.out.len() {
                let bytes = std::mem::take(&mut client.out);
                client.sending = true;
                let rest = sent..bytes.len();
                self.ring.send(&client.socket, Token(slot as u64), bytes, rest);
            } else {
                client.out.clear();
            }
        }
        self.dirty = dirty;
    }
}

/// A token that no connection has: slots count from 0.
const LISTENER: Token = Token(u32::MAX as u64);
const LOOK: Duration = Duration::from_millis(200);
const PACKET_BYTES_MAX: u32 = 1 << 20;
const RING: RingOptions = RingOptions {
    entries: 1024,
    completions: 8192,
    buffers: 512,
    buffer_bytes: 16 * 1024,
};
