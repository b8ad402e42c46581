//! The MQTT connection of `loadgen pub` and `loadgen sub`: CONNECT and CONNACK, Keep Alive, DISCONNECT.
//!
//! Invariant: the connection is kept alive as long as [`Session::next`] is called at least once per half Keep Alive.
//! If a broker does not answer for a whole Keep Alive, the connection is given up.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::packet::{Packet, Will};
use mqtt::property::Property;
use mqtt::version::ProtocolVersion;
use rustls::ClientConfig;
use transport::stream::SecureStream;

use super::args::ClientSettings;
use super::packet_lines;
use crate::connection::login::{self, Granted, Login};
use crate::connection::{BlockingConnection, Broken, Destination, WholePacket};
use crate::scenario::properties::Carrier;
use crate::system::error::Failure;
use crate::system::output::{be_quiet, note};
use crate::target::{client_tls, resource};

/// A connection that the broker has accepted.
#[derive(Debug)]
pub(super) struct Session<'a> {
    connection: BlockingConnection,
    pub(super) version: ProtocolVersion,
    /// The limits that the broker's CONNACK stated.
    pub(super) granted: Granted,
    /// The client whose packets are shown.
    shown: Option<String>,
    keep_alive: Option<Duration>,
    sent: Instant,
    asked: Option<Instant>,
    interrupted: &'a AtomicBool,
}

/// The event that ended [`Session::next`].
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// A packet that its caller has to handle.
    Packet(WholePacket),
    /// No packet arrived in time.
    Quiet,
    /// The user interrupted the program.
    Interrupted,
}

impl<'a> Session<'a> {
    /// Connects, after printing the warnings of the settings.
    pub(super) fn open(
        settings: &ClientSettings,
        interrupted: &'a AtomicBool,
    ) -> Result<Session<'a>, Failure> {
        if settings.quiet {
            be_quiet();
        }
        for warning in &settings.warnings {
            note(warning);
        }
        let tls = tls_config(settings)?;
        let to = match &settings.unix {
            Some(path) => path.display().to_string(),
            None => format!("{} port {}", settings.host, settings.port),
        };
        Session::connect(settings, tls.as_ref(), interrupted).map_err(|broken| match broken {
            Broken::Closed | Broken::Packet(_) if tls.is_none() && settings.unix.is_none() => {
                Failure::Connect(format!(
                    "cannot connect to {to}: {broken}; if this port speaks TLS, give --cafile FILE"
                ))
            }
            _ => Failure::Connect(format!("cannot connect to {to}: {broken}")),
        })
    }

    /// Reconnects, without repeating the warnings and questions of [`Session::open`].
    pub(super) fn open_again(
        settings: &ClientSettings,
        interrupted: &'a AtomicBool,
    ) -> Result<Session<'a>, Broken> {
        let tls = tls_config(settings).map_err(|failure| Broken::Refused(failure.to_string()))?;
        Session::connect(settings, tls.as_ref(), interrupted)
    }

    /// Waits for a while; returns whether the user interrupts in that time.
    pub(super) fn pause(&self, until: Instant) -> bool {
        while Instant::now() < until && !self.interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        self.interrupted.load(Ordering::Relaxed)
    }

    fn connect(
        settings: &ClientSettings,
        tls: Option<&Arc<ClientConfig>>,
        interrupted: &'a AtomicBool,
    ) -> Result<Session<'a>, Broken> {
        let deadline = Instant::now() + settings.connect_timeout;
        let connect = encode_connect(settings)?;
        let to = destination(settings)?;
        let mut connection = BlockingConnection::open(&to, stream(settings, tls)?, deadline)?;
        let shown = settings.debug.then(|| settings.client_identifier.clone());
        packet_lines::sending(shown.as_deref(), &connect, settings.version);
        let granted = connection
            .log_in(&connect, settings.version, deadline, interrupted)
            .map_err(|broken| match broken {
                Broken::Timeout(_) => Broken::Timeout(settings.connect_timeout.as_secs()),
                broken => broken,
            })?;
        packet_lines::accepted(shown.as_deref());
        let keep_alive_s = granted.server_keep_alive_s.unwrap_or(settings.keep_alive_s);
        Ok(Session {
            connection,
            version: settings.version,
            granted,
            shown,
            keep_alive: (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into())),
            sent: Instant::now(),
            asked: None,
            interrupted,
        })
    }

    /// Sends packets, which counts for the Keep Alive.
    pub(super) fn send(&mut self, packets: &[u8]) -> Result<(), Broken> {
        self.sent = Instant::now();
        packet_lines::sending(self.shown.as_deref(), packets, self.version);
        self.connection.send(packets)
    }

    /// The next packet, or `None` by that time. Answers of the broker that only keep the connection alive are handled
    /// here, and its DISCONNECT is an error.
    pub(super) fn next(&mut self, until: Option<Instant>) -> Result<SessionEvent, Broken> {
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(SessionEvent::Interrupted);
            }
            self.keep_alive()?;
            let look = Instant::now() + LOOK;
            let whole = self
                .connection
                .next(until.map_or(look, |until| until.min(look)))?;
            let Some(whole) = whole else {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(SessionEvent::Quiet);
                }
                continue;
            };
            let packet = whole.packet(self.version)?;
            packet_lines::received(self.shown.as_deref(), &packet);
            match packet {
                Packet::PingResp => self.asked = None,
                Packet::Disconnect(disconnect) => return Err(login::disconnected(&disconnect)),
                _ => return Ok(SessionEvent::Packet(whole)),
            }
        }
    }

    fn keep_alive(&mut self) -> Result<(), Broken> {
        let Some(interval) = self.keep_alive else {
            return Ok(());
        };
        if self.asked.is_some_and(|asked| asked.elapsed() >= interval) {
            return Err(Broken::Timeout(interval.as_secs()));
        }
        if self.asked.is_none() && self.sent.elapsed() >= interval / 2 {
            self.asked = Some(Instant::now());
            let mut ping = Vec::new();
            encode::pingreq(&mut ping);
            return self.send(&ping);
        }
        Ok(())
    }

    /// Sends DISCONNECT and ends the connection.
    pub(super) fn close(self) {
        self.connection.close(self.version);
    }
}

fn destination(settings: &ClientSettings) -> Result<Destination, Broken> {
    if let Some(path) = &settings.unix {
        return Ok(Destination::Unix(path.clone()));
    }
    let local: Vec<IpAddr> = match &settings.bind {
        Some(host) => addresses_of(host, 0)?.iter().map(SocketAddr::ip).collect(),
        None => Vec::new(),
    };
    Ok(Destination::Addresses {
        addresses: addresses_of(&settings.host, settings.port)?,
        local,
    })
}

/// All addresses that a host name resolves to.
fn addresses_of(host: &str, port: u16) -> Result<Vec<SocketAddr>, Broken> {
    let no_address = |why: String| Broken::Refused(format!("{host} has no address: {why}"));
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| no_address(error.to_string()))?
        .collect();
    match found.is_empty() {
        true => Err(no_address("the name is unknown".to_owned())),
        false => Ok(found),
    }
}

/// The layers between the socket and the packets.
fn stream(settings: &ClientSettings, tls: Option<&Arc<ClientConfig>>) -> Result<SecureStream, Broken> {
    let stream = SecureStream::client(tls, &settings.host)?;
    let Some(path) = settings.web_socket.as_deref() else {
        return Ok(stream);
    };
    let resource = resource(&settings.host, settings.port, path);
    let resource = resource.map_err(|failure| Broken::Refused(failure.to_string()))?;
    Ok(stream.upgrading(&resource))
}

fn tls_config(settings: &ClientSettings) -> Result<Option<Arc<ClientConfig>>, Failure> {
    let tls = settings.tls.as_ref();
    tls.map(|tls| client_tls(&tls.as_client(), &settings.key_passphrase))
        .transpose()
}

fn encode_connect(settings: &ClientSettings) -> Result<Vec<u8>, Broken> {
    let mut properties = settings.properties.of(Carrier::Connect, None)?;
    if settings.version == ProtocolVersion::V5 && settings.session_expiry_s > 0 {
        properties.push(Property::SessionExpiryInterval(settings.session_expiry_s))?;
    }
    let will_properties = settings.properties.of(Carrier::Will, None)?;
    let will = settings.will.as_ref().map(|will| Will {
        qos: will.qos,
        retain: will.retain,
        properties: will_properties.as_properties(),
        topic: &will.topic,
        payload: will.payload.as_bytes(),
    });
    let login = Login {
        version: settings.version,
        clean_start: settings.clean_start,
        keep_alive_s: settings.keep_alive_s,
        client_identifier: &settings.client_identifier,
        credentials: &settings.credentials,
        number: None,
        properties: properties.as_properties(),
        will,
    };
    let mut packet = Vec::new();
    login.encode(&mut packet)?;
    Ok(packet)
}

/// Interval of checking for an interruption.
const LOOK: Duration = Duration::from_millis(100);
