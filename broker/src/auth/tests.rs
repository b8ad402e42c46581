//! Checks as a shard makes them, with the threads at work.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::password::{Algorithm, PasswordHash};
use transport::clock::thread_cpu_ns;

use super::*;
use crate::settings::ListenerSettings;

struct Listeners {
    authentication: Authentication,
    woken: Receiver<u16>,
    tickets: std::cell::Cell<u64>,
    files: Vec<AccessFiles>,
    settings: Arc<Settings>,
    _folder: tempfile::TempDir,
}

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn line(user: &str, password: &str, iterations: u32) -> String {
    let algorithm = Algorithm::Sha512Pbkdf2 {
        iterations: NonZeroU32::new(iterations).unwrap(),
    };
    format!(
        "{user}:{}\n",
        PasswordHash::make(password.as_bytes(), algorithm).unwrap()
    )
}

impl Listeners {
    fn new(passwords: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passfile");
        std::fs::write(&path, passwords).unwrap();
        let files = vec![
            AccessFiles {
                password_file: Some(path),
                ..AccessFiles::default()
            },
            AccessFiles::default(),
            AccessFiles::default(),
        ];
        let mut settings = Settings {
            listeners: vec![ListenerSettings::default(); 3],
            ..Settings::default()
        };
        settings.listeners[2].certificate_names_user = true;
        let policy = Policy::load(&files, None).unwrap();
        let (sender, woken) = channel();
        let wake = move |shard| sender.send(shard).unwrap_or_default();
        let settings = Arc::new(settings);
        let authentication = Authentication::start(Arc::clone(&settings), &files, policy, 2, wake).unwrap();
        Self {
            authentication,
            woken,
            tickets: 0.into(),
            files,
            settings,
            _folder: folder,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.files[0].password_file.clone().unwrap()
    }

    /// Reads the files again, as SIGHUP does.
    fn reload(&self) -> Vec<KeptFile> {
        let (policy, kept) = self.authentication.reload(&self.files);
        self.authentication.replace(Arc::clone(&self.settings), policy);
        kept
    }

    /// Asks, and waits for the answer if there is none at once; returns the result.
    fn ask(&self, request: &Credentials<'_>) -> (Verdict, bool) {
        let ticket = self.tickets.replace(self.tickets.get() + 1);
        match self.authentication.check(now(), request, 1, ticket) {
            Check::Decided(verdict) => (verdict, false),
            Check::Pending(_awaited) => {
                assert_eq!(self.woken.recv_timeout(Duration::from_secs(20)), Ok(1));
                let answer = self.authentication.next_answer(1).unwrap();
                assert_eq!(answer.ticket, ticket);
                (answer.verdict.unwrap(), true)
            }
        }
    }
}

fn request<'a>(user: Option<&'a str>, password: Option<&'a str>) -> Credentials<'a> {
    Credentials {
        deadline: now().plus_s(5),
        listener: ListenerId(0),
        address: ADDRESS,
        client_identifier: "c",
        user_name: user,
        password: password.map(str::as_bytes),
    }
}

/// Values that are held while the answer is awaited.
fn pending(check: Check) -> Awaited {
    match check {
        Check::Pending(awaited) => awaited,
        Check::Decided(verdict) => panic!("{verdict:?} at once"),
    }
}

const WRONG: Verdict = Verdict::Refused(ReasonCode::BadUserNameOrPassword);

#[test]
fn verdicts() {
    let broker = Listeners::new(&line("ann", "pw", 1));
    for (user, password, verdict, computed) in [
        (Some("ann"), Some("pw"), Verdict::Proved, true),
        (Some("ann"), Some("pw"), Verdict::Proved, false),
        (Some("ann"), Some("wrong"), WRONG, true),
        (Some("eve"), Some("pw"), WRONG, true),
        (Some(""), Some("pw"), WRONG, true),
        (Some("ann"), None, WRONG, false),
        (Some("eve"), None, WRONG, false),
        (None, None, Verdict::Unproved, false),
        (None, Some("pw"), Verdict::Unproved, false),
    ] {
        assert_eq!(
            broker.ask(&request(user, password)),
            (verdict, computed),
            "{user:?} {password:?}"
        );
    }
    let long = "x".repeat(limits::PASSWORD_BYTES_MAX + 1);
    assert_eq!(broker.ask(&request(Some("ann"), Some(&long))), (WRONG, false));
}

#[test]
fn listeners_without_passwords_and_with_certificates() {
    let broker = Listeners::new(&line("ann", "pw", 1));
    let open = Credentials {
        listener: ListenerId(1),
        ..request(Some("ann"), Some("wrong"))
    };
    assert_eq!(broker.ask(&open).0, Verdict::Unproved);
    let certificate = Credentials {
        listener: ListenerId(2),
        ..request(Some("ann"), Some("pw"))
    };
    assert_eq!(
        broker.ask(&certificate).0,
        Verdict::Unproved,
        "its certificate decides"
    );
}

/// V40: ten thousand reconnects cost one computation, even if they all arrive before it is done.
#[test]
fn v40_reconnects_do_not_cost_a_computation_each() {
    const ITERATIONS: u32 = 100_000;
    let text = line("ann", "pw", ITERATIONS);
    let begun = Instant::now();
    let file = super::password_file::PasswordFile::parse(Path::new("p"), text.as_bytes()).unwrap();
    assert!(file.verify(file.find("ann"), b"pw"));
    let one = begun.elapsed();
    let broker = Listeners::new(&text);
    let begun = Instant::now();
    let pending = (0..5000).filter_map(|ticket| {
        let check = broker
            .authentication
            .check(now(), &request(Some("ann"), Some("pw")), 0, ticket);
        match check {
            Check::Pending(awaited) => Some(awaited),
            Check::Decided(verdict) => {
                assert_eq!(verdict, Verdict::Proved);
                None
            }
        }
    });
    let pending: Vec<Awaited> = pending.collect();
    for _ in &pending {
        assert_eq!(broker.woken.recv_timeout(Duration::from_secs(20)), Ok(0));
        let answer = broker.authentication.next_answer(0).unwrap();
        assert_eq!(answer.verdict, Some(Verdict::Proved));
    }
    for _ in 0..5000 {
        assert_eq!(
            broker.ask(&request(Some("ann"), Some("pw"))),
            (Verdict::Proved, false)
        );
    }
    // Each thread may compute once before the first result is known; ten thousand would take minutes.
    let allowed = one * (limits::PASSWORD_THREADS_MAX as u32 + 1) * 10 + Duration::from_secs(2);
    assert!(
        begun.elapsed() < allowed,
        "{:?} against {one:?} for one",
        begun.elapsed()
    );
}

/// V40: a guesser waits in the queue, and known users are accepted meanwhile; so are users with the same address who
/// have not connected before.
#[test]
fn v40_a_guesser_keeps_nobody_else_waiting() {
    let users: String = (0..20)
        .map(|number| line(&format!("user{number}"), "pw", 1))
        .collect();
    let broker = Listeners::new(&(line("ann", "pw", 1) + &users));
    assert_eq!(broker.ask(&request(Some("ann"), Some("pw"))).0, Verdict::Proved);
    let mut guesses = Vec::new();
    for number in 0..200 {
        let guess = number.to_string();
        let ask = request(Some("ann"), Some(&guess));
        guesses.push(pending(broker.authentication.check(now(), &ask, 0, number)));
        let ask = request(Some("ann"), Some("pw"));
        assert_eq!(broker.ask(&ask), (Verdict::Proved, false));
    }
    let begun = Instant::now();
    for number in 0..20 {
        let user = format!("user{number}");
        let ticket = 1000 + number;
        let check = broker
            .authentication
            .check(now(), &request(Some(&user), Some("pw")), 1, ticket);
        let _awaited = pending(check);
        let answer = std::iter::repeat_with(|| {
            broker.woken.recv_timeout(Duration::from_secs(20)).unwrap();
            broker.authentication.next_answer(1)
        });
        let answer = answer.flatten().next().unwrap();
        assert_eq!((answer.ticket, answer.verdict), (ticket, Some(Verdict::Proved)));
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let computed = std::iter::from_fn(|| broker.authentication.next_answer(0)).count();
    assert!(computed < 30, "{computed} guesses");
}

/// V40: a device with an old password costs one computation, and its password is right again as soon as the file has
/// it.
#[test]
fn v40_a_wrong_password_again_and_again_is_computed_once() {
    let broker = Listeners::new(&line("ann", "new", 1));
    assert_eq!(broker.ask(&request(Some("ann"), Some("old"))), (WRONG, true));
    for _ in 0..100 {
        assert_eq!(broker.ask(&request(Some("ann"), Some("old"))), (WRONG, false));
    }
    assert_eq!(
        broker.ask(&request(Some("ann"), Some("new"))),
        (Verdict::Proved, true)
    );
    std::fs::write(broker.path(), line("ann", "old", 1)).unwrap();
    assert!(broker.reload().is_empty());
    assert_eq!(
        broker.ask(&request(Some("ann"), Some("old"))),
        (Verdict::Proved, true)
    );
}

/// A reload that changes other users causes no computation for unchanged users.
#[test]
fn a_reload_forgets_those_alone_that_it_changes() {
    let (ann, bob) = (line("ann", "pw", 1), line("bob", "pw", 1));
    let broker = Listeners::new(&(ann.clone() + &bob));
    for user in ["ann", "bob"] {
        assert_eq!(
            broker.ask(&request(Some(user), Some("pw"))),
            (Verdict::Proved, true)
        );
    }
    let changed = line("cat", "pw", 1) + &ann + &line("bob", "pw", 1);
    std::fs::write(broker.path(), changed).unwrap();
    assert!(broker.reload().is_empty());
    assert_eq!(
        broker.ask(&request(Some("ann"), Some("pw"))),
        (Verdict::Proved, false)
    );
    assert_eq!(
        broker.ask(&request(Some("bob"), Some("pw"))),
        (Verdict::Proved, true)
    );
    assert_eq!(
        broker.ask(&request(Some("cat"), Some("pw"))),
        (Verdict::Proved, true)
    );
}

/// V30: the time of a refusal does not show whether the user exists.
#[test]
fn v30_unknown_users_take_as_long() {
    let text = line("ann", "pw", 5_000) + &line("bob", "pw", 5_000);
    let file = super::password_file::PasswordFile::parse(Path::new("p"), text.as_bytes()).unwrap();
    // The same computation: the form of the hash with its iterations.
    for user in ["ann", "bob", "nobody", ""] {
        let compared = file.compared_hash(file.find(user)).to_string();
        assert!(compared.starts_with("$7$5000$"), "{user}: {compared}");
    }
    // And it is made: the least of some, in CPU time. A quick refusal would be a thousand times less.
    let least_cpu_ns = |user: &str| {
        let check = || {
            let begun = thread_cpu_ns();
            assert!(!file.verify(file.find(user), b"wrong"));
            thread_cpu_ns() - begun
        };
        (0..10).map(|_| check()).min().unwrap()
    };
    let (known, unknown) = (least_cpu_ns("ann"), least_cpu_ns("nobody"));
    assert!(unknown > known / 4, "{known} ns against {unknown} ns");
}

/// V15, V16: a reload with a wrong file, or without descriptors, keeps the old one completely; a good one takes effect
/// at once.
#[test]
fn v16_reload() {
    let ann = line("ann", "pw", 1);
    let broker = Listeners::new(&ann);
    let generation = broker.authentication.generation();
    for wrong in ["ann\n", ":x\n", "ann:\n", "\0"] {
        std::fs::write(broker.path(), wrong).unwrap();
        assert_eq!(broker.reload().len(), 1, "{wrong}");
        assert_eq!(broker.ask(&request(Some("ann"), Some("pw"))).0, Verdict::Proved);
    }
    std::fs::remove_file(broker.path()).unwrap();
    assert_eq!(broker.reload().len(), 1);
    assert_eq!(broker.ask(&request(Some("ann"), Some("pw"))).0, Verdict::Proved);
    std::fs::write(broker.path(), line("bob", "pw", 1)).unwrap();
    assert!(broker.reload().is_empty());
    assert_ne!(broker.authentication.generation(), generation);
    assert_eq!(broker.ask(&request(Some("ann"), Some("pw"))), (WRONG, true));
    assert_eq!(
        broker.ask(&request(Some("bob"), Some("pw"))),
        (Verdict::Proved, true)
    );
}

#[test]
fn an_answer_of_before_a_reload_is_asked_for_again() {
    let broker = Listeners::new(&line("ann", "pw", 300_000));
    let check = broker
        .authentication
        .check(now(), &request(Some("ann"), Some("pw")), 0, 7);
    let _awaited = pending(check);
    std::fs::write(broker.path(), line("bob", "pw", 1)).unwrap();
    assert!(broker.reload().is_empty());
    assert_eq!(broker.woken.recv_timeout(Duration::from_secs(20)), Ok(0));
    assert_eq!(
        broker.authentication.next_answer(0),
        Some(CheckOutcome {
            ticket: 7,
            verdict: None
        })
    );
}
