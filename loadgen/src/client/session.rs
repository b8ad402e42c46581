//! One MQTT connection: CONNECT and CONNACK, keep alive, DISCONNECT.
//!
//! Invariant: while [`Session::next`] is called at least once in half a keep alive, the connection is kept alive, and
//! a broker that does not answer in a whole one is given up.

use std::io::Write as _;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::packet::{ConnAck, Connect, Disconnect, Packet, QoS};
use mqtt::property::{Properties, Property};
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;
use rustls::ClientConfig;

use super::args::Settings;
use super::link::{Link, Whole};
use crate::connection::Broken;
use crate::scenario::properties::Carrier;
use crate::system::error::Failure;
use crate::target::{client_tls, resource};

/// A connection that the broker has accepted.
#[derive(Debug)]
pub(super) struct Session<'a> {
    link: Link,
    pub(super) version: ProtocolVersion,
    /// Messages that may be unacknowledged.
    pub(super) receive_maximum: u16,
    /// The largest packet that the broker takes.
    pub(super) packet_bytes_max: usize,
    pub(super) maximum_qos: QoS,
    pub(super) retain_available: bool,
    pub(super) topic_alias_maximum: u16,
    keep_alive: Option<Duration>,
    sent: Instant,
    asked: Option<Instant>,
    interrupted: &'a AtomicBool,
}

/// What [`Session::next`] waited for.
#[derive(Debug)]
pub(super) enum Event {
    /// A packet came.
    Packet(Whole),
    /// None came in time.
    Quiet,
    /// The user wants to end.
    Interrupted,
}

impl<'a> Session<'a> {
    /// Connects.
    pub(super) fn open(settings: &Settings, interrupted: &'a AtomicBool) -> Result<Session<'a>, Failure> {
        for warning in &settings.warnings {
            // Who cannot be warned can still be connected.
            let _told = writeln!(std::io::stderr(), "loadgen: {warning}");
        }
        let tls = tls_config(settings)?;
        let to = format!("{} port {}", settings.host, settings.port);
        Session::connect(settings, tls.as_ref(), interrupted).map_err(|broken| match broken {
            Broken::Closed | Broken::Packet(_) if tls.is_none() => Failure::Connect(format!(
                "cannot connect to {to}: {broken}; if this port speaks TLS, give --cafile FILE"
            )),
            _ => Failure::Connect(format!("cannot connect to {to}: {broken}")),
        })
    }

    /// Connects once more, with what [`Session::open`] has warned of and asked for.
    pub(super) fn open_again(
        settings: &Settings,
        interrupted: &'a AtomicBool,
    ) -> Result<Session<'a>, Broken> {
        let tls = tls_config(settings).map_err(|failure| Broken::Refused(failure.to_string()))?;
        Session::connect(settings, tls.as_ref(), interrupted)
    }

    /// Waits for a while; whether the user wants to end meanwhile.
    pub(super) fn pause(&self, until: Instant) -> bool {
        while Instant::now() < until && !self.interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        self.interrupted.load(Ordering::Relaxed)
    }

    fn connect(
        settings: &Settings,
        tls: Option<&Arc<ClientConfig>>,
        interrupted: &'a AtomicBool,
    ) -> Result<Session<'a>, Broken> {
        let deadline = Instant::now() + settings.connect_timeout;
        let connect = encode_connect(settings)?;
        let path = settings.web_socket.as_deref();
        let resource = path.map(|path| resource(&settings.host, settings.port, path));
        let resource = resource
            .transpose()
            .map_err(|failure| Broken::Refused(failure.to_string()))?;
        let link = Link::connect(&settings.host, settings.port, tls, resource.as_ref(), deadline)?;
        let keep_alive =
            (settings.keep_alive_s > 0).then(|| Duration::from_secs(settings.keep_alive_s.into()));
        let mut session = Session {
            link,
            version: settings.version,
            receive_maximum: u16::MAX,
            packet_bytes_max: usize::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            topic_alias_maximum: 0,
            keep_alive,
            sent: Instant::now(),
            asked: None,
            interrupted,
        };
        session.send(&connect)?;
        match session.next(Some(deadline))? {
            Event::Packet(whole) => session.accept(&whole)?,
            Event::Quiet => return Err(Broken::Timeout(settings.connect_timeout.as_secs())),
            Event::Interrupted => return Err(Broken::Refused("interrupted".to_owned())),
        }
        Ok(session)
    }

    fn accept(&mut self, whole: &Whole) -> Result<(), Broken> {
        let Packet::ConnAck(ConnAck {
            reason, properties, ..
        }) = whole.packet(self.version)?
        else {
            return Err(Broken::Refused(
                "the broker answered CONNECT with another packet".to_owned(),
            ));
        };
        if reason != ReasonCode::Success {
            return Err(Broken::Refused(refusal(reason, properties)));
        }
        self.receive_maximum = properties.receive_maximum().map_or(u16::MAX, NonZeroU16::get);
        let bytes = properties.maximum_packet_size();
        self.packet_bytes_max = bytes.map_or(usize::MAX, |bytes| bytes.get() as usize);
        self.maximum_qos = properties.maximum_qos().unwrap_or(QoS::ExactlyOnce);
        self.topic_alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
        self.retain_available = properties.retain_available().unwrap_or(true);
        if let Some(seconds) = properties.server_keep_alive_s() {
            self.keep_alive = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        }
        Ok(())
    }

    /// Sends packets.
    pub(super) fn send(&mut self, packets: &[u8]) -> Result<(), Broken> {
        self.sent = Instant::now();
        self.link.send(packets)
    }

    /// The next packet, or none until then. Answers of the broker that only keep the connection are handled here, and
    /// its DISCONNECT is an error.
    pub(super) fn next(&mut self, until: Option<Instant>) -> Result<Event, Broken> {
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(Event::Interrupted);
            }
            self.keep_alive()?;
            let look = Instant::now() + LOOK;
            let whole = self.link.next(until.map_or(look, |until| until.min(look)))?;
            let Some(whole) = whole else {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(Event::Quiet);
                }
                continue;
            };
            match whole.packet(self.version)? {
                Packet::PingResp => self.asked = None,
                Packet::Disconnect(Disconnect { reason, properties }) => {
                    return Err(Broken::Disconnected(reason, detailed(reason, properties)));
                }
                _ => return Ok(Event::Packet(whole)),
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

    /// Says DISCONNECT and ends the connection.
    pub(super) fn close(mut self) {
        let mut packet = Vec::new();
        let disconnect = Disconnect {
            reason: ReasonCode::NormalDisconnection,
            properties: Properties::EMPTY,
        };
        disconnect.encode(self.version, &mut packet);
        // A broker that has gone already needs no farewell.
        if self.link.send(&packet).is_ok() {
            self.link.close();
        }
    }
}

fn tls_config(settings: &Settings) -> Result<Option<Arc<ClientConfig>>, Failure> {
    let tls = settings.tls.as_ref();
    tls.map(|tls| client_tls(&tls.as_client(), &settings.key_passphrase))
        .transpose()
}

fn encode_connect(settings: &Settings) -> Result<Vec<u8>, Broken> {
    let too_large = |error: mqtt::error::EncodeError| Broken::Refused(error.to_string());
    let given = settings.properties.of(Carrier::Connect, None);
    let mut properties = given.map_err(too_large)?;
    if settings.version == ProtocolVersion::V5 && settings.session_expiry_s > 0 {
        properties
            .push(Property::SessionExpiryInterval(settings.session_expiry_s))
            .map_err(too_large)?;
    }
    let mut packet = Vec::new();
    let connect = Connect {
        version: settings.version,
        clean_start: settings.clean_start,
        keep_alive_s: settings.keep_alive_s,
        properties: properties.as_properties(),
        client_identifier: &settings.client_identifier,
        will: None,
        user_name: settings.credentials.user_name.as_deref(),
        password: settings.credentials.password.as_deref().map(str::as_bytes),
    };
    connect.encode(&mut packet).map_err(too_large)?;
    Ok(packet)
}

fn refusal(reason: ReasonCode, properties: Properties<'_>) -> String {
    let hint = match reason {
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => {
            "; check the user name (-u) and the password (-P), the broker's log says more"
        }
        ReasonCode::UnsupportedProtocolVersion => "; try another version with -V",
        ReasonCode::ClientIdentifierNotValid => "; try another client identifier with -i",
        _ => "",
    };
    format!(
        "the broker refused the connection: {}{hint}",
        detailed(reason, properties)
    )
}

/// A reason with the broker's own words.
pub(super) fn detailed(reason: ReasonCode, properties: Properties<'_>) -> String {
    match properties.reason_string() {
        Some(words) => format!("{reason} ({})", words.escape_debug()),
        None => reason.to_string(),
    }
}

/// Pace of looking for an interruption.
const LOOK: Duration = Duration::from_millis(100);
