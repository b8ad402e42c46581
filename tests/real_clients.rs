//! Clients that others wrote, as people use them. On a machine without them a visible skip; in CI a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Broker, Certificates, Setup, eventually};

/// Says on standard error, past the test runner's capture, that a client is not there.
pub(crate) fn skip(client: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{client} is not installed, and CI must not skip it"
    );
    // In one piece, for the other tests' threads write too.
    let line = format!("SKIPPED: {client} is not installed on this machine\n");
    let _written = std::io::stderr().write_all(line.as_bytes());
}

fn has_mosquitto_clients() -> bool {
    ["mosquitto_pub", "mosquitto_sub"]
        .iter()
        .all(|program| Command::new(program).arg("--help").output().is_ok())
}

fn subscriber(broker: &Broker, arguments: &[&str]) -> Child {
    let filter = arguments.iter().skip_while(|word| **word != "-t").nth(1);
    let filter = filter.copied().unwrap_or_default();
    let before = subscriptions(broker, filter);
    let child = Command::new("mosquitto_sub")
        .args(["-h", "localhost", "-p", &broker.port().to_string(), "-W", "20"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    eventually("mosquitto_sub has subscribed", || {
        subscriptions(broker, filter) > before
    });
    child
}

/// Subscriptions to a filter so far: the log has `TIME: CLIENT QOS FILTER` for each. Those to other filters, which
/// nobody waited for, may come to the log later.
fn subscriptions(broker: &Broker, filter: &str) -> usize {
    let is_subscription = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [_, _, "0" | "1" | "2", last] if last == filter)
    };
    broker.log().lines().filter(is_subscription).count()
}

fn publish(broker: &Broker, arguments: &[&str]) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &broker.port().to_string()])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "{arguments:?}: {status:?}");
}

fn output(child: Child) -> String {
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "{status:?}");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn mosquitto_clients() {
    if !has_mosquitto_clients() {
        return skip("mosquitto-clients");
    }
    let broker = Setup::default().shards(2).global("log_type all").start();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}");
            let received = subscriber(
                &broker,
                &["-V", version, "-q", qos, "-t", &format!("{version}/+"), "-C", "2"],
            );
            publish(&broker, &["-V", version, "-q", qos, "-t", &topic, "-m", "one"]);
            publish(&broker, &["-V", version, "-q", qos, "-t", &topic, "-m", "two"]);
            // Two publishers: with QoS 0 neither knows when its message has arrived, and they may change places.
            let received = output(received);
            let mut lines: Vec<_> = received.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["one", "two"], "{version} QoS {qos}");
        }
        publish(
            &broker,
            &["-V", version, "-q", "1", "-r", "-t", "kept", "-m", version],
        );
        let kept = Command::new("mosquitto_sub")
            .args([
                "-h",
                "localhost",
                "-p",
                &broker.port().to_string(),
                "-V",
                version,
                "-t",
                "kept",
                "-C",
                "1",
                "-W",
                "20",
            ])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(kept.stdout).unwrap(), format!("{version}\n"));
    }
}

#[test]
fn mosquitto_clients_over_tls() {
    if !has_mosquitto_clients() {
        return skip("mosquitto-clients");
    }
    let certificates = Certificates::new();
    let setup = Setup::default()
        .tls(&certificates)
        .listener("require_certificate true")
        .global("log_type all");
    let broker = setup.start();
    let path = |name: &str| certificates.path(name).display().to_string();
    let (ca, certificate, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    for version in ["tlsv1.2", "tlsv1.3"] {
        let tls = [
            "--cafile",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
            "--tls-version",
            version,
        ];
        let received = subscriber(&broker, &[&tls[..], &["-t", "secure", "-C", "1"]].concat());
        publish(
            &broker,
            &[&tls[..], &["-q", "1", "-t", "secure", "-m", version]].concat(),
        );
        assert_eq!(output(received), format!("{version}\n"));
    }
}

/// A file that `.ci/run` installed for these tests.
pub(crate) fn peer(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/peers")
        .join(path)
}

/// The first of these Pythons that has the module.
fn python_with(module: &str, pythons: &[PathBuf]) -> Option<PathBuf> {
    let imports = |python: &&PathBuf| {
        let import = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        import.is_ok_and(|output| output.status.success())
    };
    pythons.iter().find(imports).cloned()
}

/// A program of `tests/clients` in a language with an interpreter.
pub(crate) fn script(interpreter: &Path, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name));
    command
}

/// Runs a client's checks, which take a port and perhaps a CA, over TCP and over TLS.
fn all_pass(client: impl Fn() -> Command) {
    let certificates = Certificates::new();
    let plain = Setup::default().shards(2).start();
    let secure = Setup::default().shards(2).tls(&certificates).start();
    for (broker, ca) in [(&plain, None), (&secure, Some(certificates.path("ca.crt")))] {
        let mut command = client();
        command.arg(broker.port().to_string()).args(ca);
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        assert!(status.success(), "{text}");
        assert!(text.contains("all passed"), "{text}");
    }
}

/// A Python that has paho-mqtt: the one of the CI's own folder, or the system's.
pub(crate) fn python_with_paho() -> Option<PathBuf> {
    let pythons = [peer("bin/python"), PathBuf::from("python3")];
    python_with("paho.mqtt.client", &pythons)
}

#[test]
fn paho_python() {
    let Some(python) = python_with_paho() else {
        return skip("paho-mqtt (Python)");
    };
    all_pass(|| script(&python, "paho_client.py"));
}

/// The version that many still have, whose callbacks are others.
#[test]
fn paho_python_1() {
    let Some(python) = python_with("paho.mqtt.client", &[peer("paho1/bin/python")]) else {
        return skip("paho-mqtt 1.6 (Python)");
    };
    all_pass(|| script(&python, "paho_client.py"));
}

#[test]
fn gmqtt_python() {
    let Some(python) = python_with("gmqtt", &[peer("bin/python"), PathBuf::from("python3")]) else {
        return skip("gmqtt (Python)");
    };
    all_pass(|| script(&python, "gmqtt_client.py"));
}

#[test]
fn mqtt_js() {
    let modules = peer("node_modules");
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !has_node || !modules.join("mqtt").is_dir() {
        return skip("mqtt.js");
    }
    all_pass(|| {
        let mut command = script(Path::new("node"), "mqttjs_client.js");
        command.env("NODE_PATH", &modules);
        command
    });
}

#[test]
fn rumqttc() {
    let program = peer("rumqttc/debug/rumqttc-client");
    if !program.is_file() {
        return skip("rumqttc");
    }
    all_pass(|| Command::new(&program));
}
