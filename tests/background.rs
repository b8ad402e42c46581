//! Options of mosquitto(8) for the process: `-d`, `-q` and `--tls-keylog`.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::harness::{Certificates, Client, Options, eventually, free_port, run};

/// A process that nobody waits for; it is ended when this is dropped.
struct Daemon(Pid);

impl Daemon {
    fn of(pid_file: &Path) -> Self {
        let text = std::fs::read_to_string(pid_file).unwrap();
        Self(Pid::from_raw(text.trim().parse().unwrap()).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = kill_process(self.0, Signal::TERM);
    }
}

#[test]
fn the_broker_goes_to_the_background_when_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (port, configuration) = (free_port(), path("c.conf"));
    let text = format!(
        "user root\npid_file {}\nlog_dest file {}\nlistener {port} 127.0.0.1\nallow_anonymous true\n",
        path("pid").display(),
        path("log").display()
    );
    std::fs::write(&configuration, &text).unwrap();
    let started = run(&["-d", "-c", configuration.to_str().unwrap(), "--shards", "1"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let daemon = Daemon::of(&path("pid"));
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "it serves already"
    );
    Client::connect_at(port, &Options::new("a")).ping();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.0)).unwrap();
    let session = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap();
    assert_eq!(session, daemon.0.to_string(), "a session of its own");

    // Its port is taken: what is wrong comes to whoever starts the second one.
    std::fs::write(
        path("second.conf"),
        text.replace("/pid", "/pid2").replace("/log", "/log2"),
    )
    .unwrap();
    let second = run(&["-d", "-c", path("second.conf").to_str().unwrap(), "--shards", "1"]);
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("another program uses the port"),
        "{}",
        second.stderr
    );

    kill_process(daemon.0, Signal::TERM).unwrap();
    eventually("it has ended", || test_kill_process(daemon.0).is_err());
    assert!(!path("pid").exists());
}

#[test]
fn quiet_is_stronger_than_verbose() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.conf");
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::fs::write(&path, format!("log_type all\nlistener {port} 127.0.0.1\n")).unwrap();
    let path = path.to_str().unwrap();
    assert!(
        run(&["-c", path, "--shards", "1"])
            .stderr
            .contains("uses the port")
    );
    let quiet = run(&["-q", "-v", "-c", path, "--shards", "1"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(1), ""));
}

#[test]
fn the_secrets_of_tls_go_to_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let certificates = Certificates::new();
    let port = free_port();
    let of = |name: &str| certificates.path(name).display().to_string();
    let text = format!(
        "user root\npid_file {}\nlog_dest file {}\nlistener {port} 127.0.0.1\nallow_anonymous true\ncertfile {}\n\
         keyfile {}\n",
        path("pid"),
        path("log"),
        of("server.crt"),
        of("server.key")
    );
    std::fs::write(path("c.conf"), text).unwrap();
    let (keys, configuration) = (path("keys"), path("c.conf"));
    let started = run(&["-d", "--tls-keylog", &keys, "-c", &configuration, "--shards", "1"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let _daemon = Daemon::of(Path::new(&path("pid")));
    let tls = certificates.client_config(&[&rustls::version::TLS13], false);
    Client::connect_at(port, &Options::new("a").tls(tls)).ping();
    let written = std::fs::read_to_string(&keys).unwrap();
    assert!(written.contains("CLIENT_TRAFFIC_SECRET_0 "), "{written}");
    let mode = std::fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = std::fs::read_to_string(path("log")).unwrap();
    assert!(
        log.contains("The secrets of all TLS connections are written to"),
        "{log}"
    );
}

#[test]
fn a_memory_limit_that_the_start_exceeds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.conf");
    std::fs::write(
        &path,
        format!("memory_limit 1000000\nlistener {} 127.0.0.1\n", free_port()),
    )
    .unwrap();
    let ran = run(&["-c", path.to_str().unwrap(), "--shards", "1"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("raise memory_limit to"), "{}", ran.stderr);
}
