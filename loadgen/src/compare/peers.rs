//! The brokers that can be compared: each is a TOML file with its command, its configuration and how its process is
//! found. The known ones are in `brokers/`; others are files of the user.
//!
//! Invariants: the known ones get the same settings as far as they support them: one listener on 127.0.0.1, anonymous
//! clients, queues without a bound, TCP_NODELAY, no persistence, only errors in the log. Each configuration is kept
//! with the results. What breaks it: a key that a newer version renames, which shows as a broker that does not start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Deserialize;

use crate::target::certificates::ServerCertificates;
use crate::target::process::first_line_of;

/// A broker that can be compared, in the form of its file. Texts are templates with `port`, `folder`, `threads`,
/// `nodelay`, `durable`, `configuration` (the path of its file) and `tls` (`ca`, `certificate`, `key`; nothing without
/// TLS).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name, in options and in files.
    pub name: String,
    /// Its program: a name on the PATH, or a path.
    program: String,
    /// Where the program can be obtained.
    #[serde(default)]
    pub from: String,
    /// The arguments with which it prints its version and exits; if empty, its version is not read.
    #[serde(default)]
    version: Vec<String>,
    /// The arguments that start it.
    #[serde(default)]
    arguments: Vec<String>,
    /// Variables of its environment.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Whether it has a setting for Nagle's delay, so that it takes part with it too.
    #[serde(default)]
    pub has_nodelay: bool,
    /// Whether it has a documented setting with which it keeps what it has acknowledged; `durable` is true then.
    #[serde(default)]
    pub has_durable: bool,
    /// Which process is measured.
    #[serde(default)]
    pub process: MeasuredProcess,
    /// Seconds within which it has to listen.
    #[serde(default = "ready_within_s")]
    ready_within_s: u64,
    /// Its configuration file; `None` if arguments and variables suffice.
    configuration: Option<ConfigurationFile>,
}

/// The process whose CPU time and memory are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredProcess {
    /// The process that was started.
    #[default]
    Started,
    /// The one with most memory among it and its children: for scripts that start a virtual machine.
    LargestChild,
}

/// The configuration file of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationFile {
    /// Its name in the broker's folder.
    file: String,
    /// The template of its text.
    text: String,
}

/// The settings with which a broker is started.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The port on 127.0.0.1 that it has to listen on.
    pub port: u16,
    /// Its certificate, if it uses TLS.
    pub tls: Option<&'a ServerCertificates>,
    /// The folder for the broker's own files.
    pub folder: &'a Path,
    /// Whether TCP_NODELAY is set, which turns Nagle's delay off.
    pub nodelay: bool,
    /// Number of its threads, if it has a key for that.
    pub threads: usize,
    /// Whether it has to keep what it has acknowledged.
    pub durable: bool,
}

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The content of its configuration file, or its variables if it has none; kept with the results.
    pub text: String,
    /// The path of the configuration file.
    pub file: PathBuf,
    /// The command that starts it, beginning with its program.
    pub words: Vec<OsString>,
}

impl Peer {
    /// The known peer with this name, or that of a file whose name ends with `.toml`.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file, or the known names.
    pub fn of(chosen: &str) -> Result<Peer, String> {
        if chosen.ends_with(".toml") {
            let text = std::fs::read_to_string(chosen).map_err(|error| format!("{chosen}: {error}"))?;
            return toml::from_str(&text).map_err(|error| format!("{chosen}: {error}"));
        }
        let known = known();
        let names: Vec<&str> = known.iter().map(|peer| peer.name.as_str()).collect();
        let names = names.join(", ");
        let found = known
            .iter()
            .find(|peer| peer.name == chosen || peer.program == chosen);
        found
            .cloned()
            .ok_or_else(|| format!("the brokers are {names}, or a file that ends with .toml"))
    }

    /// Midge, which is in this program.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn midge() -> Result<Peer, String> {
        toml::from_str(include_str!("brokers/midge.toml")).map_err(|error| error.to_string())
    }

    /// Its program, if it is installed.
    pub fn find(&self) -> Option<PathBuf> {
        if self.program.contains('/') {
            return Some(PathBuf::from(&self.program)).filter(|file| file.is_file());
        }
        find_program(&self.program)
    }

    /// Its version, as it prints it.
    pub fn version(&self, program: &Path) -> String {
        if self.version.is_empty() {
            // Without arguments it would begin to serve.
            return String::new();
        }
        let words: Vec<&str> = self.version.iter().map(String::as_str).collect();
        first_line_of(program.as_os_str(), &words).unwrap_or_default()
    }

    /// Time within which it has to listen.
    pub fn ready_within(&self) -> Duration {
        Duration::from_secs(self.ready_within_s)
    }

    /// Writes its configuration into the setting's folder.
    ///
    /// # Errors
    /// The error of writing, or a template that cannot be filled in.
    pub fn configure(&self, program: &Path, setting: &Setting<'_>) -> io::Result<Configured> {
        let name = self
            .configuration
            .as_ref()
            .map(|configuration| &configuration.file);
        let file = name.map_or(PathBuf::new(), |name| setting.folder.join(name));
        let fill = |template: &str| fill(template, setting, &file);
        let mut words = Vec::new();
        if !self.environment.is_empty() {
            words.push(OsString::from("env"));
            for (variable, value) in &self.environment {
                words.push(format!("{variable}={}", fill(value)?).into());
            }
        }
        words.push(program.as_os_str().to_owned());
        for argument in &self.arguments {
            words.push(fill(argument)?.into());
        }
        let variables = self.environment.iter().map(|(variable, value)| {
            let value = fill(value)?;
            Ok(format!("{variable}={value}\n"))
        });
        let text = match &self.configuration {
            Some(configuration) => fill(&configuration.text)?,
            None => variables.collect::<io::Result<String>>()?,
        };
        if self.configuration.is_some() {
            std::fs::write(&file, &text)?;
        }
        Ok(Configured { text, file, words })
    }
}

/// All brokers that are known besides Midge.
pub fn known() -> Vec<Peer> {
    // A file that cannot be read fails the test below.
    KNOWN
        .iter()
        .filter_map(|text| toml::from_str(text).ok())
        .collect()
}

const KNOWN: &[&str] = &[
    include_str!("brokers/mosquitto.toml"),
    include_str!("brokers/flashmq.toml"),
    include_str!("brokers/nanomq.toml"),
    include_str!("brokers/rumqttd.toml"),
    include_str!("brokers/rmqtt.toml"),
    include_str!("brokers/nats.toml"),
    include_str!("brokers/emqx.toml"),
    include_str!("brokers/vernemq.toml"),
    include_str!("brokers/hivemq-ce.toml"),
];

/// Seconds within which a broker has to listen, if its file does not say otherwise.
fn ready_within_s() -> u64 {
    20
}

fn fill(template: &str, setting: &Setting<'_>, file: &Path) -> io::Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // A misspelt name is not an empty text.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    // As in configurations; the engine writes True and False.
    environment.set_formatter(|output, state, value| match value.kind() {
        ValueKind::Bool => Ok(output.write_str(if value.is_true() { "true" } else { "false" })?),
        _ => minijinja::escape_formatter(output, state, value),
    });
    let tls = setting.tls.map(|tls| {
        context! {
            ca => tls.ca.to_string_lossy(),
            certificate => tls.certificate.to_string_lossy(),
            key => tls.key.to_string_lossy(),
        }
    });
    let values = context! {
        port => setting.port,
        folder => setting.folder.to_string_lossy(),
        threads => setting.threads,
        nodelay => setting.nodelay,
        durable => setting.durable,
        configuration => file.to_string_lossy(),
        tls => tls,
    };
    let filled = environment.render_str(template.trim_start(), values);
    filled.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Brokers are often installed where only root's PATH looks.
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

    fn configured(peer: &Peer, tls: Option<&ServerCertificates>, nodelay: bool) -> Configured {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting {
            port: 21_883,
            tls,
            folder: folder.path(),
            nodelay,
            threads: 1,
            durable: false,
        };
        peer.configure(Path::new("/p"), &setting).unwrap()
    }

    #[test]
    fn every_known_broker_listens_on_its_port_of_this_machine_with_tls_where_it_is_wanted() {
        let certificates = certificates();
        assert_eq!(known().len(), KNOWN.len(), "a file cannot be read");
        let midge = Peer::midge().unwrap();
        for peer in known().into_iter().chain([midge]) {
            let plain = configured(&peer, None, true).text;
            let tls = configured(&peer, Some(&certificates), true).text;
            for text in [&plain, &tls] {
                assert!(
                    text.contains("21883") && text.contains("127.0.0.1"),
                    "{}: {text}",
                    peer.name
                );
                assert!(!text.contains("0.0.0.0"), "{}: {text}", peer.name);
            }
            assert!(!plain.contains("/c/"), "{}: {plain}", peer.name);
            assert!(tls.contains("/c/server.crt"), "{}: {tls}", peer.name);
        }
    }

    #[test]
    fn toml_peers_get_toml_and_nagle_is_a_setting() {
        let certificates = certificates();
        for peer in [Peer::of("rumqttd").unwrap(), Peer::of("rmqttd").unwrap()] {
            for tls in [None, Some(&certificates)] {
                let text = configured(&peer, tls, true).text;
                let table: Result<toml::Table, _> = text.parse();
                assert!(table.is_ok(), "{}: {text}: {table:?}", peer.name);
            }
        }
        let nagle = configured(&Peer::of("mosquitto").unwrap(), None, false).text;
        assert!(nagle.contains("set_tcp_nodelay false\n"), "{nagle}");
        assert!(
            nagle.starts_with("user root\n") && nagle.ends_with('\n'),
            "{nagle:?}"
        );
    }

    #[test]
    fn a_peer_is_known_by_its_name_and_its_program_and_any_other_is_a_file() {
        let name = |chosen: &str| Peer::of(chosen).map(|peer| peer.name);
        assert_eq!(name("nats-server").as_deref(), Ok("nats"));
        let error = name("no-such").unwrap_err();
        assert!(
            error.contains("flashmq, nanomq") && error.contains(".toml"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        let chosen = file.to_str().unwrap();
        let text = "name = \"mine\"\nprogram = \"/bin/sh\"\narguments = [\"-p\", \"{{ port }}\"]\n\
                    [environment]\nFOLDER = \"{{ folder }}\"\n";
        std::fs::write(&file, text).unwrap();
        let mine = Peer::of(chosen).unwrap();
        assert_eq!(mine.find(), Some(PathBuf::from("/bin/sh")));
        let words = configured(&mine, None, true).words;
        assert_eq!((words.len(), words[0].to_str()), (5, Some("env")));
        assert_eq!(words[2..], ["/p", "-p", "21883"]);
        for (text, part) in [
            ("name = \"mine\"", "program"),
            ("name = \"mine\"\nprogram = \"x\"\nprogramm = \"y\"", "programm"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(Peer::of(chosen).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn a_misspelt_name_in_a_template_is_an_error() {
        let peer = Peer {
            arguments: vec!["{{ prot }}".to_owned()],
            ..Peer::of("mosquitto").unwrap()
        };
        let setting = Setting {
            port: 1,
            tls: None,
            folder: Path::new("/nonexistent"),
            nodelay: true,
            threads: 1,
            durable: false,
        };
        assert!(peer.configure(Path::new("/p"), &setting).is_err());
        assert_eq!(find_program("no-such-broker"), None);
        assert!(find_program("sh").is_some());
    }
}
