//! Opens the connections of a bridge, from the address to CONNACK.
//!
//! Invariants: an address has [`limits::BRIDGE_CONNECT_NS_MAX`]. A broker that does not know of bridges is asked again
//! as by any client, at once.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use mqtt::{ProtocolVersion, ReasonCode};
use rustix::event::PollFlags;
use transport::socket;
use transport::stream::SecureStream;

use super::connect::{self, BrokerTerms};
use super::connection::BridgeConnection;
use super::thread::{BridgeEnd, BridgeThread, Opened};
use crate::bridge_settings::{BridgeAddress, BridgeSettings};
use crate::limits;
use crate::log::NOTICE;
use crate::logic::owner_shard;

/// Why there is no connection to a broker.
enum NotOpened {
    /// The bridge has something else to do.
    BridgeEnd(BridgeEnd),
    /// It closed the connection, or refuses it for this reason.
    Refused(Option<ReasonCode>, String),
}

impl From<BridgeEnd> for NotOpened {
    fn from(ending: BridgeEnd) -> Self {
        Self::BridgeEnd(ending)
    }
}

impl BridgeThread {
    /// Connects to this broker and subscribes; `receive_max` is what the other one takes.
    pub(super) fn open_local(&mut self, receive_max: Option<NonZeroU16>) -> Result<Opened, BridgeEnd> {
        let settings = self.bridge.settings.clone();
        let client = &settings.local.client_identifier;
        let shard = owner_shard(client, self.around.local.shards());
        let failed =
            |error: std::io::Error| BridgeEnd::Failed(format!("no connection to this broker: {error}"));
        let socket = self.around.local.connect(shard).map_err(failed)?;
        let mut connection = BridgeConnection::new(socket, SecureStream::Plain, Instant::now());
        let retains = self.around.current.get().settings.retain_available;
        connection.packets = connect::connect_local(&settings, receive_max, retains);
        let accepted = match self.await_connack(&mut connection, ProtocolVersion::V5) {
            Ok(accepted) => accepted,
            Err(NotOpened::BridgeEnd(ending)) => return Err(ending),
            Err(NotOpened::Refused(_, why)) => {
                return Err(BridgeEnd::Failed(format!(
                    "this broker does not accept its client {client}: {why}"
                )));
            }
        };
        connection.keep_alive(accepted.keep_alive_s.unwrap_or(0));
        connect::begin_local(&settings, &mut connection.packets);
        if accepted.session_present {
            self.unsubscribe_stale(shard, &settings, &mut connection);
        }
        Ok(Opened { connection, accepted })
    }

    /// Connects to the address whose turn it is.
    pub(super) fn open_remote(&mut self) -> Result<Opened, BridgeEnd> {
        let settings = self.bridge.settings.clone();
        let index = self.addresses.index();
        let Some(address) = settings.addresses.get(index) else {
            return Err(BridgeEnd::Failed("it has no address".to_owned()));
        };
        let name = &settings.name;
        tracing::info!(target: NOTICE, "Connecting bridge {name} ({address}).");
        loop {
            let asks = settings.try_private
                && settings.version != ProtocolVersion::V5
                && !self.not_private.contains(&index);
            match self.try_remote(&settings, address, asks) {
                Ok(opened) => {
                    tracing::info!(target: NOTICE, "Bridge {name} is connected to {address}.");
                    return Ok(opened);
                }
                Err(NotOpened::BridgeEnd(ending)) => return Err(ending),
                Err(NotOpened::Refused(None | Some(ReasonCode::UnsupportedProtocolVersion), _)) if asks => {
                    tracing::info!(
                        "Bridge {name}: {address} does not know of bridges; it is a client there."
                    );
                    self.not_private.push(index);
                }
                Err(NotOpened::Refused(_, why)) => {
                    return Err(BridgeEnd::Failed(format!("{address} does not accept it: {why}")));
                }
            }
        }
    }

    fn try_remote(
        &mut self,
        settings: &BridgeSettings,
        address: &BridgeAddress,
        is_private: bool,
    ) -> Result<Opened, NotOpened> {
        let failed = |why: String| BridgeEnd::Failed(format!("{address}: {why}"));
        let socket = self.connect_socket(settings, address)?;
        let stream = SecureStream::client(self.bridge.tls.as_ref(), &address.host)
            .map_err(|error| failed(error.to_string()))?;
        let mut connection = BridgeConnection::new(socket, stream, Instant::now());
        let here = self.around.current.get();
        connection.packets = connect::connect_remote(
            settings,
            is_private,
            here.settings.inflight_messages_max,
            here.settings.packet_bytes_max,
        );
        let accepted = self.await_connack(&mut connection, settings.version)?;
        connection.keep_alive(accepted.keep_alive_s.unwrap_or(settings.keep_alive_s));
        connect::begin_remote(settings, &accepted, &mut connection.packets);
        Ok(Opened { connection, accepted })
    }

    /// A socket that is connected to one of the addresses that a name has.
    fn connect_socket(
        &self,
        settings: &BridgeSettings,
        address: &BridgeAddress,
    ) -> Result<OwnedFd, BridgeEnd> {
        let found = (address.host.as_str(), address.port).to_socket_addrs();
        let found = found.map_err(|error| {
            BridgeEnd::Failed(format!(
                "{address} cannot be found ({error}): check the name in `address`"
            ))
        })?;
        let mut why = format!("{address} has no IP address");
        for to in found {
            if settings
                .bind_address
                .is_some_and(|local| local.is_ipv4() != to.is_ipv4())
            {
                continue;
            }
            match self.connect_to(settings, to) {
                Ok(Some(socket)) => return Ok(socket),
                Ok(None) => return Err(self.interruption()),
                Err(error) => why = format!("{address} cannot be reached: {error}"),
            }
        }
        Err(BridgeEnd::Failed(why))
    }

    /// `None` if the bridge has something else to do.
    fn connect_to(&self, settings: &BridgeSettings, to: SocketAddr) -> std::io::Result<Option<OwnedFd>> {
        let socket = socket::stream_from(to, settings.bind_address)?.into_descriptor()?;
        if let Some(probes) = settings.tcp_keep_alive {
            socket::probe(socket.as_fd(), probes.idle_s, probes.interval_s, probes.probes)?;
        }
        if let Some(milliseconds) = settings.tcp_user_timeout_ms {
            socket::bound_unacknowledged(socket.as_fd(), milliseconds)?;
        }
        socket::begin_connecting(socket.as_fd(), to)?;
        let until = deadline();
        loop {
            let [ready] = self
                .control
                .wait([(socket.as_fd(), PollFlags::OUT)], Some(until))?;
            if !ready.is_empty() {
                socket::take_error(socket.as_fd())?;
                return Ok(Some(socket));
            }
            if self.is_interrupted() {
                return Ok(None);
            }
            if Instant::now() >= until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Sends what waits and receives until the CONNACK has come.
    fn await_connack(
        &mut self,
        connection: &mut BridgeConnection,
        version: ProtocolVersion,
    ) -> Result<BrokerTerms, NotOpened> {
        let until = deadline();
        loop {
            let now = Instant::now();
            let closed = |error: &dyn std::fmt::Display| NotOpened::Refused(None, error.to_string());
            connection.send(now).map_err(|error| closed(&error))?;
            let received = connection.receive(now, &mut self.buffer);
            let frame = connection.inbound.next().map_err(|error| closed(&error))?;
            if let Some(frame) = frame {
                let connack = connect::connack(&frame, version).map_err(|why| closed(&why))?;
                let accepted = BrokerTerms::of(&connack);
                let why = connack.properties.reason_string().map(str::to_owned);
                let bytes = frame.wire_bytes;
                connection.inbound.handled(bytes);
                return accepted.map_err(|reason| {
                    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                    NotOpened::Refused(Some(reason), format!("{reason}{why}{}", advice(reason)))
                });
            }
            received.map_err(|error| closed(&error))?;
            if self.is_interrupted() {
                return Err(self.interruption().into());
            }
            if now >= until {
                return Err(BridgeEnd::Failed("no CONNACK has come in time".to_owned()).into());
            }
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, connection.waiting_bytes() > 0);
            let waited = self
                .control
                .wait([(connection.descriptor(), wanted)], Some(until));
            waited.map_err(|error| BridgeEnd::Failed(error.to_string()))?;
        }
    }

    /// Whether the bridge has something else to do than what it does.
    pub(super) fn is_interrupted(&self) -> bool {
        // A bridge that is removed still has its session to end.
        self.control.is_stopping() && !self.ends_session || self.control.is_to_reconnect()
    }

    /// What it has to do instead.
    pub(super) fn interruption(&self) -> BridgeEnd {
        match self.control.is_stopping() {
            true => BridgeEnd::Stopped,
            false => BridgeEnd::Changed,
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_nanos(limits::BRIDGE_CONNECT_NS_MAX)
}

/// What to do where a broker refuses; begins with its own separator.
fn advice(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::BadUserNameOrPassword => "; fix: remote_username and remote_password",
        ReasonCode::NotAuthorized => "; fix: remote_username and remote_password, or its rights there",
        ReasonCode::ClientIdentifierNotValid => "; fix: choose another remote_clientid",
        ReasonCode::UnsupportedProtocolVersion => "; fix: choose another bridge_protocol_version",
        _ => "",
    }
}
