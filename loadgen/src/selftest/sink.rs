//! A server that takes everything and hands a PUBLISH to whoever subscribed to its very topic: no broker, no session, no
//! QoS 2.
//!
//! Invariants: one thread with one ring; each connection has at most one send in the ring, and what comes meanwhile
//! waits; the thread ends with the [`Sink`]. It lets in the clients that it is made for, on 127.0.0.1 only, and bounds nothing else:
//! it is for the generator's own clients.

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
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port, no ring or no thread.
    pub fn start() -> Result<Sink, Failure> {
        transport::socket::raise_descriptor_limit();
        let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true);
        let listener = listener.map_err(Failure::system("cannot open the sink's port"))?;
        let address = socket::local_address(listener.as_fd())
            .map_err(Failure::system("cannot read the sink's port"))?;
        let over = Arc::new(AtomicBool::new(false));
        let (sender, made) = std::sync::mpsc::channel();
        let ended = Arc::clone(&over);
        let work = move || match Ring::new(&RING) {
            Ok(ring) => {
                // Whoever started this waits for it.
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

    /// Where it listens.
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
    guests: Vec<Option<Guest>>,
    /// Topic to slots.
    subscribers: HashMap<String, Vec<usize>>,
    dirty: Vec<usize>,
    /// What is to be handed on: slot and bytes.
    parcels: Vec<(usize, usize, usize)>,
    parcel_bytes: Vec<u8>,
}

struct Guest {
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
            guests: Vec::new(),
            subscribers: HashMap::new(),
            dirty: Vec::new(),
            parcels: Vec::new(),
            parcel_bytes: Vec::new(),
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
                    self.welcome(socket);
                }
                if !more {
                    self.ring.accept(&self.listener, LISTENER);
                }
            }
            Completion::Received { token, buffer, more } => {
                let slot = token.0 as usize;
                let mut guest = self.guests.get_mut(slot).and_then(Option::take);
                if let Some(guest) = &mut guest {
                    guest.unread.extend_from_slice(self.ring.bytes(&buffer));
                }
                self.ring.recycle(buffer);
                if let Some(guest) = guest {
                    self.read(slot, guest, more);
                }
            }
            Completion::ReceiveEnded { token, cause } => match (cause, self.guest(token.0 as usize)) {
                (ReceiveEnd::NoBuffers, Some(_)) => self.receive(token.0 as usize),
                _ => self.leave(token.0 as usize),
            },
            Completion::Sent { token, result, .. } => {
                let slot = token.0 as usize;
                match self.guest(slot) {
                    Some(guest) if result.is_ok() => {
                        guest.sending = false;
                        self.mark(slot);
                    }
                    _ => self.leave(slot),
                }
            }
            Completion::Connected { .. } | Completion::Woken | Completion::NotWoken { .. } => {}
        }
    }

    fn guest(&mut self, slot: usize) -> Option<&mut Guest> {
        self.guests.get_mut(slot)?.as_mut()
    }

    /// Slots are never used again, so nothing that comes late finds another's.
    fn welcome(&mut self, socket: Socket) {
        let slot = self.guests.len();
        self.guests.push(Some(Guest {
            socket,
            unread: Vec::new(),
            out: Vec::new(),
            sending: false,
            dirty: false,
        }));
        self.receive(slot);
    }

    fn receive(&mut self, slot: usize) {
        if let Some(Some(guest)) = self.guests.get(slot) {
            self.ring.receive_multishot(&guest.socket, Token(slot as u64));
        }
    }

    fn leave(&mut self, slot: usize) {
        if let Some(guest) = self.guests.get_mut(slot).and_then(Option::take) {
            socket::shut_down(guest.socket.as_fd());
        }
    }

    /// Answers what came whole, and hands on what others subscribed to.
    fn read(&mut self, slot: usize, mut guest: Guest, more: bool) {
        let mut taken = 0;
        let mut went_well = true;
        while went_well {
            match frame::split(guest.unread.get(taken..).unwrap_or_default(), PACKET_BYTES_MAX) {
                Ok(Some(frame)) => {
                    let end = taken + frame.wire_bytes;
                    let whole = guest.unread.get(taken..end).unwrap_or_default();
                    went_well = self.answer(slot, &frame, whole, &mut guest.out).is_ok();
                    taken = end;
                }
                Ok(None) => break,
                Err(_) => went_well = false,
            }
        }
        guest.unread.drain(..taken);
        if let Some(place) = self.guests.get_mut(slot) {
            *place = Some(guest);
        }
        if !went_well {
            return self.leave(slot);
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
        let from = self.parcel_bytes.len();
        self.parcel_bytes.extend_from_slice(whole);
        let to = self.parcel_bytes.len();
        self.parcels.extend(slots.iter().map(|&slot| (slot, from, to)));
        Ok(())
    }

    fn deliver(&mut self) {
        let parcels = std::mem::take(&mut self.parcels);
        let bytes = std::mem::take(&mut self.parcel_bytes);
        for &(slot, from, to) in &parcels {
            if let Some(guest) = self.guest(slot) {
                guest
                    .out
                    .extend_from_slice(bytes.get(from..to).unwrap_or_default());
                self.mark(slot);
            }
        }
        (self.parcels, self.parcel_bytes) = (parcels, bytes);
        self.parcels.clear();
        self.parcel_bytes.clear();
    }

    fn mark(&mut self, slot: usize) {
        let Some(guest) = self.guest(slot) else { return };
        if !guest.dirty && !guest.out.is_empty() {
            guest.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(Some(guest)) = self.guests.get_mut(slot) else {
                continue;
            };
            guest.dirty = false;
            if guest.sending || guest.out.is_empty() {
                continue;
            }
            let sent = match socket::send_now(guest.socket.as_fd(), &guest.out) {
                Ok(sent) => sent,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.leave(slot);
                    continue;
                }
            };
            if sent < guest.out.len() {
                let bytes = std::mem::take(&mut guest.out);
                guest.sending = true;
                self.ring.send(&guest.socket, Token(slot as u64), bytes, sent);
            } else {
                guest.out.clear();
            }
        }
        self.dirty = dirty;
    }
}

/// No connection has it: slots count from 0.
const LISTENER: Token = Token(u32::MAX as u64);
const LOOK: Duration = Duration::from_millis(200);
const PACKET_BYTES_MAX: u32 = 1 << 20;
const RING: RingOptions = RingOptions {
    entries: 1024,
    completions: 8192,
    buffers: 512,
    buffer_bytes: 16 * 1024,
};
