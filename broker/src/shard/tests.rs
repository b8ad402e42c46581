//! The loop of a shard with real sockets and a real ring, run by hand: a test acts between two turns.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mqtt::ProtocolVersion;
use mqtt::frame::PacketType;
use mqtt::packet::{Connect, Publish, Will};
use mqtt::property::Properties;
use transport::ring::RingOptions;
use transport::socket;

use super::*;
use crate::auth::{AccessFiles, Policy};
use crate::dynamic_commands::{CommandWorker, DynamicCommands};
use crate::in_effect::InEffect;
use crate::in_effect::ListenerInEffect;
use crate::limits;
use crate::logic::{Batch, ConnectionId, ConnectionSlot, Control, owner_shard, shard_counters};
use crate::named_paths::NamedPaths;
use crate::settings::{ListenerId, Settings};
use crate::turn::WorkLimits;

/// Shards in one thread, and where they listen.
struct Loops {
    shards: Vec<ShardLoop>,
    queues: Arc<ShardQueues>,
    shut_down: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Loops {
    fn new(count: u16) -> Self {
        Self::with_work(count, limits::WORK)
    }

    /// The same with other limits of a turn's work.
    fn with_work(count: u16, work: WorkLimits) -> Self {
        let settings = Arc::new(Settings {
            sys_interval_s: 0,
            work,
            ..Settings::default()
        });
        let listener = ListenerInEffect {
            tls: None,
            certificate_not_after_s: None,
            requires_certificate: false,
            identity: None,
            proxy: None,
            trusted_proxies: None,
            upgrade: None,
            pages: None,
        };
        let in_effect = InEffect {
            settings: Arc::clone(&settings),
            listeners: vec![listener],
            named: NamedPaths::default(),
        };
        let queues = Arc::new(ShardQueues::new(count));
        let files = vec![AccessFiles::default()];
        let authentication =
            Authentication::start(Arc::clone(&settings), &files, Policy::default(), count, |_| {}).unwrap();
        let shut_down = Arc::new(AtomicBool::new(false));
        let authentication = Arc::new(authentication);
        let questions = Arc::new(crate::questions::Questions::new(1, |_| {}));
        let commands = DynamicCommands::start(CommandWorker {
            authentication: Arc::clone(&authentication),
            questions: Arc::clone(&questions),
            wake: Box::new(|| {}),
        });
        let shared = Shared {
            queues: Arc::clone(&queues),
            current: Arc::new(Current::new(in_effect, count)),
            bans: Arc::default(),
            authentication,
            shut_down: Arc::clone(&shut_down),
            health: Arc::new(Health::new(count, || {})),
            pages: Pages::default(),
            questions,
            commands: commands.unwrap(),
            local: Arc::new(crate::local_connections::LocalConnections::new(count, |_| {})),
            traces: Arc::default(),
            reloads: Arc::default(),
            control: None,
            sampling: Arc::default(),
        };
        let socket = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
        let address = socket::local_address(socket.as_fd()).unwrap();
        let listening = Listening {
            socket: socket.into(),
            listener: ListenerId(0),
            connections: Arc::default(),
            unix: None,
        };
        let counters = shard_counters(count);
        let shard = |index| {
            let logic = Shard::new(index, count, Arc::clone(&settings), Arc::clone(&counters));
            let ring = Ring::new(&RingOptions::default()).unwrap();
            ShardLoop::new(index, count, ring, logic, vec![listening.clone()], shared.clone())
        };
        Self {
            shards: (0..count).map(shard).collect(),
            queues,
            shut_down,
            address,
        }
    }

    fn turn(&mut self, shard: usize) {
        self.queues.wake(u16::try_from(shard).unwrap());
        self.shards[shard].turn().unwrap();
    }

    /// Runs turns of all shards until the client can read this many bytes, which are returned.
    fn read(&mut self, client: &mut TcpStream, bytes: usize) -> Vec<u8> {
        let mut got = vec![0; bytes];
        let mut filled = 0;
        let deadline = Instant::now() + Duration::from_secs(10);
        while filled < bytes {
            assert!(Instant::now() < deadline, "{:?} and no more", &got[..filled]);
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            filled += read_some(client, &mut got[filled..]);
        }
        got
    }

    /// Runs turns of all shards until the client's connection is closed.
    fn read_to_end(&mut self, client: &mut TcpStream) -> Vec<u8> {
        let mut got = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < deadline, "{got:?} and no end");
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            match client.read_to_end(&mut got) {
                Ok(_) => return got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A client whose connection was accepted.
    fn join(&mut self, name: &str) -> TcpStream {
        self.join_with(&connect(ProtocolVersion::V3_1_1, name))
    }

    fn join_with(&mut self, connect: &Connect<'_>) -> TcpStream {
        let mut client = open(self.address);
        client.write_all(&bytes_of(connect)).unwrap();
        assert_eq!(self.read(&mut client, 4), [0x20, 2, 0, 0]);
        client
    }

    fn subscribe(&mut self, client: &mut TcpStream, filter: &str) {
        client.write_all(&subscribe(filter)).unwrap();
        assert_eq!(self.read(client, 5), [0x90, 3, 0, 1, 0]);
    }

    fn ping(&mut self, client: &mut TcpStream) {
        client.write_all(&[0xC0, 0]).unwrap();
        assert_eq!(self.read(client, 2), [0xD0, 0]);
    }

    /// The connection of a client in a shard.
    fn connection(&self, shard: usize, name: &str) -> ConnectionId {
        let ids = (1..64)
            .map(ConnectionSlot::from_u32)
            .flat_map(|slot| (0..64).map(move |generation| ConnectionId { slot, generation }));
        let is_it =
            |id: &ConnectionId| self.shards[shard].logic.clients().client_identifier(*id) == Some(name);
        ids.into_iter().find(is_it).unwrap()
    }
}

/// A CONNECT without special settings.
fn connect(version: ProtocolVersion, client_identifier: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_identifier,
        will: None,
        user_name: None,
        password: None,
    }
}

fn open(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

fn read_some(client: &mut TcpStream, into: &mut [u8]) -> usize {
    match client.read(into) {
        Ok(0) => panic!("closed"),
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

fn bytes_of(connect: &Connect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    connect.encode(&mut bytes).unwrap();
    bytes
}

fn subscribe(filter: &str) -> Vec<u8> {
    let mut bytes = vec![0x82, u8::try_from(filter.len() + 5).unwrap(), 0, 1, 0];
    bytes.push(u8::try_from(filter.len()).unwrap());
    bytes.extend_from_slice(filter.as_bytes());
    bytes.push(0);
    bytes
}

fn publish(topic: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let publish = Publish {
        dup: false,
        qos: mqtt::QoS::AtMostOnce,
        retain: false,
        topic,
        packet_identifier: None,
        properties: Properties::EMPTY,
        payload: b"x",
    };
    publish.encode(ProtocolVersion::V3_1_1, &mut bytes).unwrap();
    bytes
}

/// A client identifier whose session that shard owns.
fn owned_by(shard: u16, shards: u16, name: &str) -> String {
    let names = (0..).map(|number| format!("{name}-{number}"));
    names
        .into_iter()
        .find(|name| owner_shard(name, shards) == shard)
        .unwrap()
}

/// Identifiers of connections wrap around: none is confused with another, and none is lost.
#[test]
fn connections_go_on_when_the_generations_begin_again() {
    let mut loops = Loops::new(2);
    for shard in &mut loops.shards {
        shard.logic.begin_generations_at(ConnectionId::GENERATIONS - 3);
        shard.pending.begin_generations_at(ConnectionId::GENERATIONS - 3);
    }
    let mut clients: Vec<_> = (0..12).map(|number| loops.join(&format!("c{number}"))).collect();
    for client in &mut clients {
        loops.ping(client);
    }
    for number in (0..12).step_by(2) {
        clients[number] = loops.join(&format!("again-{number}"));
    }
    for client in &mut clients {
        loops.ping(client);
        loops.subscribe(client, "t");
    }
    clients[0].write_all(&publish("t")).unwrap();
    for client in &mut clients {
        assert_eq!(loops.read(client, publish("t").len()), publish("t"));
    }
}

/// Another shard that pushes as fast as this one takes does not keep this one from its clients.
#[test]
fn a_turn_ends_though_batches_keep_coming() {
    let mut loops = Loops::new(2);
    let name = owned_by(0, 2, "c");
    let mut client = loops.join(&name);
    let stop = Arc::new(AtomicBool::new(false));
    let pusher = {
        let (queues, stop) = (Arc::clone(&loops.queues), Arc::clone(&stop));
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(20);
            while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                if queues.has_room(1, 0) {
                    let control = |number| match number % 2 {
                        0 => Control::InterestAdd("a/+/b".into()),
                        _ => Control::InterestRemove("a/+/b".into()),
                    };
                    let mut batch = Batch::default();
                    batch.control.extend((0..limits::BATCH_CONTROL_MAX).map(control));
                    let _ = queues.push(1, 0, queues::ShardMessage::Batch(batch));
                }
            }
        })
    };
    let begin = Instant::now();
    for _ in 0..3 {
        loops.turn(0);
    }
    loops.ping(&mut client);
    let elapsed = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    pusher.join().unwrap();
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
}

/// Connections that arrive while the broker is ending are notified of it, wherever they are.
#[test]
fn late_arrivals_learn_that_the_broker_ends() {
    let mut loops = Loops::new(2);
    loops.turn(0);
    loops.turn(1);
    let mut late: Vec<_> = (0..16).map(|_| open(loops.address)).collect();
    // They are accepted, and have not sent their CONNECT.
    while loops
        .shards
        .iter()
        .map(|shard| shard.pending.len())
        .sum::<usize>()
        < late.len()
    {
        loops.turn(0);
        loops.turn(1);
    }
    loops.shut_down.store(true, Ordering::Relaxed);
    loops.turn(1);
    for (number, client) in late.iter_mut().enumerate() {
        let version = if number % 2 == 0 {
            ProtocolVersion::V3_1_1
        } else {
            ProtocolVersion::V5
        };
        client
            .write_all(&bytes_of(&connect(version, &format!("late-{number}"))))
            .unwrap();
    }
    // This shard does not know it yet: some of its connections are on their way to the other one.
    loops.turn(0);
    assert!(!loops.shards[1].is_drained(), "it waits for them");
    let mut refused = 0;
    for (number, client) in late.iter_mut().enumerate() {
        let answer = loops.read_to_end(client);
        refused += match (number % 2, answer.as_slice()) {
            (0, [0x20, 2, 0, 3]) | (1, [0x20, _, 0, 0x88, ..]) => 1,
            // The other shard owns its session, and accepted it just before.
            (0, [0x20, 2, 0, 0]) => 0,
            (1, [0x20, _, 0, 0, ..]) if answer.contains(&0x8B) => 0,
            _ => panic!("{answer:?}"),
        };
    }
    assert!(refused > 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !loops.shards.iter().all(ShardLoop::is_drained) {
        assert!(Instant::now() < deadline, "the shards do not end");
        loops.turn(0);
        loops.turn(1);
    }
}

/// A connection breaks in the flush: its Will is sent to other shards before a client here is informed of it.
#[test]
fn a_will_of_the_flush_goes_out_after_its_batch() {
    let mut loops = Loops::new(2);
    let names = ["dying", "watcher", "writer"].map(|name| owned_by(0, 2, name));
    let [dying_name, watcher_name, writer_name] = &names;
    let will = Will {
        qos: mqtt::QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
        topic: "will",
        payload: b"x",
    };
    let mut dying = loops.join_with(&Connect {
        will: Some(will),
        ..connect(ProtocolVersion::V3_1_1, dying_name)
    });
    loops.subscribe(&mut dying, "t");
    let mut watcher = loops.join(watcher_name);
    loops.subscribe(&mut watcher, "+");
    let mut remote = loops.join(&owned_by(1, 2, "remote"));
    loops.subscribe(&mut remote, "will");
    let mut writer = loops.join(writer_name);
    loops.ping(&mut writer);

    let id = loops.connection(0, dying_name);
    let connection = loops.shards[0].connections.get(id).unwrap();
    socket::shut_down(connection.socket.as_fd());
    writer.write_all(&publish("t")).unwrap();
    let before = loops.queues.waiting(1, 0);
    let mut has_will = false;
    let mut got = [0; 64];
    let mut filled = 0;
    while !has_will {
        loops.turn(0);
        filled += read_some(&mut watcher, &mut got[filled..]);
        has_will = got[..filled].ends_with(&publish("will"));
        assert!(
            !has_will || loops.queues.waiting(1, 0) > before,
            "a client knows of it, and the other shard does not"
        );
    }
    assert_eq!(loops.read(&mut remote, publish("will").len()), publish("will"));
    assert_eq!(got[0] >> 4, PacketType::Publish as u8);
}

/// What the kernel has of a connection is handled before a newer one takes over its session, even if it is much: its
/// last message arrives, and its DISCONNECT prevents its Will.
#[test]
fn all_that_the_kernel_has_is_handled_before_a_take_over() {
    // A client that subscribes uses up turns, so what it sends afterwards stays in the kernel.
    let work = WorkLimits {
        turn: 200,
        share: 20,
        quiet: 1,
        ..limits::WORK
    };
    let mut loops = Loops::with_work(1, work);
    let mut watcher = loops.join("watcher");
    loops.subscribe(&mut watcher, "will");
    loops.subscribe(&mut watcher, "last");
    let will = Will {
        qos: mqtt::QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
        topic: "will",
        payload: b"x",
    };
    let mut older = loops.join_with(&Connect {
        will: Some(will),
        ..connect(ProtocolVersion::V3_1_1, "client")
    });
    older.write_all(&subscribe("t").repeat(200)).unwrap();
    let id = loops.connection(0, "client");
    let deadline = Instant::now() + Duration::from_secs(10);
    while loops.shards[0].connections.get(id).unwrap().receiving {
        assert!(Instant::now() < deadline);
        loops.turn(0);
    }
    let much = publish(&"t".repeat(60_000)).repeat(16);
    assert!(much.len() > 3 * limits::TAKEOVER_TURN_BYTES);
    let all = [much, publish("last"), vec![0xE0, 0]].concat();
    older.write_all(&all).expect("the kernel takes a megabyte");
    let _newer = loops.join("client");
    let last = publish("last");
    assert_eq!(loops.read(&mut watcher, last.len()), last);
    loops.ping(&mut watcher);
}

#[test]
fn a_shut_down_of_many_clients_takes_more_than_one_turn() {
    let work = WorkLimits {
        turn: 3200,
        walk: 3200,
        ..limits::WORK
    };
    let mut loops = Loops::with_work(1, work);
    let mut clients: Vec<_> = (0..300).map(|number| loops.join(&format!("c{number}"))).collect();
    loops.shut_down.store(true, Ordering::Relaxed);
    loops.turn(0);
    let left = loops.shards[0].logic.counters().clients_connected.get();
    assert!((1..300).contains(&left), "{left} are left after the first turn");
    for client in &mut clients {
        assert!(
            loops.read_to_end(client).is_empty(),
            "3.1.1 has no DISCONNECT of servers"
        );
    }
    loops.turn(0);
    assert!(loops.shards[0].is_drained());
}

/// Work for one client is not charged to the one whose bytes are next: bytes that are kept for its turn, and TLS
/// records without content.
#[test]
fn a_client_pays_for_what_was_done_for_it_and_for_nothing_else() {
    let mut loops = Loops::new(1);
    let _clients = ["kept", "quiet"].map(|name| loops.join(name));
    let [kept, quiet] = ["kept", "quiet"].map(|name| loops.connection(0, name));
    let shard = &mut loops.shards[0];
    let now = shard.now;
    shard.connections.wait_for_turn(kept);
    shard.connections.begin_turn();
    shard.begin_clock();
    let long = Duration::from_millis(20);
    std::thread::sleep(long);
    let (connections, logic) = (&mut shard.connections, &mut shard.logic);
    connections.handle_or_keep(logic, now, kept, &[0xC0, 0]);
    connections.handle_or_keep(logic, now, quiet, &[0xC0, 0]);
    let (turn, units) = (connections.turn, long.as_nanos() as u64 / limits::UNIT_NS);
    let mut spent = |id| *connections.get(id).unwrap().unread.spent_in(turn, 0);
    assert!(spent(kept) >= units, "{} of {units}", spent(kept));
    assert!(spent(quiet) < units, "{} of {units}", spent(quiet));
}

/// While a queue to another shard is full, the output of an earlier flush is sent, unless more was written since.
#[test]
fn delayed_outputs_go_out_while_a_queue_is_full() {
    let mut loops = Loops::new(1);
    let mut client = loops.join("client");
    loops.subscribe(&mut client, "t");
    let _publisher = loops.join("publisher");
    let publisher = loops.connection(0, "publisher");
    let shard = &mut loops.shards[0];
    let (packet, mut got) = (publish("t"), vec![0; 1000]);
    let write = |shard: &mut ShardLoop| shard.logic.receive(shard.now, publisher, &packet);
    let delay = |shard: &mut ShardLoop| {
        // As a flush does that has no time left.
        let written = shard.logic.take_dirty();
        shard.connections.delay_flush(written.into_iter());
    };
    write(shard);
    delay(shard);
    shard.flush_independent();
    let read = read_some(&mut client, &mut got);
    assert_eq!(got[..read], packet);
    write(shard);
    delay(shard);
    write(shard);
    shard.flush_independent();
    assert_eq!(
        read_some(&mut client, &mut got),
        0,
        "the second may not be known to all"
    );
    shard.flush();
    let read = read_some(&mut client, &mut got);
    assert_eq!(got[..read], packet.repeat(2));
}

/// A client that does not wait for CONNACK, closes and reconnects: what waits for space in the queue to its owner
/// keeps its order. [MQTT-3.1.4-3]
#[test]
fn connections_of_one_client_reach_its_owner_in_their_order() {
    let mut loops = Loops::new(2);
    let mut watcher = loops.join(&owned_by(1, 2, "watcher"));
    loops.subscribe(&mut watcher, "#");
    let name = owned_by(1, 2, "again");
    let more_than_a_queue = 3 * limits::SHARD_QUEUE_MESSAGES_MAX;
    let clients: Vec<_> = (0..more_than_a_queue).map(|_| open(loops.address)).collect();
    let begin = Instant::now();
    while loops.shards[0].pending.len() < more_than_a_queue {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the other shard accepted"
        );
        loops.turn(0);
    }
    let mut expected = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let packet = publish(&format!("t/{number}"));
        let connect = bytes_of(&connect(ProtocolVersion::V3_1_1, &name));
        client
            .write_all(&[&connect, &packet, &b"\xE0\0"[..]].concat())
            .unwrap();
        expected.extend(packet);
    }
    assert_eq!(loops.read(&mut watcher, expected.len()), expected);
}

/// A client that leaves before its CONNACK does not take over the session of an open connection: on its way between
/// shards it may be the older one. If something follows its CONNECT, that is handled, as if it were the newer one.
#[test]
fn who_left_before_its_connack_takes_nothing_over() {
    let mut loops = Loops::new(2);
    for owner in [0, 1] {
        let name = owned_by(owner, 2, "a");
        let mut client = loops.join(&name);
        let connect = bytes_of(&connect(ProtocolVersion::V3_1_1, &name));
        open(loops.address).write_all(&connect).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(200) {
            loops.turn(0);
            loops.turn(1);
        }
        loops.ping(&mut client);
        open(loops.address)
            .write_all(&[&connect, &b"\xE0\0"[..]].concat())
            .unwrap();
        assert_eq!(loops.read_to_end(&mut client), b"");
    }
}
