//! Without free descriptors the broker waits without turning in circles, and goes on when some are free again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Client, Options, Setup, eventually};

const DESCRIPTORS: u32 = 100;
const CONNECTIONS: usize = 200;
/// 10 ms of CPU each.
const TICKS_MAX: u64 = 20;

fn closed(error: std::io::Error) -> Option<()> {
    (error.kind() == std::io::ErrorKind::ConnectionReset).then_some(())
}

#[test]
fn exhaustion_is_survived() {
    let broker = Setup::default().descriptors(DESCRIPTORS).start();
    let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
    let mut sockets: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut socket = TcpStream::connect(broker.address()).unwrap();
            socket.write_all(connect).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            socket
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let answered = sockets
        .iter_mut()
        .filter_map(|socket| socket.read_exact(&mut [0; 4]).ok())
        .count();
    assert!(
        (20..CONNECTIONS).contains(&answered),
        "{answered} of {CONNECTIONS} were let in"
    );

    let before = broker.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let ticks = broker.cpu_ticks() - before;
    assert!(
        ticks < TICKS_MAX,
        "{ticks} ticks of CPU while there was nothing to do"
    );
    // Those that found no place know it: they are not left waiting.
    let turned_away = sockets
        .iter_mut()
        .filter_map(|socket| {
            socket
                .read(&mut [0; 4])
                .map_or_else(closed, |read| (read == 0).then_some(()))
        })
        .count();
    assert!(
        answered + turned_away >= CONNECTIONS,
        "{turned_away} were turned away, {answered} let in"
    );
    let lines = broker
        .log()
        .lines()
        .filter(|line| line.contains("Cannot accept"))
        .count();
    assert!(
        (1..=5).contains(&lines),
        "{lines} lines in the log in about three seconds"
    );

    drop(sockets);
    eventually("a client is let in again", || {
        let (_client, answer) = Client::try_connect(&broker, &Options::new("after"));
        answer.is_some()
    });
}
