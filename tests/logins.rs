//! Logins while somebody behind the same address sends wrong passwords.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Broker, Client, Options, Setup, program};

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

/// Sends a CONNECT after the other, 200 a second, until `over`; `credentials` has user and password of each.
fn guess(broker: &Broker, over: &AtomicBool, credentials: &Credentials<'_>) {
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
        if sockets.len() > 500 {
            sockets.pop_front();
        }
        let next = begun + GUESS_EVERY * (number as u32 + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// How long `users` take to come in, one after the other, while somebody guesses.
fn logins(broker: &Broker, users: Range<usize>, credentials: &Credentials<'_>) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| guess(broker, &over, credentials));
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
        let took = logins(&broker, 0..USERS, credentials);
        println!("{kind}: {took:?}");
        assert!(took < Duration::from_secs(5), "{kind}: {took:?}");
    }
}

/// V40: with hashes that take long the guesser has its part of the threads, and the users the rest.
#[test]
fn v40_expensive_hashes_are_computed_for_those_that_have_not_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = password_file(folder.path(), 20, &["-H", "argon2id"]);
    let broker = Setup::default()
        .listener("allow_anonymous false")
        .listener(&format!("password_file {}", path.display()))
        .start();
    let alone = logins(&broker, 0..10, &|_| ("user19".to_owned(), "right".to_owned()));
    let guesses = |number: usize| ("nobody".to_owned(), format!("guess{number}"));
    let took = logins(&broker, 10..19, &guesses);
    println!("{took:?}, alone {alone:?}");
    let bound = alone * 3 + Duration::from_secs(2);
    assert!(took < bound, "{took:?}, alone {alone:?}");
}
