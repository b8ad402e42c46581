//! Measures what the kernel alone needs to send a message with a separate write, which limits the generator.
//!
//! Invariant: it writes the same bytes to the same number of connections of the same sink, in the same order, from a
//! thread on the same CPU. So the kernel does the same work for a send (a segment, waking the receiver) as for the
//! generator.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use transport::clock::thread_cpu_ns;

use super::Ceiling;
use crate::system::cpus::Cpus;
use crate::system::error::Failure;

/// Sends for this duration.
///
/// # Errors
/// When the sink cannot be reached or the thread cannot be pinned.
pub(super) fn measure(
    sink: SocketAddr,
    duration: Duration,
    cpus: Option<&Cpus>,
    interrupted: &AtomicBool,
) -> Result<Ceiling, Failure> {
    let measured = std::thread::scope(|scope| scope.spawn(|| send(sink, duration, cpus, interrupted)).join());
    let measured = measured.map_err(|_| Failure::Thread)?;
    measured.map_err(Failure::system("cannot send to the sink"))
}

fn send(
    sink: SocketAddr,
    duration: Duration,
    cpus: Option<&Cpus>,
    interrupted: &AtomicBool,
) -> io::Result<Ceiling> {
    if let Some(cpus) = cpus {
        cpus.one(0).confine_this_thread()?;
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(sink)?);
    }
    let packet = publish();
    let mut sent = 0_u64;
    let (began, cpu_from_ns) = (Instant::now(), thread_cpu_ns());
    while began.elapsed() < duration && !interrupted.load(Ordering::Relaxed) {
        for connection in &mut connections {
            for _ in 0..SENDS_A_TURN {
                connection.write_all(&packet)?;
            }
            sent += SENDS_A_TURN;
        }
    }
    let cpu_ns = thread_cpu_ns() - cpu_from_ns;
    Ok(Ceiling {
        per_s: sent as f64 / began.elapsed().as_secs_f64(),
        cpu_ns_per_message: cpu_ns as f64 / sent.max(1) as f64,
    })
}

fn connect(sink: SocketAddr) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect(sink)?;
    connection.set_nodelay(true)?;
    connection.write_all(CONNECT)?;
    connection.read_exact(&mut [0; CONNACK_BYTES])?;
    Ok(connection)
}

/// A PUBLISH of the same length as in the generator's run: a topic of the generator and 64 bytes.
fn publish() -> Vec<u8> {
    let topic = b"loadgen/0000/0";
    let mut packet = vec![
        0x30,
        (2 + topic.len() + PAYLOAD_BYTES) as u8,
        0,
        topic.len() as u8,
    ];
    packet.extend_from_slice(topic);
    packet.resize(packet.len() + PAYLOAD_BYTES, 7);
    packet
}

/// The CONNECT of an MQTT 3.1.1 client without an identifier.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
const CONNACK_BYTES: usize = 4;
const PAYLOAD_BYTES: usize = 64;
/// The same number as in the generator's run.
const CONNECTIONS: usize = 10;
/// The same number as when the generator visits a publisher.
const SENDS_A_TURN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::sink::Sink;

    #[test]
    fn the_sink_takes_what_is_sent() {
        let sink = Sink::start().unwrap();
        let bare = measure(
            sink.address(),
            Duration::from_millis(50),
            None,
            &AtomicBool::new(false),
        )
        .unwrap();
        assert!(bare.per_s > 0.0 && bare.cpu_ns_per_message > 0.0);
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(measure(nobody, Duration::ZERO, None, &AtomicBool::new(false)).is_err());
    }
}
