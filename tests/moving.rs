//! The guides for those who come from other brokers, from their first command to their last, and the configurations
//! that people have.
//!
//! "Unchanged" is a configuration whose folders are below one of the test's own and whose ports are free ones.

use std::path::Path;
use std::process::{Command, Stdio};

use mqtt::QoS;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Client, Options, eventually, free_port, program, run};
use crate::real_clients;

/// The commands of a page: all of its blocks of `sh`, one behind the other.
fn commands(page: &str) -> String {
    let mut commands = "set -euo pipefail\n".to_owned();
    for block in page.split("```sh\n").skip(1) {
        commands.push_str(block.split("```").next().unwrap());
    }
    commands
}

/// Ends the broker whose number is in a file, if it is left.
struct PidFile<'a>(&'a Path);

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let text = std::fs::read_to_string(self.0).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            let _ended = kill_process(pid, Signal::TERM);
        }
    }
}

/// Runs the commands of a page in a folder of their own, with these ports in place of its own; what they print.
fn follow(page: &str, ports: &[&str], pid_file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let programs = tempfile::tempdir().unwrap();
    for (name, path) in [
        ("broker", program()),
        ("loadgen", env!("CARGO_BIN_EXE_midge-loadgen")),
    ] {
        std::os::unix::fs::symlink(path, programs.path().join(name)).unwrap();
    }
    let mut script = commands(page);
    for port in ports {
        script = script.replace(port, &free_port().to_string());
    }
    let pid_file = folder.path().join(pid_file);
    let _left = PidFile(&pid_file);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}:/usr/sbin:/usr/local/sbin", programs.path().display());
    let ran = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(folder.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    let log = std::fs::read_to_string(folder.path().join("mosquitto.log")).unwrap_or_default();
    assert!(
        ran.status.success(),
        "{:?}\n{out}\n{err}\n{log}\n{script}",
        ran.status
    );
    eventually("the broker has ended", || !pid_file.exists());
    out
}

#[test]
fn the_guide_for_those_who_come_from_mosquitto() {
    if Command::new("mosquitto_pub").arg("--help").output().is_err() {
        return real_clients::skip("mosquitto-clients");
    }
    if !["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        return real_clients::skip("mosquitto");
    }
    let out = follow(
        include_str!("../docs/FROM_MOSQUITTO.md"),
        &["1883"],
        "mosquitto.pid",
    );
    assert!(out.contains("the broker would start"), "{out}");
    assert!(out.contains("refused, as it should be"), "{out}");
}

#[test]
fn the_guide_for_those_who_come_from_emqx() {
    let page = include_str!("../docs/FROM_EMQX.md");
    let out = follow(page, &["18083", "1883", "8883", "8083"], "midge.pid");
    assert!(out.contains("sends too much"), "{out}");
}

/// Starts the broker on a configuration, publishes and subscribes as this client, and ends it.
fn serves(configuration: &Path, port: u16, options: &Options, pid_file: &Path) {
    let checked = run(&["check", configuration.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    let started = run(&["-d", "-c", configuration.to_str().unwrap(), "--shards", "1"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let _left = PidFile(pid_file);
    let mut client = Client::connect_at(port, options);
    client.subscribe("a/#", QoS::AtLeastOnce);
    client.publish("a/b", b"hello", QoS::AtLeastOnce);
    assert_eq!(client.message().payload, b"hello");
}

/// Writes a file of the folder, and makes the folders above it.
fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What Debian's package installs, with the usual file in conf.d.
#[test]
fn debians_configuration_works() {
    let folder = tempfile::tempdir().unwrap();
    let (root, port) = (folder.path(), free_port());
    let at = root.display();
    for made in ["run/mosquitto", "var/lib/mosquitto", "var/log/mosquitto"] {
        std::fs::create_dir_all(root.join(made)).unwrap();
    }
    let main = format!(
        "pid_file {at}/run/mosquitto/mosquitto.pid\n\npersistence true\n\
         persistence_location {at}/var/lib/mosquitto/\n\n\
         log_dest file {at}/var/log/mosquitto/mosquitto.log\n\ninclude_dir {at}/etc/mosquitto/conf.d\n"
    );
    write(root, "etc/mosquitto/mosquitto.conf", &main);
    let local = format!(
        "user root\nlistener {port}\nallow_anonymous false\npassword_file {at}/etc/mosquitto/passwd\n"
    );
    write(root, "etc/mosquitto/conf.d/default.conf", &local);
    write(
        root,
        "etc/mosquitto/conf.d/README",
        "Files that end in .conf are read.\n",
    );
    write(root, "etc/mosquitto/passwd", "");
    let passwords = root.join("etc/mosquitto/passwd");
    let made = run(&["passwd", "-b", passwords.to_str().unwrap(), "alice", "secret"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let options = Options::new("debian").user("alice", "secret");
    let pid_file = root.join("run/mosquitto/mosquitto.pid");
    serves(
        &root.join("etc/mosquitto/mosquitto.conf"),
        port,
        &options,
        &pid_file,
    );
    eventually("it has ended", || !pid_file.exists());
}

/// The usual file of those who run eclipse-mosquitto in a container, with WebSocket beside MQTT.
#[test]
fn the_containers_configuration_works() {
    let folder = tempfile::tempdir().unwrap();
    let (root, port, web) = (folder.path(), free_port(), free_port());
    let at = root.join("mosquitto").display().to_string();
    for made in ["mosquitto/data", "mosquitto/log"] {
        std::fs::create_dir_all(root.join(made)).unwrap();
    }
    let main = format!(
        "user root\npid_file {at}/log/pid\npersistence true\npersistence_file mosquitto.db\n\
         persistence_location {at}/data/\nautosave_interval 1800\nlog_dest file {at}/log/mosquitto.log\n\
         log_dest stdout\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n\
         log_timestamp true\nlog_timestamp_format %Y-%m-%dT%H:%M:%S\nconnection_messages true\n\
         allow_anonymous true\nset_tcp_nodelay true\nlistener {port} 0.0.0.0\nprotocol mqtt\nlistener {web}\n\
         protocol websockets\n"
    );
    write(root, "mosquitto/config/mosquitto.conf", &main);
    let pid_file = root.join("mosquitto/log/pid");
    let configuration = root.join("mosquitto/config/mosquitto.conf");
    serves(&configuration, port, &Options::new("container"), &pid_file);
    eventually("it has ended", || !pid_file.exists());
}

/// The file that Home Assistant's add-on makes, with the lines of its plugin and without them.
#[test]
fn the_add_ons_configuration_works_but_for_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let (root, port, web) = (folder.path(), free_port(), free_port());
    let at = root.display();
    std::fs::create_dir_all(root.join("data")).unwrap();
    let before = format!(
        "user root\npid_file {at}/pid\nlog_dest stdout\nlog_type error\nlog_type warning\nlog_type notice\n\
         log_type information\nlog_timestamp_format %Y-%m-%d %H:%M:%S\npersistence true\n\
         persistence_location {at}/data/\nmax_queued_messages 8192\n"
    );
    let plugin = "auth_plugin /usr/share/mosquitto/go-auth.so\nauth_opt_backends files,http\nauth_opt_hasher pbkdf2\n\
                  auth_opt_http_host 127.0.0.1\nauth_opt_http_port 80\n";
    let after = format!(
        "listener {port}\nprotocol mqtt\n\nlistener {web}\nprotocol websockets\ninclude_dir {at}/share/mosquitto\n"
    );
    write(root, "share/mosquitto/local.conf", "max_packet_size 1000000\n");
    write(root, "with.conf", &format!("{before}{plugin}{after}"));
    let checked = run(&["check", "--json", root.join("with.conf").to_str().unwrap()]);
    let found: Value = serde_json::from_str(&checked.stdout).unwrap();
    for line in found[0]["lines"].as_array().unwrap() {
        let is_of_plugin = line["key"].as_str().unwrap().starts_with("auth_");
        let is_taken = ["works", "no_effect"].iter().any(|word| line["verdict"] == *word);
        assert!(is_taken || is_of_plugin, "{line}");
    }
    write(root, "passwords", "");
    let passwords = root.join("passwords");
    let made = run(&["passwd", "-b", passwords.to_str().unwrap(), "addons", "secret"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let users = format!("password_file {at}/passwords\n");
    write(root, "without.conf", &format!("{before}{users}{after}"));
    let options = Options::new("addon").user("addons", "secret");
    let pid_file = root.join("pid");
    serves(&root.join("without.conf"), port, &options, &pid_file);
    eventually("it has ended", || !pid_file.exists());
}
