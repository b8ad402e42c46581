//! From accept to the home shard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use transport::ring::ReceiveBuffer;
use transport::socket::{self, Socket};
use transport::stream::{Opened, SecureStream, StreamError};
use transport::tls;

use super::greeting::{Greeting, Heard, hear};
use super::links::Handoff;
use super::login::connect;
use super::proxy::{self, Introduction};
use super::token::{Place, Subject};
use super::{ShardLoop, upgrade};
use crate::admission::Admission;
use crate::auth::Verdict;
use crate::bind::Listening;
use crate::config::ProxyProtocol;
use crate::in_effect::InEffect;
use crate::limits;
use crate::logic::{Peer, home_shard};

impl ShardLoop {
    pub(super) fn accept_everywhere(&mut self) {
        for (index, listening) in self.listening.iter().enumerate() {
            self.ring
                .accept(&listening.socket, Subject::Listener(index).token());
        }
    }

    pub(super) fn accepted(&mut self, index: usize, socket: io::Result<Socket>, more: bool) {
        match socket {
            Ok(_) if self.drain_until.is_some() => {}
            // The one free descriptor is for this: the client learns at once that it is not let in.
            Ok(_) if self.reserve.is_none() => {
                self.refused_for_descriptors += 1;
                self.is_refusing = true;
            }
            Ok(socket) => self.greet(index, socket),
            Err(error) => return self.cannot_accept(index, &error, more),
        }
        if !more && self.drain_until.is_none() {
            self.accept_on(index);
        }
    }

    fn accept_on(&mut self, index: usize) {
        if let Some(listening) = self.listening.get(index) {
            self.ring
                .accept(&listening.socket, Subject::Listener(index).token());
        }
    }

    /// Out of descriptors or memory. The descriptor in reserve is given up, so that those who wait are accepted and closed at
    /// once; without one they stay in the backlog. After a pause, which keeps this from becoming a busy loop, it is as
    /// before, if there is something free.
    fn cannot_accept(&mut self, index: usize, error: &io::Error, more: bool) {
        if self.drain_until.is_some() || more {
            return;
        }
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return self.accept_on(index);
        }
        self.complain_of_accept(error);
        let pause_until = self.now.plus_ns(limits::ACCEPT_PAUSE_NS);
        self.accept_again.get_or_insert(pause_until);
        let of_descriptors = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        // With the reserve gone each connection that was closed makes room for the next one.
        let makes_room = std::mem::take(&mut self.is_refusing) || self.reserve.take().is_some();
        if of_descriptors && makes_room && !self.accept_stopped {
            return self.accept_on(index);
        }
        if !std::mem::replace(&mut self.accept_stopped, true) {
            // All listeners share the descriptors, so all of them stop; a second accept would answer twice.
            for index in 0..self.listening.len() {
                self.ring.cancel_accept(Subject::Listener(index).token());
            }
        }
    }

    /// The pause is over: accepts as before, if there is a descriptor to keep in reserve.
    pub(super) fn accept_after_pause(&mut self) {
        self.accept_again = None;
        self.keep_reserve();
        if self.reserve.is_none() {
            self.accept_again = Some(self.now.plus_ns(limits::ACCEPT_PAUSE_NS));
        }
        if std::mem::take(&mut self.accept_stopped) {
            self.accept_everywhere();
        }
    }

    /// Takes a descriptor that is given up when there is no other one.
    pub(super) fn keep_reserve(&mut self) {
        if self.reserve.is_none() {
            let any = self.listening.first();
            self.reserve = any.and_then(|listening| listening.socket.as_fd().try_clone_to_owned().ok());
        }
    }

    fn complain_of_accept(&mut self, error: &io::Error) {
        if self.now < self.accept_quiet_until {
            return;
        }
        self.accept_quiet_until = self.now.plus_ns(limits::ACCEPT_QUIET_NS);
        let refused = std::mem::take(&mut self.refused_for_descriptors);
        tracing::error!(
            "Cannot accept connections: {error}; {refused} were closed at once since this was last said. Raise the limit of \
             open files (ulimit -n, LimitNOFILE=)."
        );
    }

    fn greet(&mut self, index: usize, socket: Socket) {
        let Some(greeting) = self
            .listening
            .get(index)
            .and_then(|listening| greeting(listening, &self.in_effect.1, socket))
        else {
            return;
        };
        let place = self.greetings.insert(self.now, greeting);
        self.listen_to(place);
    }

    pub(super) fn listen_to(&mut self, place: Place) {
        if let Some(greeting) = self.greetings.get(place) {
            self.ring
                .receive(&greeting.socket, Subject::Greeting(place).token());
        }
    }

    pub(super) fn greeting_received(&mut self, place: Place, buffer: ReceiveBuffer) {
        let heard = match self.greetings.get(place) {
            Some(greeting) => read(greeting, self.ring.bytes(&buffer)),
            None => Heard::Refused("gone"),
        };
        self.ring.recycle(buffer);
        match heard {
            Heard::Incomplete => self.listen_to(place),
            Heard::Refused(why) => {
                if let Some(greeting) = self.greetings.remove(place) {
                    tracing::info!("Client {} refused: {why}.", greeting.address);
                    greeting.cut();
                }
            }
            Heard::Failed => {
                if let Some(greeting) = self.greetings.remove(place) {
                    greeting.cut();
                }
            }
            Heard::Page(page, folder) => self.serve(place, page, folder),
            Heard::Malformed => self.move_home(place, self.index, None, Verdict::Unproved),
            Heard::Connect if self.drain_until.is_some() => self.turn_away(place),
            Heard::Connect => self.authenticate(place),
        }
    }

    /// The broker ends: the connection stays here, where the logic answers that, and touches no session.
    pub(super) fn turn_away(&mut self, place: Place) {
        self.move_home(place, self.index, None, Verdict::Unproved);
    }

    /// Sends the connection to the shard of its client identifier.
    pub(super) fn find_home(&mut self, place: Place, verdict: Verdict) {
        if self.drain_until.is_some() {
            return self.turn_away(place);
        }
        let Some(greeting) = self.greetings.get(place) else {
            return;
        };
        let settings = self.logic.settings().listener(greeting.listener);
        let connect = connect(&greeting.plain);
        let client_identifier = match connect {
            // The logic takes the same one, and refuses who has none.
            Some(connect) if settings.user_name_is_client_identifier => identity(greeting)
                .or_else(|| greeting.authenticated.as_ref().map(|proved| proved.user.clone()))
                .or_else(|| connect.user_name.map(Box::from))
                .unwrap_or_default(),
            Some(connect) => connect.client_identifier.into(),
            None => Box::default(),
        };
        if !client_identifier.is_empty() {
            let home = home_shard(&client_identifier, self.shards);
            return self.move_home(place, home, None, verdict);
        }
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::error!("no random bytes for a client identifier: {error}");
            return drop(self.greetings.remove(place));
        }
        let assigned = assigned_client_identifier(&settings.assigned_client_identifier_prefix, random);
        let home = home_shard(&assigned, self.shards);
        self.move_home(place, home, Some(assigned), verdict);
    }

    fn move_home(
        &mut self,
        place: Place,
        home: u16,
        assigned_client_identifier: Option<Box<str>>,
        verdict: Verdict,
    ) {
        let Some(mut greeting) = self.greetings.remove(place) else {
            return;
        };
        let peer = Peer {
            address: greeting.address,
            listener: greeting.listener,
            tls: greeting.stream.is_tls() || greeting.introduction.tls,
            assigned_client_identifier,
            certificate_identity: identity(&greeting),
            verdict,
            authenticated: greeting.authenticated.take(),
        };
        let Greeting {
            socket,
            mut stream,
            admission,
            plain,
            ..
        } = greeting;
        stream.forget_certificate();
        let handoff = Handoff {
            socket,
            stream,
            admission,
            peer,
            unread: plain,
        };
        if home == self.index {
            return self.adopt(handoff);
        }
        self.handoffs.push((home, Box::new(handoff)));
    }
}

/// A client identifier that nobody can guess, written as mosquitto does: `auto-` and a UUID.
fn assigned_client_identifier(prefix: &str, random: [u8; 16]) -> Box<str> {
    let hex = format!("{:032X}", u128::from_be_bytes(random));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    format!("{prefix}{}", groups.join("-")).into()
}

fn greeting(listening: &Listening, in_effect: &InEffect, socket: Socket) -> Option<Greeting> {
    // A peer that is gone already has no address.
    let address: SocketAddr = socket::peer_address(socket.as_fd()).ok()?;
    let connections_max = in_effect.settings.listener(listening.listener).connections_max;
    let Some(admission) = Admission::enter(&listening.connections, connections_max) else {
        tracing::warn!("Client connection from {address} denied: max_connections exceeded.");
        return None;
    };
    let kind = in_effect.listeners.get(usize::from(listening.listener.0))?;
    let stream = SecureStream::server(kind.tls.as_ref())
        .inspect_err(|error| tracing::error!("{error}"))
        .ok()?;
    let plain = Vec::new();
    let (listener, identity) = (listening.listener, kind.identity);
    Some(Greeting {
        generation: 0,
        socket,
        stream,
        admission,
        address,
        listener,
        identity,
        proxy: kind.proxy,
        upgrade: kind.upgrade.clone(),
        introduction: Introduction::default(),
        plain,
        is_being_checked: false,
        challenged: None,
        authenticated: None,
    })
}

fn read(greeting: &mut Greeting, wire: &[u8]) -> Heard {
    let mut answer = Vec::new();
    let heard = match greeting.proxy {
        Some(wanted) => read_introduction(greeting, &wanted, wire, &mut answer),
        None => read_stream(greeting, wire, &mut answer),
    };
    // A fresh socket takes a handshake's few kilobytes whole; one that does not is not worth waiting for.
    let answered = answer.is_empty()
        || socket::send_now(greeting.socket.as_fd(), &answer).is_ok_and(|sent| sent == answer.len());
    match heard {
        Heard::Failed | Heard::Refused(_) => heard,
        _ if !answered => Heard::Refused("it does not read"),
        heard => heard,
    }
}

/// The header that comes before all else; such a listener has no TLS of its own.
fn read_introduction(
    greeting: &mut Greeting,
    wanted: &ProxyProtocol,
    wire: &[u8],
    answer: &mut Vec<u8>,
) -> Heard {
    greeting.plain.extend_from_slice(wire);
    match proxy::hear(&greeting.plain, wanted) {
        proxy::Heard::Incomplete => Heard::Incomplete,
        proxy::Heard::Refused(why) => Heard::Refused(why),
        proxy::Heard::Whole(introduction, length) => {
            greeting.proxy = None;
            greeting.address = introduction.address.unwrap_or(greeting.address);
            greeting.introduction = introduction;
            greeting.plain.drain(..length.min(greeting.plain.len()));
            read_plain(greeting, answer)
        }
    }
}

fn read_stream(greeting: &mut Greeting, wire: &[u8], answer: &mut Vec<u8>) -> Heard {
    let opened = greeting.stream.open(wire, &mut greeting.plain, answer);
    read_opened(greeting, opened, answer)
}

/// Goes on with what a stream has opened.
pub(super) fn read_opened(
    greeting: &mut Greeting,
    opened: Result<Opened, StreamError>,
    answer: &mut Vec<u8>,
) -> Heard {
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // In TLS 1.3 a client that is refused believes at first that it is connected: this line is where it shows.
            tracing::warn!("Client {} refused: {error}.", greeting.address);
            return Heard::Failed;
        }
    };
    if let Some(warning) = &opened.warning {
        tracing::warn!("Client {}: {warning}.", greeting.address);
    }
    match read_plain(greeting, answer) {
        Heard::Incomplete if opened.peer_closed => Heard::Refused("closed before CONNECT"),
        heard => heard,
    }
}

fn read_plain(greeting: &mut Greeting, answer: &mut Vec<u8>) -> Heard {
    match greeting.upgrade.clone() {
        Some(upgrade) => upgrade::read(greeting, &upgrade, answer),
        None => hear(&greeting.plain),
    }
}

/// The user that the client's certificate names, where the listener asks for it. Without one the logic refuses the
/// CONNECT.
fn identity(greeting: &Greeting) -> Option<Box<str>> {
    let Some(kind) = greeting.identity else {
        return greeting.introduction.identity.clone();
    };
    let named = tls::client_identity(&greeting.stream, kind);
    named
        .inspect_err(|error| tracing::warn!("Client {} has no user name: {error}.", greeting.address))
        .ok()
        .map(String::into_boxed_str)
}
