//! Listeners on Unix sockets: `listener 0 PATH`.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::api::{get_json, metrics, start_with_api};
use crate::harness::{Broker, Setup, eventually, run};
use crate::real_clients;

/// A folder, and the path of a socket in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    (folder, path)
}

fn with_socket(path: &Path) -> Setup {
    Setup::default()
        .global("log_type all")
        .listener(&format!("listener 0 {}", path.display()))
}

fn loadgen(word: &str, path: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midge-loadgen"));
    command
        .args([word, "--unix", path.to_str().unwrap()])
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn clients_come_by_a_unix_socket() {
    let (_folder, path) = place();
    let (broker, port) = start_with_api(with_socket(&path), 2, "");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o770, "as with mosquitto");
    assert!(
        broker
            .log()
            .contains(&format!("Opening unix listen socket on path {}.", path.display()))
    );
    let retained = loadgen("pub", &path, "-t a/b -m kept -r -q 1 -i sender")
        .output()
        .unwrap();
    assert!(retained.status.success(), "{}", text(&retained));
    let got = loadgen("sub", &path, "-t a/# -C 1 -V 5 -W 20").output().unwrap();
    assert_eq!(text(&got), "kept\n");
    // A client that stays, in lists and metrics.
    let mut staying = loadgen("sub", &path, "-t b -i staying").spawn().unwrap();
    let listed = || get_json(port, "clients")["items"].to_string();
    eventually("the client is listed", || listed().contains("staying"));
    assert!(
        listed().contains(&format!("\"address\":\"{}:0\"", path.display())),
        "{}",
        listed()
    );
    let name = format!("midge_listener_connections{{listener=\"{}\"}} 1", path.display());
    assert!(metrics(port).contains(&name), "{}", metrics(port));
    let logged = format!("New client connected from {}:0 as sender", path.display());
    assert!(broker.log().contains(&logged), "{}", broker.log());
    staying.kill().unwrap();
    staying.wait().unwrap();
    let ended = broker.wait_for_end();
    assert!(!path.exists(), "the file goes with the broker:\n{ended}");
}

#[test]
fn mosquitto_clients_come_by_a_unix_socket() {
    if Command::new("mosquitto_pub").arg("--help").output().is_err() {
        return real_clients::skip("mosquitto-clients");
    }
    let (_folder, path) = place();
    let broker = with_socket(&path).shards(2).start();
    let unix = path.to_str().unwrap();
    let sub = Command::new("mosquitto_sub")
        .args(["--unix", unix, "-t", "u/+", "-C", "3", "-W", "20", "-q", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it has subscribed", || broker.log().contains(" 2 u/+"));
    for qos in ["0", "1", "2"] {
        let arguments = ["--unix", unix, "-t", "u/t", "-m", qos, "-q", qos];
        let status = Command::new("mosquitto_pub").args(arguments).status().unwrap();
        assert!(status.success());
    }
    assert_eq!(sub.wait_with_output().unwrap().stdout, b"0\n1\n2\n");
}

#[test]
fn web_sockets_and_responses_over_a_unix_socket() {
    let (_folder, path) = place();
    let setup = with_socket(&path).listener("protocol websockets\nunix_socket_mode 0666");
    let broker = setup.start();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let asking = loadgen("rr", &path, "--ws -t q -e answers -m question -W 20")
        .spawn()
        .unwrap();
    let answering = loadgen("sub", &path, "--ws -t q -C 1 -W 20").spawn().unwrap();
    eventually("it has subscribed", || broker.log().contains(" 0 answers"));
    // The question may have been published before anybody had subscribed to it: the answer alone is of interest.
    let answered = loadgen("pub", &path, "--ws -t answers -m answer")
        .output()
        .unwrap();
    assert!(answered.status.success(), "{}", text(&answered));
    assert_eq!(text(&asking.wait_with_output().unwrap()), "answer\n");
    let mut answering = answering;
    let _ended = (answering.kill(), answering.wait());
}

#[test]
fn a_unix_socket_has_the_rules_of_its_listener() {
    let (_folder, path) = place();
    // The harness lets anonymous clients in on its own listener only.
    let setup = with_socket(&path).global("per_listener_settings true");
    let broker = setup.start();
    let refused = loadgen("pub", &path, "-t a -m x -V 5").output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(
        text(&refused).contains(path.to_str().unwrap()),
        "{}",
        text(&refused)
    );
    let quiet = loadgen("pub", &path, "-t a -m x -V 5 --quiet").output().unwrap();
    assert_eq!((quiet.status.code(), text(&quiet)), (Some(3), String::new()));
    drop(broker);

    let broker = with_socket(&path).listener("max_connections 1").start();
    let mut first = loadgen("sub", &path, "-t a -i first").spawn().unwrap();
    eventually("the first is in", || broker.log().contains("as first"));
    let second = loadgen("pub", &path, "-t a -m x").output().unwrap();
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    let denied = format!(
        "Client connection from {}:0 denied: max_connections",
        path.display()
    );
    eventually("it is logged", || broker.log().contains(&denied));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn what_a_killed_broker_left_is_replaced_and_anothers_is_not() {
    let (folder, path) = place();
    let broker = with_socket(&path).start();
    let configuration = folder.path().join("second.conf");
    std::fs::write(&configuration, format!("listener 0 {}\n", path.display())).unwrap();
    let second = run(&["-c", configuration.to_str().unwrap(), "--shards", "1"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains("another broker uses it"),
        "{}",
        second.stderr
    );
    broker.kill();
    assert!(path.exists());
    let broker = with_socket(&path).start();
    let works = loadgen("pub", &path, "-t a -m x -q 2").output().unwrap();
    assert!(works.status.success(), "{}", text(&works));
    drop(broker);
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let checked = run(&["-c", configuration.to_str().unwrap(), "--test-config"]);
    assert_ne!(checked.code, Some(0));
    assert!(
        checked.stderr.contains("a file of another kind"),
        "{}",
        checked.stderr
    );
    let third = run(&["-c", configuration.to_str().unwrap(), "--shards", "1"]);
    assert!(
        third.stderr.contains("a file of another kind"),
        "{}",
        third.stderr
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn no_socket_and_no_place_are_said_to_be_so() {
    let (folder, path) = place();
    let nobody = loadgen("pub", &path, "-t a -m x").output().unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody).contains("No such file"), "{}", text(&nobody));
    drop(UnixListener::bind(&path).unwrap());
    let left = loadgen("pub", &path, "-t a -m x").output().unwrap();
    assert!(text(&left).contains("refused"), "{}", text(&left));
    let long = folder.path().join("s".repeat(108));
    let configuration = folder.path().join("long.conf");
    std::fs::write(&configuration, format!("listener 0 {}\n", long.display())).unwrap();
    let refused = run(&["-c", configuration.to_str().unwrap()]);
    assert!(
        refused.stderr.contains("long.conf:1") && refused.stderr.contains("107"),
        "{}",
        refused.stderr
    );
}

impl Broker {
    /// Ends it, and gives its log.
    fn wait_for_end(self) -> String {
        self.signal(rustix::process::Signal::TERM);
        self.wait().1
    }
}
