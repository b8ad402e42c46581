//! Pending connections over a socket pair: from phase to phase, and what the client reads of them.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mqtt::packet::{Auth, Connect};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{Packet, ProtocolVersion, ReasonCode, decode, frame};
use rustls::ServerConfig;
use test_support::ScramClient;
use transport::tls::{ClientTls, ServerTls, client_config, server_config};
use transport::websocket::client::Resource;
use transport::websocket::handshake::Wanted;

use super::*;
use crate::admission::ListenerCounts;
use crate::auth::password::{Algorithm, PasswordHash};
use crate::auth::{AccessFiles, Authentication, Policy};
use crate::bans::Bans;
use crate::certs;
use crate::in_effect::ListenerInEffect;
use crate::limits;
use crate::named_paths::NamedPaths;
use crate::settings::{ListenerSettings, Settings};
use crate::time::Timestamp;

/// A pending connection of a listener, and its client.
struct Pair {
    pending: PendingConnection,
    client: TcpStream,
    connections: Arc<ListenerCounts>,
}

const PLAIN: ListenerInEffect = ListenerInEffect {
    tls: None,
    certificate_not_after_s: None,
    requires_certificate: false,
    identity: None,
    proxy: None,
    trusted_proxies: None,
    upgrade: None,
    pages: None,
};

fn in_effect(listener: ListenerInEffect, connections_max: u64) -> InEffect {
    let listener_settings = ListenerSettings {
        connections_max,
        ..ListenerSettings::default()
    };
    let settings = Settings {
        listeners: vec![listener_settings],
        ..Settings::default()
    };
    InEffect {
        settings: Arc::new(settings),
        listeners: vec![listener],
        named: NamedPaths::default(),
    }
}

fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (client, listener.accept().unwrap().0)
}

impl Pair {
    fn new(listener: ListenerInEffect) -> Self {
        let (client, server) = socket_pair();
        let connections = Arc::default();
        let pending = accept(server, &connections, &in_effect(listener, 1)).unwrap();
        Self {
            pending,
            client,
            connections,
        }
    }

    /// What the client can read now; the connection stays open.
    fn answered(&mut self) -> Vec<u8> {
        self.client.set_nonblocking(true).unwrap();
        let mut answer = vec![0; 65_536];
        let read = match self.client.read(&mut answer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        answer.truncate(read);
        answer
    }
}

fn accept(
    server: TcpStream,
    connections: &Arc<ListenerCounts>,
    in_effect: &InEffect,
) -> Result<PendingConnection, Option<RefusedAtAccept>> {
    let socket = Socket::from(OwnedFd::from(server));
    let listening = Listening {
        socket: socket.clone(),
        listener: ListenerId(0),
        connections: Arc::clone(connections),
        unix: None,
    };
    PendingConnection::new(&listening, in_effect, &Bans::default(), socket)
}

fn connect_with(properties: Properties<'_>, password: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        keep_alive_s: 0,
        properties,
        client_identifier: "c",
        will: None,
        user_name: password.map(|_| "ann"),
        password,
    };
    connect.encode(&mut bytes).unwrap();
    bytes
}

fn connect() -> Vec<u8> {
    connect_with(Properties::EMPTY, Some(b"secret"))
}

const PINGREQ: [u8; 2] = [0xC0, 0];

/// However the bytes are cut: nothing is answered, and what follows the CONNECT goes with the connection.
#[test]
fn a_connect_in_pieces_is_identified_once_it_is_whole() {
    let bytes = connect();
    let mut pair = Pair::new(PLAIN);
    for byte in &bytes[..bytes.len() - 1] {
        assert!(matches!(pair.pending.receive(&[*byte]), Next::Receive));
        assert_eq!(pair.pending.missing(), "no CONNECT");
    }
    let last = [&bytes[bytes.len() - 1..], &PINGREQ].concat();
    assert!(matches!(pair.pending.receive(&last), Next::Identify));
    assert!(pair.pending.missing().contains("password"));
    assert_eq!(pair.answered(), b"");

    let address = pair.client.local_addr().unwrap();
    let transfer = pair.pending.into_transfer(Verdict::Proved, None).unwrap();
    let connect = transfer.connect.unwrap();
    assert_eq!(
        (&*connect.client_identifier, transfer.peer.address),
        ("c", address.into())
    );
    assert_eq!(connect.password, None, "it was checked, and is forgotten");
    assert_eq!(transfer.unread, PINGREQ);
    assert_eq!(pair.connections.open(), 1);
    drop(transfer.admission);
    assert_eq!(pair.connections.open(), 0);
}

#[test]
fn what_is_no_connect_is_closed_without_an_answer() {
    for foreign in [&PINGREQ[..], b"GET / HTTP/1.1\r\n"] {
        let mut pair = Pair::new(PLAIN);
        assert!(
            matches!(pair.pending.receive(foreign), Next::Close(_)),
            "{foreign:?}"
        );
        assert_eq!(pair.answered(), b"");
        pair.pending.close();
        assert_eq!(pair.client.read(&mut [0]).unwrap(), 0, "the client learns of it");
    }
}

/// The logic answers it: the transfer contains the mistake in place of the CONNECT.
#[test]
fn a_malformed_connect_is_the_logics_to_answer() {
    let mut pair = Pair::new(PLAIN);
    // An unknown protocol level.
    let level = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 1, b'c'];
    assert!(matches!(pair.pending.receive(&level), Next::AnswerMalformed));
    let transfer = pair.pending.into_transfer(Verdict::Unproved, None).unwrap();
    assert_eq!(transfer.connect.unwrap_err().wire_bytes, Some(15));
}

#[test]
fn a_proxy_header_comes_first_and_names_the_client() {
    let proxied = || ListenerInEffect {
        proxy: Some(ProxyProtocol {
            version: 1,
            require_tls: false,
            require_certificate: false,
            identity: false,
        }),
        ..PLAIN
    };
    let mut pair = Pair::new(proxied());
    let bytes = [
        b"PROXY TCP4 192.0.2.7 192.0.2.2 80 1883\r\n".as_slice(),
        &connect(),
    ]
    .concat();
    assert!(matches!(pair.pending.receive(&bytes[..9]), Next::Receive));
    assert_eq!(pair.pending.missing(), "no PROXY header");
    assert!(matches!(pair.pending.receive(&bytes[9..]), Next::Identify));
    let transfer = pair.pending.into_transfer(Verdict::Unproved, None).unwrap();
    assert_eq!(
        transfer.peer.address,
        "192.0.2.7:80".parse::<SocketAddr>().unwrap().into()
    );

    let mut pair = Pair::new(proxied());
    assert!(
        matches!(pair.pending.receive(&connect()), Next::Close(why) if why.contains("enable_proxy_protocol")),
        "no way around the load balancer"
    );
}

/// A server with a certificate created for the test, and its client's side.
fn tls() -> (Arc<ServerConfig>, SecureStream) {
    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        certs: certs::CertsArgs,
    }
    let folder = tempfile::tempdir().unwrap();
    let words = ["certs".as_ref(), folder.path().as_os_str()];
    certs::make(&<Words as clap::Parser>::parse_from(words).certs).unwrap();
    let path = |name: &str| folder.path().join(name);
    let server = server_config(&ServerTls::new(&path("server.crt"), &path("server.key"))).unwrap();
    let ca = path("ca.crt");
    let client = client_config(&ClientTls {
        ca: Some(&ca),
        ..ClientTls::default()
    });
    (
        server,
        SecureStream::client(Some(&client.unwrap()), "localhost").unwrap(),
    )
}

/// Exchanges bytes with the client's side of the stream until it has no more to send.
fn shake(pair: &mut Pair, stream: &mut SecureStream) {
    let mut to_server = Vec::new();
    stream.start(&mut to_server);
    while !to_server.is_empty() {
        let next = pair.pending.receive(&std::mem::take(&mut to_server));
        assert!(matches!(next, Next::Receive), "{next:?}");
        let answer = pair.answered();
        stream.open(&answer, &mut Vec::new(), &mut to_server).unwrap();
    }
    assert!(!stream.is_handshaking());
}

#[test]
fn tls_comes_before_the_connect_and_ends_in_order() {
    let (server, mut stream) = tls();
    let listener = ListenerInEffect {
        tls: Some(server),
        ..PLAIN
    };
    let mut pair = Pair::new(listener.clone());
    assert_eq!(pair.pending.missing(), "no end of its TLS handshake");
    shake(&mut pair, &mut stream);
    let mut wire = Vec::new();
    stream.seal(&connect(), &mut wire);
    let (front, back) = wire.split_at(wire.len() - 1);
    assert!(matches!(pair.pending.receive(front), Next::Receive));
    assert_eq!(pair.pending.missing(), "no CONNECT");
    assert!(matches!(pair.pending.receive(back), Next::Identify));
    pair.pending.close();
    let mut end = Vec::new();
    pair.client.set_nonblocking(false).unwrap();
    pair.client.read_to_end(&mut end).unwrap();
    let opened = stream.open(&end, &mut Vec::new(), &mut Vec::new()).unwrap();
    assert!(opened.peer_closed, "close_notify");

    // Plain bytes are answered with an alert, and the log states the reason.
    let mut pair = Pair::new(listener);
    assert!(matches!(pair.pending.receive(&connect()), Next::CloseFailed(_)));
    assert_eq!(pair.answered().first(), Some(&21), "an alert");
}

#[test]
fn who_leaves_before_the_connect_is_closed() {
    let (server, mut stream) = tls();
    let mut pair = Pair::new(ListenerInEffect {
        tls: Some(server),
        ..PLAIN
    });
    shake(&mut pair, &mut stream);
    let mut wire = Vec::new();
    stream.close(&mut wire);
    assert!(matches!(
        pair.pending.receive(&wire),
        Next::Close("closed before CONNECT")
    ));
}

fn web_sockets(pages: Option<&Path>) -> ListenerInEffect {
    let wanted = Wanted {
        header_bytes_max: 2048,
        ..Wanted::default()
    };
    let pages = pages.map(Arc::from);
    ListenerInEffect {
        upgrade: Some(Arc::new(Upgrade { wanted, pages })),
        ..PLAIN
    }
}

/// The CONNECT may arrive in the same segment as the request: what counts is what is in frames.
#[test]
fn the_upgrade_is_answered_and_the_connect_comes_in_a_frame() {
    let mut pair = Pair::new(web_sockets(None));
    let resource = Resource::new("localhost", "/mqtt").unwrap();
    let mut stream = SecureStream::Plain.upgrading(&resource);
    let mut request = Vec::new();
    stream.start(&mut request);
    let (front, back) = request.split_at(20);
    assert!(matches!(pair.pending.receive(front), Next::Receive));
    assert_eq!(pair.pending.missing(), "no request for WebSocket");
    assert_eq!(pair.answered(), b"");
    assert!(matches!(pair.pending.receive(back), Next::Receive));
    let answer = pair.answered();
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    stream.open(&answer, &mut Vec::new(), &mut Vec::new()).unwrap();
    let mut frames = Vec::new();
    stream.seal(&connect(), &mut frames);
    assert!(matches!(pair.pending.receive(&frames), Next::Identify));

    let mut pair = Pair::new(web_sockets(None));
    let together = [request, frames].concat();
    assert!(matches!(pair.pending.receive(&together), Next::Identify));
}

#[test]
fn a_request_for_a_page_is_served_or_refused() {
    let request = b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut pair = Pair::new(web_sockets(Some(Path::new("/pages"))));
    let Next::Serve(page, folder) = pair.pending.receive(request) else {
        panic!("a page");
    };
    assert_eq!((&*page.target, &*folder), ("/index.html", Path::new("/pages")));
    assert_eq!(pair.answered(), b"", "that is for the threads that serve pages");

    let mut pair = Pair::new(web_sockets(None));
    assert!(matches!(pair.pending.receive(request), Next::Close(why) if why.contains("http_dir")));
    assert!(pair.answered().starts_with(b"HTTP/1.1 426 "));
    let mut pair = Pair::new(web_sockets(None));
    assert!(matches!(pair.pending.receive(&connect()), Next::Close(_)));
    assert_eq!(pair.answered(), b"", "no HTTP, no answer of HTTP");
}

/// A client that does not read its handshake delays nobody.
#[test]
fn a_client_that_does_not_read_is_closed() {
    let mut pair = Pair::new(web_sockets(None));
    let filling = [0; 65_536];
    while socket::send_now(pair.pending.socket.as_fd(), &filling).is_ok() {}
    let mut request = Vec::new();
    let resource = Resource::new("localhost", "/mqtt").unwrap();
    SecureStream::Plain.upgrading(&resource).start(&mut request);
    assert!(matches!(pair.pending.receive(&request), Next::Close(why) if why == DOES_NOT_READ));
}

#[test]
fn a_full_listener_takes_nobody_and_the_count_stays() {
    let connections = Arc::default();
    let full = in_effect(PLAIN, 1);
    let (_first_client, server) = socket_pair();
    let first = accept(server, &connections, &full).unwrap();
    let (mut client, server) = socket_pair();
    let refused = accept(server, &connections, &full).err().flatten().unwrap();
    assert_eq!(refused.reason, "max_connections");
    assert_eq!(refused.address, client.local_addr().unwrap().into());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client is closed");
    assert_eq!(connections.open(), 1);
    first.close();
    assert_eq!(connections.open(), 0);
    let (mut client, server) = socket_pair();
    client.write_all(b"x").unwrap();
    assert!(accept(server, &connections, &full).is_ok());
}

/// A listener with one user of SCRAM-SHA-256.
fn authentication() -> Authentication {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwords");
    let iterations = NonZeroU32::new(1000).unwrap();
    let hash = PasswordHash::make(b"secret", Algorithm::ScramSha256 { iterations }).unwrap();
    std::fs::write(&path, format!("ann:{hash}\n")).unwrap();
    let files = [AccessFiles {
        password_file: Some(path),
        ..AccessFiles::default()
    }];
    let settings = Settings {
        listeners: vec![ListenerSettings::default()],
        ..Settings::default()
    };
    let policy = Policy::load(&files, None).unwrap();
    Authentication::start(Arc::new(settings), &files, policy, 1, |_| {}).unwrap()
}

fn exchange_properties(method: &str, data: &str) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::AuthenticationMethod(method)).unwrap();
    let data = Property::AuthenticationData(data.as_bytes());
    properties.push(data).unwrap();
    properties
}

const NOW: Timestamp = Timestamp(1);

#[test]
fn a_challenge_is_sent_and_answered() {
    let authentication = authentication();
    let mut scram = ScramClient::new("ann", "secret", "nonce");
    let properties = exchange_properties("SCRAM-SHA-256", &scram.first());
    let mut pair = Pair::new(PLAIN);
    let bytes = connect_with(properties.as_properties(), None);
    assert!(matches!(pair.pending.receive(&bytes), Next::Identify));
    assert!(matches!(
        pair.pending.begin_exchange(&authentication),
        Next::Receive
    ));
    assert_eq!(pair.pending.missing(), "no answer to AUTH");
    let challenge = pair.answered();
    let frame = frame::split(&challenge, limits::AUTH_BYTES_MAX).unwrap().unwrap();
    let Ok(Packet::Auth(auth)) = decode::packet(&frame, ProtocolVersion::V5) else {
        panic!("an AUTH");
    };
    let last = scram.last(auth.properties.authentication_data().unwrap());
    let properties = exchange_properties("SCRAM-SHA-256", &last.unwrap());
    let mut answer = Vec::new();
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: properties.as_properties(),
    };
    auth.encode(ProtocolVersion::V5, &mut answer);
    let Next::FinishExchange(bytes) = pair.pending.receive(&answer) else {
        panic!("the exchange is to be finished");
    };
    assert_eq!(bytes, answer.len());
    let finished = pair.pending.finish_exchange(NOW, &authentication, bytes);
    let authenticated = finished.unwrap();
    assert!(scram.trusts(&authenticated.data));
    let transfer = pair
        .pending
        .into_transfer(Verdict::Proved, Some(Box::new(authenticated)));
    let transfer = transfer.unwrap();
    assert_eq!(transfer.peer.user(&transfer.connect.unwrap()), Some("ann"));
}

/// [MQTT-4.12.0-1], [MQTT-3.1.2-30]
#[test]
fn an_exchange_that_is_none_is_refused() {
    let authentication = authentication();
    let properties = exchange_properties("GS2-KRB5", "");
    let mut pair = Pair::new(PLAIN);
    let bytes = connect_with(properties.as_properties(), None);
    assert!(matches!(pair.pending.receive(&bytes), Next::Identify));
    let refused = pair.pending.begin_exchange(&authentication);
    assert!(matches!(refused, Next::Refuse(why) if why.reason == ReasonCode::BadAuthenticationMethod));
    assert_eq!(pair.answered(), b"");

    // A packet that was sent without waiting for the challenge.
    let first = ScramClient::new("ann", "secret", "nonce").first();
    let properties = exchange_properties("SCRAM-SHA-256", &first);
    let bytes = [
        connect_with(properties.as_properties(), None).as_slice(),
        &PINGREQ,
    ]
    .concat();
    let mut pair = Pair::new(PLAIN);
    assert!(matches!(pair.pending.receive(&bytes), Next::Identify));
    let refused = pair.pending.begin_exchange(&authentication);
    assert!(matches!(refused, Next::Refuse(why) if why.reason == ReasonCode::ProtocolError));
}

/// Each has its own time limit from accept; the id of a removed one is not reused.
#[test]
fn v12_the_time_of_each_pending_connection_is_over_once() {
    let mut table = PendingConnections::default();
    let begin = |table: &mut PendingConnections, now| {
        let pair = Pair::new(PLAIN);
        (table.insert(now, pair.pending), pair.client)
    };
    let later = NOW.plus_ns(1);
    let (first, _first_client) = begin(&mut table, NOW);
    let (gone, _gone_client) = begin(&mut table, NOW);
    table.remove(gone).unwrap().close();
    let (second, _second_client) = begin(&mut table, later);
    assert_eq!(second.slot, gone.slot);
    assert!(table.get(gone).is_none() && table.remove(gone).is_none());

    let due = NOW.plus_s(5);
    assert_eq!(table.next_deadline(5), Some(due));
    assert!(table.expired(NOW, 5).is_none());
    assert!(table.expired(due, 5).is_some() && table.get(first).is_none());
    assert!(table.expired(due, 5).is_none() && table.get(second).is_some());
    assert_eq!(table.next_deadline(5), Some(due.plus_ns(1)));
    assert!(table.expired(due.plus_ns(1), 5).is_some());
    assert!(table.is_empty() && table.next_deadline(5).is_none());
}

/// The total that is kept is limited: connections with the most bytes for their age are closed.
#[test]
fn v23_the_bytes_of_all_pending_connections_are_bounded() {
    let mut table = PendingConnections::default();
    let piece = [&[0x10, 0xA0, 0x8D, 6][..], &[0; 90_000]].concat();
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    let mut begin = |table: &mut PendingConnections, now, bytes: usize| {
        let mut pair = Pair::new(PLAIN);
        assert!(matches!(pair.pending.receive(&piece[..bytes]), Next::Receive));
        ids.push(table.insert(now, pair.pending));
        clients.push(pair.client);
        *ids.last().unwrap()
    };
    let small = begin(&mut table, NOW, 100);
    assert_eq!(table.count_bytes(NOW, small), []);
    let oldest = begin(&mut table, NOW, piece.len());
    assert_eq!(table.count_bytes(NOW, oldest), []);
    let later = NOW.plus_s(1);
    let closed = loop {
        let id = begin(&mut table, later, piece.len());
        let closed = table.count_bytes(NOW.plus_s(2), id);
        if !closed.is_empty() {
            break closed;
        }
    };
    assert_eq!(closed.first(), Some(&oldest));
    assert!(!closed.contains(&small), "it keeps almost nothing");
    for id in closed {
        table.remove(id).unwrap();
    }
    let newest = *ids.last().unwrap();
    assert!(table.get(newest).is_none() || table.count_bytes(NOW.plus_s(2), newest).is_empty());
}
