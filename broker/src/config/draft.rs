//! The values that the lines read so far have set, before defaults are applied that depend on other keys.
//!
//! Invariants: none.

use std::collections::HashMap;
use std::path::PathBuf;

use transport::tls::{IdentityKind, TlsVersion};

use super::bridge::BridgeDraft;
use super::configuration::{AddressFamily, Durability};
use super::network::Network;
use super::plugin_draft::PluginDraft;
use super::survey::SurveyedLine;
use crate::auth::AccessFiles;
use crate::files::{FilePlace, FileProblem};
use crate::log::{LogDestination, LogFormat, LogSettings, LogTypes};
use crate::named_paths::NamedPaths;
use crate::privileges::SystemUser;
use crate::settings::{ListenerSettings, Settings};

/// The values of a configuration while its lines are read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The settings of the whole broker; its listeners are made by [`super::resolve`].
    pub(super) settings: Settings,
    pub(super) log: LogDraft,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) control_socket: Option<PathBuf>,
    pub(super) persistence: PersistenceDraft,
    pub(super) user: Option<SystemUser>,
    /// The value of `memory_limit`, if it is given.
    pub(super) memory_bytes_max: Option<u64>,
    /// The value of `bans_file`.
    pub(super) bans_file: Option<PathBuf>,
    /// The values of `flapping_connects`, `flapping_window` and `flapping_ban`.
    pub(super) flapping: [Option<u32>; 3],
    /// The value of `user` is `root`.
    pub(super) stays_root: bool,
    pub(super) per_listener_settings: bool,
    /// The value of `websockets_headers_size`, unless it is 0.
    pub(super) websocket_header_bytes_max: Option<usize>,
    /// All plugins, in the order of their lines.
    pub(super) plugins: Vec<PluginDraft>,
    /// Those of `global_plugin` lines.
    pub(super) global_plugins: Vec<usize>,
    /// The access options for all listeners, unless `per_listener_settings` is true.
    pub(super) access: AccessDraft,
    pub(super) default_listener: ListenerDraft,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) bridges: Vec<BridgeDraft>,
    /// Applies the values of a bridge's keys if there is a bridge; otherwise returns the problem.
    pub(super) no_bridge: BridgeDraft,
    pub(super) warnings: Vec<String>,
    /// The files that were read, and those that they name.
    pub(super) named: NamedPaths,
    pub(super) problems: Vec<FileProblem>,
    /// What came of each line so far, where that is wanted.
    pub(super) survey: Option<Vec<SurveyedLine>>,
    /// The place of the line that is being read.
    pub(super) place: Option<FilePlace>,
    /// The places of keys that may be given once, by what they belong to.
    pub(super) given: HashMap<(&'static str, KeyOwner), FilePlace>,
    /// The first key that `Scope::Either` applies to: `per_listener_settings` may not follow it.
    pub(super) first_access_key: Option<&'static str>,
}

/// What a line belongs to: the broker, or the section of the last `listener` or `connection` line, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyOwner {
    Broker,
    Listener(usize),
    Bridge(usize),
}

/// The values of the keys for the store.
#[derive(Debug, Default)]
pub(super) struct PersistenceDraft {
    pub(super) is_on: bool,
    pub(super) location: Option<PathBuf>,
    pub(super) file: Option<String>,
    pub(super) durability: Option<Durability>,
    pub(super) size_max: Option<u64>,
    /// `autosave_interval` or `autosave_on_changes` is given: one warning says that neither is needed.
    pub(super) autosaves: bool,
}

/// The log's settings: the given ones accumulate, and replace the default as a whole.
#[derive(Debug, Default)]
pub(super) struct LogDraft {
    pub(super) types: Option<LogTypes>,
    pub(super) destinations: Option<Vec<LogDestination>>,
    /// `log_dest none`: the result has no destination at all.
    pub(super) silent: bool,
    pub(super) without_timestamp: bool,
    pub(super) timestamp_format: Option<String>,
    pub(super) without_connection_messages: bool,
    pub(super) facility: Option<u8>,
    pub(super) format: LogFormat,
}

/// The keys that apply to the whole broker or to one listener (`Scope::Either`).
#[derive(Clone, Debug, Default)]
pub(super) struct AccessDraft {
    pub(super) allow_anonymous: Option<bool>,
    pub(super) allow_zero_length_client_identifier: Option<bool>,
    pub(super) assigned_client_identifier_prefix: Option<String>,
    pub(super) files: AccessFiles,
    /// Those of `plugin` lines.
    pub(super) plugins: Vec<usize>,
    pub(super) tokens: TokenDraft,
}

/// The keys about tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenDraft {
    pub(super) keys: Option<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) user_claim: Option<String>,
    pub(super) acl_claim: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) leeway_s: Option<u32>,
    pub(super) refresh_s: Option<u32>,
    /// The first of these keys, for a mistake that concerns all.
    pub(super) first_key: Option<&'static str>,
}

/// The values of a listener while its lines are read.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerDraft {
    /// Its `listener` line; none for the default listener.
    pub(super) place: Option<FilePlace>,
    /// The first key that gives the default listener a setting of its own.
    pub(super) first_key: Option<(&'static str, FilePlace)>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<String>,
    /// The path of `listener 0 PATH`.
    pub(super) unix_path: Option<PathBuf>,
    /// The value of `unix_socket_mode`.
    pub(super) unix_mode: Option<u32>,
    pub(super) family: Option<AddressFamily>,
    pub(super) interface: Option<String>,
    /// The value of `enable_proxy_protocol`.
    pub(super) proxy_version: Option<u8>,
    /// The value of `proxy_protocol_v2_require_tls`.
    pub(super) proxy_requires_tls: bool,
    /// The values of all `proxy_protocol_trusted` lines.
    pub(super) trusted_proxies: Vec<Network>,
    pub(super) protocol: ProtocolDraft,
    /// The values of all `websockets_origin` lines.
    pub(super) origins: Vec<String>,
    /// The folder of `http_dir`.
    pub(super) pages: Option<PathBuf>,
    pub(super) settings: ListenerSettings,
    pub(super) access: AccessDraft,
    /// Those of `plugin_use` lines.
    pub(super) plugins: Vec<usize>,
    /// `listener_allow_anonymous`, which takes precedence over `allow_anonymous`.
    pub(super) allow_anonymous: Option<bool>,
    pub(super) assigned_client_identifier_prefix: Option<String>,
    pub(super) tls: TlsDraft,
}

/// `protocol`, before the keys that belong to it are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ProtocolDraft {
    #[default]
    Mqtt,
    WebSockets,
    HttpApi,
}

/// The TLS settings of a listener while its lines are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TlsDraft {
    pub(super) certificate_chain: Option<PathBuf>,
    pub(super) private_key: Option<PathBuf>,
    pub(super) key_passphrase_file: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) client_ca_folder: Option<PathBuf>,
    pub(super) revocation_list: Option<PathBuf>,
    pub(super) require_client_certificate: bool,
    pub(super) refuse_version_1: bool,
    pub(super) ignore_client_dates: bool,
    pub(super) rustls_records: bool,
    /// If there are two, both kinds were requested.
    pub(super) identities: Vec<IdentityKind>,
    pub(super) version_min: Option<TlsVersion>,
    pub(super) ciphers: Option<String>,
    pub(super) ciphers_tls13: Option<String>,
}

impl Draft {
    /// The listener that keys of `Scope::Listener` belong to.
    pub(super) fn listener(&mut self) -> &mut ListenerDraft {
        self.listeners.last_mut().unwrap_or(&mut self.default_listener)
    }

    /// The access options that a key of `Scope::Either` changes: those of the listener, or the global ones.
    pub(super) fn access(&mut self) -> &mut AccessDraft {
        if self.per_listener_settings {
            &mut self.listener().access
        } else {
            &mut self.access
        }
    }

    /// Resolves a relative path of the configuration: against the working directory, as mosquitto does, or if nothing
    /// is there against the folder of the configuration file. The result is absolute, so that messages say which file
    /// is meant.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        let here = std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
        let beside = self
            .place
            .as_ref()
            .and_then(|place| place.file.parent())
            .map(|folder| folder.join(text));
        match beside.and_then(|path| std::path::absolute(path).ok()) {
            Some(beside) if !here.exists() && beside.exists() => beside,
            _ => here,
        }
    }

    /// Begins a listener: the keys that follow apply to it.
    pub(super) fn begin_listener(&mut self, port: u16, host: Option<&str>) {
        self.listeners.push(ListenerDraft {
            place: self.place.clone(),
            port: Some(port),
            host: host.map(str::to_owned),
            ..ListenerDraft::default()
        });
    }

    /// Begins a listener on a Unix socket.
    pub(super) fn begin_unix_listener(&mut self, path: PathBuf) {
        self.begin_listener(0, None);
        self.listener().unix_path = Some(path);
    }

    /// A warning about the line being read.
    pub(super) fn warn(&mut self, text: &str) {
        let place = self.place();
        self.warnings.push(format!("{place}: {text}"));
    }

    /// A warning that text after a value is ignored; none if there is no such text, or if it is a comment.
    pub(super) fn warn_of_rest(&mut self, key: &str, value: &str, rest: &str) {
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            self.warn(&format!("{key} {value}: the text after it has no effect: {rest}"));
        }
    }

    /// `per_listener_settings`, which decides what the keys after it apply to.
    pub(super) fn set_per_listener_settings(&mut self, value: bool) {
        match self.first_access_key {
            Some(key) if value != self.per_listener_settings => {
                self.problem(format!("per_listener_settings must be above {key}"));
            }
            _ => self.per_listener_settings = value,
        }
    }

    /// A mistake in the line being read.
    pub(super) fn problem(&mut self, text: String) {
        let place = self.place();
        self.problems.push(FileProblem { place, text });
    }

    /// The place of the line that is being read, for messages.
    pub(super) fn place(&self) -> FilePlace {
        self.place.clone().unwrap_or_else(FilePlace::command_line)
    }
}

impl LogDraft {
    pub(super) fn add_destination(&mut self, destination: LogDestination) {
        let destinations = self.destinations.get_or_insert_default();
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
    }

    pub(super) fn settings(self, verbose: bool, quiet: bool) -> LogSettings {
        let default = LogSettings::default();
        LogSettings {
            types: match (quiet, verbose) {
                (true, _) => LogTypes::NONE,
                (false, true) => LogTypes::ALL,
                (false, false) => self.types.unwrap_or(default.types),
            },
            destinations: match self.destinations {
                _ if self.silent => Vec::new(),
                destinations => destinations.unwrap_or(default.destinations),
            },
            timestamp: match self.timestamp_format {
                _ if self.without_timestamp => crate::log::LogTimestamp::None,
                Some(format) => crate::log::LogTimestamp::Format(format),
                None => default.timestamp,
            },
            format: self.format,
            connection_messages: !self.without_connection_messages,
            facility: self.facility.unwrap_or(default.facility),
        }
    }
}
