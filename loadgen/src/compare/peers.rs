//! The brokers that Midge is compared with: how each is found, asked for its version, configured and started.
//!
//! Invariants: all get the same settings as far as they have them: one listener on 127.0.0.1, anybody may connect,
//! queues without a bound, TCP_NODELAY, no persistence, no log but of errors. Each configuration is kept with the
//! results. What breaks it: a key that a newer version renames, which shows as a broker that does not start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::target::certificates::ServerCertificates;
use crate::target::process::first_line_of;

/// A broker that Midge can be compared with.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name, in options and in files.
    pub name: &'static str,
    /// The name of its program, as it is found on the PATH.
    program: &'static str,
    /// The option with which it prints its version.
    version_word: &'static str,
    /// Where the program can be obtained.
    pub from: &'static str,
    /// The name of its configuration file.
    file: &'static str,
    configuration: fn(&Setting<'_>) -> String,
    words: fn(&Path) -> Vec<OsString>,
}

/// What a broker is started with.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The port on 127.0.0.1 that it has to listen on.
    pub port: u16,
    /// Its certificate, where it is to speak TLS.
    pub tls: Option<&'a ServerCertificates>,
    /// The folder for the broker's own files.
    pub folder: &'a Path,
    /// Whether TCP_NODELAY is set, which turns Nagle's delay off.
    pub nodelay: bool,
    /// Threads that it may have, where it has a key for that.
    pub threads: usize,
}

/// The broker's configuration in a file.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What the file holds, kept with the results.
    pub text: String,
    /// The path of the configuration file.
    pub file: PathBuf,
}

impl Peer {
    /// The peer of this name.
    pub fn of(name: &str) -> Option<&'static Peer> {
        ALL.iter().find(|peer| peer.name == name || peer.program == name)
    }

    /// Its program, if it is installed.
    pub fn find(&self) -> Option<PathBuf> {
        find_program(self.program)
    }

    /// What it says of its version.
    pub fn version(&self, program: &Path) -> String {
        first_line_of(program.as_os_str(), &[self.version_word]).unwrap_or_default()
    }

    /// Writes its configuration into the setting's folder.
    ///
    /// # Errors
    /// What writing gives.
    pub fn configure(&self, setting: &Setting<'_>) -> std::io::Result<Configured> {
        let text = (self.configuration)(setting);
        let file = setting.folder.join(self.file);
        std::fs::write(&file, &text)?;
        Ok(Configured { text, file })
    }

    /// The words that start it with a configuration file.
    pub fn command(&self, program: &Path, file: &Path) -> Vec<OsString> {
        let mut words = vec![program.as_os_str().to_owned()];
        words.extend((self.words)(file));
        words
    }
}

/// All brokers that a comparison can start besides Midge.
pub const ALL: &[Peer] = &[
    Peer {
        name: "mosquitto",
        program: "mosquitto",
        version_word: "-h",
        from: "the package mosquitto",
        file: "mosquitto.conf",
        configuration: mosquitto,
        words: |file| vec!["-c".into(), file.into()],
    },
    Peer {
        name: "flashmq",
        program: "flashmq",
        version_word: "--version",
        from: "www.flashmq.org",
        file: "flashmq.conf",
        configuration: flashmq,
        words: |file| vec!["--config-file".into(), file.into()],
    },
    Peer {
        name: "nanomq",
        program: "nanomq",
        version_word: "--version",
        from: "nanomq.io",
        file: "nanomq.conf",
        configuration: nanomq,
        words: |file| vec!["start".into(), "--conf".into(), file.into()],
    },
    Peer {
        name: "rumqttd",
        program: "rumqttd",
        version_word: "--version",
        from: "the crate rumqttd",
        file: "rumqttd.toml",
        configuration: rumqttd,
        words: |file| vec!["--config".into(), file.into()],
    },
    Peer {
        name: "rmqtt",
        program: "rmqttd",
        version_word: "--version",
        from: "the crate rmqttd",
        file: "rmqtt.toml",
        configuration: rmqtt,
        words: |file| vec!["--config".into(), file.into()],
    },
    Peer {
        name: "nats",
        program: "nats-server",
        version_word: "--version",
        from: "the package nats-server",
        file: "nats.conf",
        configuration: nats,
        words: |file| vec!["--config".into(), file.into()],
    },
];

/// The configuration of mosquitto, which Midge reads too.
pub fn mosquitto(setting: &Setting<'_>) -> String {
    let mut lines = vec![
        // Who becomes somebody else is no longer ended with its parent.
        "user root".to_owned(),
        format!("listener {} 127.0.0.1", setting.port),
        "allow_anonymous true".to_owned(),
        format!("set_tcp_nodelay {}", setting.nodelay),
        "max_queued_messages 0".to_owned(),
        "max_inflight_messages 1000".to_owned(),
        "persistence false".to_owned(),
        "log_type error".to_owned(),
        "log_type warning".to_owned(),
    ];
    if let Some(tls) = setting.tls {
        lines.push(format!("certfile {}", tls.certificate.display()));
        lines.push(format!("keyfile {}", tls.key.display()));
    }
    lines.join("\n") + "\n"
}

fn flashmq(setting: &Setting<'_>) -> String {
    let tls = setting.tls.map_or(String::new(), |tls| {
        let (chain, key) = (tls.certificate.display(), tls.key.display());
        format!("    fullchain {chain}\n    privkey {key}\n")
    });
    let Setting {
        port,
        nodelay,
        threads,
        ..
    } = setting;
    let folder = setting.folder.display();
    format!(
        "listen {{\n    protocol mqtt\n    port {port}\n    inet_protocol ip4\n    inet4_bind_address 127.0.0.1\n    \
         tcp_nodelay {nodelay}\n{tls}}}\n\
         allow_anonymous true\nthread_count {threads}\nlog_level warning\nlog_file {folder}/flashmq.log\n\
         max_qos_msg_pending_per_client 65535\nmax_qos_bytes_pending_per_client 268435456\n"
    )
}

fn nanomq(setting: &Setting<'_>) -> String {
    let (port, threads) = (setting.port, setting.threads);
    let listener = match setting.tls {
        None => format!("listeners.tcp {{\n  bind = \"127.0.0.1:{port}\"\n}}\n"),
        Some(tls) => format!(
            "listeners.ssl {{\n  bind = \"127.0.0.1:{port}\"\n  keyfile = \"{}\"\n  certfile = \"{}\"\n  \
             cacertfile = \"{}\"\n  verify_peer = false\n  fail_if_no_peer_cert = false\n}}\n",
            tls.key.display(),
            tls.certificate.display(),
            tls.ca.display()
        ),
    };
    format!(
        "{listener}system {{\n  num_taskq_thread = {threads}\n  max_taskq_thread = {threads}\n  parallel = 1024\n}}\n\
         mqtt {{\n  max_mqueue_len = 65535\n  max_inflight_window = 1000\n}}\n\
         auth {{\n  allow_anonymous = true\n  no_match = allow\n  deny_action = ignore\n}}\n\
         log {{\n  to = [console]\n  level = error\n}}\n"
    )
}

fn rumqttd(setting: &Setting<'_>) -> String {
    let tls = setting.tls.map_or(String::new(), |tls| {
        let (chain, key) = (tls.certificate.display(), tls.key.display());
        format!("[v4.1.tls]\ncertpath = \"{chain}\"\nkeypath = \"{key}\"\n")
    });
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 100010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{}\"\nnext_connection_delay_ms = 1\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 1000\n\
         dynamic_filters = true\n{tls}",
        setting.port
    )
}

fn rmqtt(setting: &Setting<'_>) -> String {
    let kind = if setting.tls.is_some() { "tls" } else { "tcp" };
    let tls = setting.tls.map_or(String::new(), |tls| {
        let (chain, key) = (tls.certificate.display(), tls.key.display());
        format!("cert = \"{chain}\"\nkey = \"{key}\"\n")
    });
    let Setting {
        port,
        nodelay,
        threads,
        ..
    } = setting;
    format!(
        "[node]\nid = 1\n[rpc]\nserver_addr = \"127.0.0.1:0\"\n[log]\nto = \"console\"\nlevel = \"error\"\n\
         [plugins]\ndir = \"{}\"\ndefault_startups = []\n\
         [listener.{kind}.external]\naddr = \"127.0.0.1:{port}\"\nworkers = {threads}\nmax_connections = 1024000\n\
         max_handshaking_limit = 100000\nallow_anonymous = true\nmax_inflight = 1000\nmax_mqueue_len = 1000000\n\
         mqueue_rate_limit = \"4294967295,1s\"\nnodelay = {nodelay}\n{tls}",
        setting.folder.display()
    )
}

fn nats(setting: &Setting<'_>) -> String {
    let tls = setting.tls.map_or(String::new(), |tls| {
        let (chain, key) = (tls.certificate.display(), tls.key.display());
        format!("  tls {{\n    cert_file: \"{chain}\"\n    key_file: \"{key}\"\n  }}\n")
    });
    format!(
        "server_name: compared\nlisten: \"127.0.0.1:-1\"\nmax_pending: 1073741824\n\
         jetstream {{\n  store_dir: \"{}\"\n}}\n\
         mqtt {{\n  listen: \"127.0.0.1:{}\"\n  max_ack_pending: 65535\n{tls}}}\n",
        setting.folder.display(),
        setting.port
    )
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Brokers are often where only root's PATH looks.
    let extra = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates() -> ServerCertificates {
        ServerCertificates {
            ca: "/c/ca.crt".into(),
            certificate: "/c/server.crt".into(),
            key: "/c/server.key".into(),
        }
    }

    fn text(peer: &Peer, tls: Option<&ServerCertificates>, nodelay: bool) -> String {
        (peer.configuration)(&Setting {
            port: 21_883,
            tls,
            folder: Path::new("/f"),
            nodelay,
            threads: 1,
        })
    }

    #[test]
    fn every_peer_listens_on_its_port_of_this_machine_with_tls_where_it_is_wanted() {
        let certificates = certificates();
        for peer in ALL {
            let (plain, tls) = (text(peer, None, true), text(peer, Some(&certificates), true));
            for text in [&plain, &tls] {
                assert!(
                    text.contains("21883") && text.contains("127.0.0.1"),
                    "{}: {text}",
                    peer.name
                );
                assert!(!text.contains("0.0.0.0"), "{}: {text}", peer.name);
            }
            assert!(!plain.contains("/c/"), "{}: {plain}", peer.name);
            for file in ["/c/server.crt", "/c/server.key"] {
                assert!(tls.contains(file), "{}: {tls}", peer.name);
            }
        }
    }

    #[test]
    fn toml_peers_get_toml_and_midge_reads_mosquittos() {
        let certificates = certificates();
        for peer in [Peer::of("rumqttd").unwrap(), Peer::of("rmqttd").unwrap()] {
            for tls in [None, Some(&certificates)] {
                let text = text(peer, tls, true);
                let table: Result<toml::Table, _> = text.parse();
                assert!(table.is_ok(), "{}: {text}: {table:?}", peer.name);
            }
        }
        let nagle = text(Peer::of("mosquitto").unwrap(), None, false);
        assert!(nagle.contains("set_tcp_nodelay false"), "{nagle}");
    }

    #[test]
    fn a_peer_is_known_by_its_name_and_its_program() {
        assert_eq!(Peer::of("nats-server").map(|peer| peer.name), Some("nats"));
        assert!(Peer::of("emqx").is_none());
        let peer = Peer::of("mosquitto").unwrap();
        let words = peer.command(Path::new("/usr/sbin/mosquitto"), Path::new("/f/m.conf"));
        assert_eq!(words, ["/usr/sbin/mosquitto", "-c", "/f/m.conf"]);
        assert_eq!(find_program("no-such-broker"), None);
        assert!(find_program("sh").is_some());
    }
}
