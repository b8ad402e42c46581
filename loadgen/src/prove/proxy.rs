//! A proxy between clients and a broker that disturbs what the broker sends.
//!
//! Invariants: what clients send is passed on unchanged. Packets other than PUBLISH are passed on in order. The proxy
//! ends when its value is dropped: it accepts no new connection, and an open one ends when either side closes it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mqtt::frame::{self, PacketType};

/// What happens on each connection to what the broker sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PathFault {
    /// It arrives as it was sent.
    Nothing,
    /// It arrives later by this duration.
    Delay(Duration),
    /// It stops arriving for a while, once.
    Stall {
        /// Time from the first byte to the stall.
        after: Duration,
        /// Length of the stall.
        length: Duration,
    },
    /// One PUBLISH in this many is missing.
    DropOneIn(u32),
    /// One PUBLISH in this many arrives twice.
    RepeatOneIn(u32),
    /// One PUBLISH in this many arrives after the next packet.
    SwapOneIn(u32),
    /// One PUBLISH in this many has one bit of its last byte flipped.
    FlipOneIn(u32),
    /// The connection is cut after this time.
    Cut(Duration),
    /// This many bytes arrive per second.
    BytesPerSecond(u32),
}

/// A proxy that listens on a port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy in front of the broker on this port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(broker_port: u16, fault: PathFault) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                // If the proxy fails, the client sees that its connection ends.
                let _ = connect(client, broker_port, fault);
            }
        });
        Ok(Proxy { port, over })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread that accepts; if the thread has ended already, nothing is left to do.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn connect(client: TcpStream, broker_port: u16, fault: PathFault) -> io::Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker_port))?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_client, to_broker) = (client.try_clone()?, broker.try_clone()?);
    thread::spawn(move || copy(from_client, to_broker));
    thread::spawn(move || {
        let ends = [client.try_clone(), broker.try_clone()];
        // It ends with either side, as intended.
        let _ = harm(broker, client, fault);
        for end in ends.into_iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    });
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side may end: the other side then sees it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn harm(from: TcpStream, to: TcpStream, fault: PathFault) -> io::Result<()> {
    match fault {
        PathFault::Nothing => each_chunk(from, to, |_, _| Ok(())),
        PathFault::Delay(delay) => pass_later(from, to, delay),
        PathFault::Stall { after, length } => {
            let mut stalled = false;
            each_chunk(from, to, move |elapsed, _| {
                if elapsed >= after && !std::mem::replace(&mut stalled, true) {
                    thread::sleep(length);
                }
                Ok(())
            })
        }
        PathFault::Cut(after) => {
            let timer = (from.try_clone()?, to.try_clone()?);
            thread::spawn(move || {
                thread::sleep(after);
                // The connection may have ended before.
                let _ = timer.0.shutdown(Shutdown::Both);
                let _ = timer.1.shutdown(Shutdown::Both);
            });
            each_chunk(from, to, |_, _| Ok(()))
        }
        PathFault::BytesPerSecond(rate) => pass_slowly(from, to, f64::from(rate)),
        PathFault::DropOneIn(turn) => each_publish(from, to, turn, |_, _| {}),
        PathFault::RepeatOneIn(turn) => each_publish(from, to, turn, |packet, passed| {
            passed.extend_from_slice(packet);
            passed.extend_from_slice(packet);
        }),
        PathFault::FlipOneIn(turn) => each_publish(from, to, turn, |packet, passed| {
            passed.extend_from_slice(packet);
            if let Some(last) = passed.last_mut() {
                *last ^= 1;
            }
        }),
        PathFault::SwapOneIn(turn) => swap(from, to, turn),
    }
}

/// Passes on what arrives, after `before` was called with the age of the connection and the number of bytes.
fn each_chunk(
    mut from: TcpStream,
    mut to: TcpStream,
    mut before: impl FnMut(Duration, usize) -> io::Result<()>,
) -> io::Result<()> {
    let (began, mut chunk) = (Instant::now(), [0; 16 * 1024]);
    loop {
        let bytes = from.read(&mut chunk)?;
        if bytes == 0 {
            return Ok(());
        }
        before(began.elapsed(), bytes)?;
        to.write_all(chunk.get(..bytes).unwrap_or_default())?;
    }
}

fn pass_later(mut from: TcpStream, mut to: TcpStream, delay: Duration) -> io::Result<()> {
    let (sender, chunks) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (at, chunk) in chunks {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            to.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut chunk = [0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut chunk) {
        let bytes = chunk.get(..bytes).unwrap_or_default().to_vec();
        if sender.send((Instant::now() + delay, bytes)).is_err() {
            break;
        }
    }
    drop(sender);
    writer.join().unwrap_or(Ok(()))
}

fn pass_slowly(mut from: TcpStream, mut to: TcpStream, bytes_per_s: f64) -> io::Result<()> {
    let (began, mut passed, mut chunk) = (Instant::now(), 0.0, [0; 512]);
    loop {
        let bytes = from.read(&mut chunk)?;
        if bytes == 0 {
            return Ok(());
        }
        // At most a tenth of a second is accumulated.
        passed = f64::max(passed, bytes_per_s * (began.elapsed().as_secs_f64() - 0.1)) + bytes as f64;
        to.write_all(chunk.get(..bytes).unwrap_or_default())?;
        let due = Duration::from_secs_f64(passed / bytes_per_s);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// Passes on every packet, and each PUBLISH that the fault selects as `harmed` returns it.
fn each_publish(
    from: TcpStream,
    to: TcpStream,
    turn: u32,
    mut harmed: impl FnMut(&[u8], &mut Vec<u8>),
) -> io::Result<()> {
    let mut count = 0_u32;
    each_packet(from, to, |packet, is_publish, passed| {
        count += u32::from(is_publish);
        if is_publish && count.is_multiple_of(turn) {
            harmed(packet, passed);
        } else {
            passed.extend_from_slice(packet);
        }
    })
}

/// Passes on each PUBLISH that the fault selects after the next packet.
fn swap(from: TcpStream, to: TcpStream, turn: u32) -> io::Result<()> {
    let (mut count, mut waiting) = (0_u32, Vec::new());
    each_packet(from, to, move |packet, is_publish, passed| {
        count += u32::from(is_publish);
        if is_publish && count.is_multiple_of(turn) {
            waiting = packet.to_vec();
            return;
        }
        passed.extend_from_slice(packet);
        if is_publish {
            passed.append(&mut waiting);
        }
    })
}

/// Calls `pass` with each whole packet, whether it is a PUBLISH, and the destination.
fn each_packet(
    mut from: TcpStream,
    mut to: TcpStream,
    mut pass: impl FnMut(&[u8], bool, &mut Vec<u8>),
) -> io::Result<()> {
    let (mut unread, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let bytes = from.read(&mut chunk)?;
        if bytes == 0 {
            return Ok(());
        }
        unread.extend_from_slice(chunk.get(..bytes).unwrap_or_default());
        let (mut taken, mut passed) = (0, Vec::new());
        while let Ok(Some(frame)) = frame::split(unread.get(taken..).unwrap_or_default(), u32::MAX) {
            let packet = unread.get(taken..taken + frame.wire_bytes).unwrap_or_default();
            pass(packet, frame.packet_type == PacketType::Publish, &mut passed);
            taken += frame.wire_bytes;
        }
        unread.drain(..taken);
        to.write_all(&passed)?;
    }
}
