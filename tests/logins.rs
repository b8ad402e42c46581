//! Logins while somebody behind the same address sends wrong passwords.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Broker, Client, Options, Setup, eventually, program};

/// User and password of each try.
type Credentials<'a> = dyn Fn(usize) -> (String, String) + Sync + 'a;

/// How many users want to come in.
const USERS: usize = 60;
/// Time between two tries of the guesser: 200 a second.
const GUESS_EVERY: Duration = Duration::from_millis(5);

/// A password file of `user0`, `user1` and so on, whose passwords are `right`; the arguments of `passwd` say how it is
/// hashed.
fn password_file(folder: &Path, users: usize, hashed: &[&str]) -> PathBuf {
    let path = folder.join("passfile");
    let plain: String = (0..users).map(|user| format!("user{user}:right\n")).collect();
    std::fs::write(&path, plain).unwrap();
    let made = Command::new(program())
        .args(["passwd", "-U"])
        .args(hashed)
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path
}

/// Sends a CONNECT after the other, 200 a second, until `over`; `credentials` has user and password of each. So many of
/// the connections stay open.
fn guess(broker: &Broker, over: &AtomicBool, credentials: &Credentials<'_>, open_max: usize) {
    let mut sockets = VecDeque::new();
    let begun = Instant::now();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (user, password) = credentials(number);
        let mut socket = TcpStream::connect(broker.address()).unwrap();
        let connect = Options::new(&format!("guess{number}"))
            .user(&user, &password)
            .encode();
        socket.write_all(&connect).unwrap();
        sockets.push_back(socket);
        if sockets.len() > open_max {
            sockets.pop_front();
        }
        let next = begun + GUESS_EVERY * (number as u32 + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// How long `users` take to come in, one after the other, while somebody guesses.
fn logins(broker: &Broker, users: Range<usize>, credentials: &Credentials<'_>, open_max: usize) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| guess(broker, &over, credentials, open_max));
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        for user in users {
            let user = format!("user{user}");
            Client::connect(broker, &Options::new(&user).user(&user, "right")).disconnect();
        }
        over.store(true, Ordering::Relaxed);
        begun.elapsed()
    })
}

/// V40: with the hashes that mosquitto_passwd makes by default nobody waits for a guesser behind the same address,
/// whatever it guesses.
#[test]
fn v40_right_users_do_not_wait_for_a_guesser_at_their_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = password_file(folder.path(), 2 * USERS, &["-I", "101"]);
    let stale = |_: usize| ("user100".to_owned(), "stale".to_owned());
    let guesses = |number: usize| ("nobody".to_owned(), format!("guess{number}"));
    let names = |number: usize| (format!("name{number}"), "guess".to_owned());
    let others = |number: usize| {
        (
            format!("user{}", USERS + number % USERS),
            format!("guess{number}"),
        )
    };
    let kinds: [(&str, &Credentials<'_>); 4] = [
        ("a stale password", &stale),
        ("passwords", &guesses),
        ("names", &names),
        ("passwords of others", &others),
    ];
    for (kind, credentials) in kinds {
        let broker = Setup::default()
            .shards(2)
            .listener("allow_anonymous false")
            .listener(&format!("password_file {}", path.display()))
            .start();
        let took = logins(&broker, 0..USERS, credentials, 500);
        println!("{kind}: {took:?}");
        assert!(took < Duration::from_secs(5), "{kind}: {took:?}");
    }
}

/// V40: with hashes that take long a guesser has its part of the threads, and the users the rest; names that it makes
/// up have no part, whether it waits for the answers or not.
#[test]
fn v40_expensive_hashes_are_computed_for_those_that_have_not_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = password_file(folder.path(), 80, &["-H", "argon2id"]);
    let broker = || {
        Setup::default()
            .listener("allow_anonymous false")
            .listener(&format!("password_file {}", path.display()))
            .start()
    };
    let right = |_: usize| ("user79".to_owned(), "right".to_owned());
    let alone = logins(&broker(), 0..20, &right, 500);
    let guesses = |number: usize| ("user79".to_owned(), format!("guess{number}"));
    let names = |number: usize| (format!("name{number}"), format!("guess{number}"));
    let kinds: [(&str, &Credentials<'_>, usize); 4] = [
        ("passwords", &guesses, 500),
        ("passwords, closing", &guesses, 1),
        ("names", &names, 500),
        ("names, closing", &names, 1),
    ];
    for (kind, credentials, open_max) in kinds {
        let took = logins(&broker(), 0..20, credentials, open_max);
        println!("{kind}: {took:?}, alone {alone:?}");
        let bound = alone * 3 + Duration::from_secs(2);
        assert!(took < bound, "{kind}: {took:?}, alone {alone:?}");
    }
}

/// V40: the checks of clients that have left are not computed.
#[test]
fn v40_who_leaves_takes_its_check_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = password_file(folder.path(), 100, &["-H", "argon2id"]);
    let broker = Setup::default()
        .listener("allow_anonymous false")
        .listener(&format!("password_file {}", path.display()))
        .start();
    for user in 0..100 {
        let mut socket = TcpStream::connect(broker.address()).unwrap();
        let connect = Options::new("leaving").user(&format!("user{user}"), "wrong");
        socket.write_all(&connect.encode()).unwrap();
    }
    eventually("they are forgotten", || {
        broker.log().contains("it closed while its password was checked")
    });
}
