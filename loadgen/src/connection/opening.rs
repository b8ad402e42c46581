//! Opens a connection, from the TCP connect to the answer of CONNECT, and measures the time of each stage.
//!
//! Invariant: each stage is timed from the end of the previous one, so the stages add up to the whole. There is no I/O
//! here: the owner of the ring passes in received bytes, and sends the output.

use transport::stream::SecureStream;

use crate::measure::latency::Latency;

/// The stages in which a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The TCP connection is being established.
    Tcp,
    /// Waits for the end of the TLS handshake.
    Tls,
    /// The answer to the WebSocket upgrade has not arrived.
    WebSocket,
    /// Has sent CONNECT and waits for CONNACK.
    ConnAck,
    /// Waits for this number of SUBACKs.
    SubAck(u32),
    /// The CONNACK has arrived: packets may be sent and received.
    Ready,
    /// Has sent DISCONNECT and waits for the broker to close.
    Closing,
    /// The connection has ended.
    Closed,
}

impl Stage {
    /// The name of the stage, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Tcp => "TCP connect",
            Stage::Tls => "TLS handshake",
            Stage::WebSocket => "WebSocket upgrade",
            Stage::ConnAck => "CONNECT",
            Stage::SubAck(_) => "SUBSCRIBE",
            Stage::Ready => "load",
            Stage::Closing => "DISCONNECT",
            Stage::Closed => "closed",
        }
    }
}

/// Durations of the stages of connections.
#[derive(Clone, Debug, Default)]
pub struct StageTimes {
    /// Time of the TCP connect.
    pub tcp: Latency,
    /// Time of the TLS handshake.
    pub tls: Latency,
    /// Time of the upgrade to WebSocket.
    pub web_socket: Latency,
    /// Time from CONNECT to CONNACK.
    pub connack: Latency,
    /// TLS version and cipher suite of the first connection that has TLS.
    pub negotiated: Option<String>,
}

impl StageTimes {
    /// Adds what another thread measured.
    pub fn merge(&mut self, other: &StageTimes) {
        self.tcp.merge(&other.tcp);
        self.tls.merge(&other.tls);
        self.web_socket.merge(&other.web_socket);
        self.connack.merge(&other.connack);
        if self.negotiated.is_none() {
            self.negotiated.clone_from(&other.negotiated);
        }
    }
}

/// A connection's stage, and when it entered it.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The stage that the connection has reached.
    pub stage: Stage,
    entered_at_ns: u64,
    /// Whether the times of this connection are recorded.
    measured: bool,
}

impl Opening {
    /// A connection whose TCP connect begins now; its times are recorded if it is `measured`.
    pub fn new(now_ns: u64, measured: bool) -> Opening {
        Opening {
            stage: Stage::Tcp,
            entered_at_ns: now_ns,
            measured,
        }
    }

    /// When it entered its stage, CLOCK_MONOTONIC ns.
    pub fn entered_at_ns(&self) -> u64 {
        self.entered_at_ns
    }

    /// Notes that the TCP connection has been made.
    pub fn connected(&mut self, now_ns: u64, times: &mut StageTimes) {
        self.end_stage(Stage::Tls, now_ns, &mut times.tcp);
    }

    /// Continues as far as TLS and WebSocket allow; true when CONNECT has to be sent.
    pub fn advance(&mut self, stream: &SecureStream, now_ns: u64, times: &mut StageTimes) -> bool {
        if self.stage == Stage::Tls && !stream.is_securing() {
            match stream.negotiated() {
                Some(negotiated) => {
                    self.end_stage(Stage::WebSocket, now_ns, &mut times.tls);
                    times.negotiated.get_or_insert(negotiated);
                }
                None => self.begin_stage(Stage::WebSocket, now_ns),
            }
        }
        if self.stage != Stage::WebSocket || stream.is_handshaking() {
            return false;
        }
        if stream.is_web_socket() {
            self.end_stage(Stage::ConnAck, now_ns, &mut times.web_socket);
        } else {
            self.begin_stage(Stage::ConnAck, now_ns);
        }
        true
    }

    /// The broker has accepted the client, which is now in the stage `next`.
    pub fn accepted(&mut self, next: Stage, now_ns: u64, times: &mut StageTimes) {
        self.end_stage(next, now_ns, &mut times.connack);
    }

    fn end_stage(&mut self, next: Stage, now_ns: u64, latency: &mut Latency) {
        if self.measured {
            latency.record(now_ns.saturating_sub(self.entered_at_ns));
        }
        self.begin_stage(next, now_ns);
    }

    fn begin_stage(&mut self, stage: Stage, now_ns: u64) {
        self.stage = stage;
        self.entered_at_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_has_two_stages_that_add_up_to_the_whole() {
        let stream = SecureStream::client(None, "localhost").unwrap();
        let mut times = StageTimes::default();
        let mut opening = Opening::new(1_000, true);
        assert!(!opening.advance(&stream, 1_500, &mut times), "TCP is not there");
        opening.connected(2_000, &mut times);
        assert!(opening.advance(&stream, 2_500, &mut times));
        assert!(
            !opening.advance(&stream, 2_600, &mut times),
            "CONNECT is sent once"
        );
        opening.accepted(Stage::Ready, 4_500, &mut times);
        assert_eq!((opening.stage, opening.entered_at_ns()), (Stage::Ready, 4_500));
        assert_eq!(
            [&times.tcp, &times.tls, &times.web_socket, &times.connack].map(Latency::count),
            [1, 0, 0, 1]
        );
        let mut other = StageTimes::default();
        let mut warming_up = Opening::new(0, false);
        warming_up.connected(5, &mut other);
        assert_eq!(other.tcp.count(), 0);
        other.merge(&times);
        assert_eq!(other.tcp.count(), 1);
    }
}
