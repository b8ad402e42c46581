//! What the lines read so far have set, before defaults that depend on each other are known.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::AccessFiles;
use transport::tls::IdentityKind;

use crate::log::{LogDestination, LogSettings, LogTypes};
use crate::settings::{ListenerSettings, Settings};

use super::error::Problem;
use super::keys::{self, Key, Scope, Status, Value};
use super::parse::{self, Line, Place};
use super::{AddressFamily, RunAs, TlsVersion};

/// Bytes of one configuration file at most; a larger one is another file by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Mistakes told at most; a configuration with more is another file by mistake.
const PROBLEMS_MAX: usize = 20;

/// A configuration in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The settings of the whole broker; its listeners are made by [`super::resolve`].
    pub(super) settings: Settings,
    pub(super) log: LogDraft,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) user: Option<RunAs>,
    /// `user root`
    pub(super) stays_root: bool,
    pub(super) per_listener_settings: bool,
    /// `websockets_headers_size`
    pub(super) websocket_header_bytes_max: Option<usize>,
    /// Access for all listeners, unless `per_listener_settings`.
    pub(super) access: Access,
    pub(super) default_listener: ListenerDraft,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// The line being read.
    place: Option<Place>,
    /// The first key that [`Scope::Either`] applies to: `per_listener_settings` may not follow it.
    first_access_key: Option<&'static str>,
}

/// The log's settings: given ones add up, and replace the default as a whole.
#[derive(Debug, Default)]
pub(super) struct LogDraft {
    pub(super) types: Option<LogTypes>,
    pub(super) destinations: Option<Vec<LogDestination>>,
    /// `log_dest none`: ends with no destination at all.
    pub(super) silent: bool,
    pub(super) without_timestamp: bool,
    pub(super) timestamp_format: Option<String>,
    pub(super) without_connection_messages: bool,
    pub(super) facility: Option<u8>,
}

/// Keys of [`Scope::Either`].
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub(super) allow_anonymous: Option<bool>,
    pub(super) allow_zero_length_client_identifier: Option<bool>,
    pub(super) assigned_client_identifier_prefix: Option<String>,
    pub(super) files: AccessFiles,
}

/// A listener in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerDraft {
    /// Its `listener` line; none for the default listener.
    pub(super) place: Option<Place>,
    /// The first key that made the default listener more than a default.
    pub(super) first_key: Option<(&'static str, Place)>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<String>,
    pub(super) family: Option<AddressFamily>,
    pub(super) interface: Option<String>,
    /// `enable_proxy_protocol`
    pub(super) proxy_version: Option<u8>,
    /// `proxy_protocol_v2_require_tls`
    pub(super) proxy_requires_tls: bool,
    pub(super) spoken: Spoken,
    /// `websockets_origin`
    pub(super) origins: Vec<String>,
    /// `http_dir`
    pub(super) pages: Option<PathBuf>,
    pub(super) settings: ListenerSettings,
    pub(super) access: Access,
    /// `listener_allow_anonymous`, stronger than `allow_anonymous`.
    pub(super) allow_anonymous: Option<bool>,
    pub(super) assigned_client_identifier_prefix: Option<String>,
    pub(super) tls: TlsDraft,
}

/// `protocol`, before what belongs to it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spoken {
    #[default]
    Mqtt,
    WebSockets,
    HttpApi,
}

/// The TLS of a listener in the making.
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
    /// Both kinds were asked for if there are two.
    pub(super) identities: Vec<IdentityKind>,
    pub(super) version_min: Option<TlsVersion>,
    pub(super) ciphers: Option<String>,
    pub(super) ciphers_tls13: Option<String>,
}

impl Draft {
    /// Reads a configuration file and what it includes.
    pub(super) fn read_file(&mut self, path: &Path) {
        self.read_path(path, true);
    }

    /// Reads the text of a file.
    pub(super) fn read(&mut self, file: &Path, text: &[u8], may_include: bool) {
        let file: Arc<Path> = Arc::from(file);
        for line in parse::lines(text) {
            let number = line.map_or_else(|(number, _)| number, |line| line.number);
            self.place = Some(Place {
                file: Arc::clone(&file),
                line: number,
            });
            match line {
                Ok(line) => self.apply(&line, may_include),
                Err((_, wrong)) => self.problem(wrong.to_owned()),
            }
            if self.problems.len() >= PROBLEMS_MAX {
                return;
            }
        }
    }

    /// The listener that keys of [`Scope::Listener`] belong to.
    pub(super) fn listener(&mut self) -> &mut ListenerDraft {
        self.listeners.last_mut().unwrap_or(&mut self.default_listener)
    }

    /// What keys of [`Scope::Either`] set.
    pub(super) fn access(&mut self) -> &mut Access {
        if self.per_listener_settings {
            &mut self.listener().access
        } else {
            &mut self.access
        }
    }

    /// Where a relative path of the configuration leads: to the working directory, as with mosquitto, or if nothing is
    /// there to the folder of the configuration file. Absolute, so that messages say which file is meant.
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

    /// Begins a listener.
    pub(super) fn begin_listener(&mut self, port: u16, host: Option<&str>) {
        self.listeners.push(ListenerDraft {
            place: self.place.clone(),
            port: Some(port),
            host: host.map(str::to_owned),
            ..ListenerDraft::default()
        });
    }

    /// A warning about the line being read.
    pub(super) fn warn(&mut self, text: &str) {
        let place = self.place();
        self.warnings.push(format!("{place}: {text}"));
    }

    /// `per_listener_settings`, which decides what the keys after it speak of.
    pub(super) fn set_per_listener_settings(&mut self, value: bool) {
        match self.first_access_key {
            Some(key) if value != self.per_listener_settings => {
                self.problem(format!("per_listener_settings must stand above {key}"));
            }
            _ => self.per_listener_settings = value,
        }
    }

    fn apply(&mut self, line: &Line<'_>, may_include: bool) {
        let Some(key) = keys::find(line.key) else {
            return self.problem(unknown(line.key));
        };
        match &key.status {
            Status::Effective(value, _) => {
                self.note_scope(key);
                if let Err(wrong) = self.set(key, value, line.value, may_include) {
                    self.problem(wrong);
                }
            }
            Status::Ignored(why) => self.warn(&format!("{} has no effect: {why}", line.key)),
            Status::Refused(why) => self.problem(format!("{} is not supported: {why}", line.key)),
        }
    }

    fn note_scope(&mut self, key: &Key) {
        if key.scope == Scope::Either {
            self.first_access_key.get_or_insert(key.name);
        }
        if key.scope == Scope::Listener && self.listeners.is_empty() && key.name != "listener" {
            let place = self.place();
            self.default_listener.first_key.get_or_insert((key.name, place));
        }
    }

    fn set(&mut self, key: &Key, value: &Value, text: &str, may_include: bool) -> Result<(), String> {
        let name = key.name;
        if text.is_empty() {
            return Err(format!("{name} needs a value: {}", value.shape()));
        }
        match value {
            Value::Flag(set) => set(self, flag(text).ok_or_else(|| wrong(name, text, value))?),
            Value::Integer { ranges, set } => {
                let number = text.parse().ok().filter(|number| is_in(*number, ranges));
                set(self, number.ok_or_else(|| wrong(name, text, value))?);
            }
            Value::Text { set, .. } => set(self, text).map_err(|wrong| format!("{name} {text}: {wrong}"))?,
            Value::IncludeDirectory if may_include => self.read_directory(Path::new(text))?,
            Value::IncludeDirectory => return Err("include_dir may stand in the main file only".to_owned()),
        }
        Ok(())
    }

    fn read_directory(&mut self, directory: &Path) -> Result<(), String> {
        let unreadable =
            |cause: io::Error| format!("include_dir {} cannot be read: {cause}", directory.display());
        let mut paths = Vec::new();
        for entry in directory.read_dir().map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                paths.push(path);
            }
        }
        // Upper case before lower case of the same letter, as mosquitto.
        paths.sort_by_cached_key(|path| (path.to_string_lossy().to_lowercase(), path.clone()));
        let place = self.place.clone();
        for path in paths {
            self.read_path(&path, false);
        }
        self.place = place;
        Ok(())
    }

    fn read_path(&mut self, path: &Path, may_include: bool) {
        match read_bounded(path) {
            Ok(text) => self.read(path, &text, may_include),
            Err(cause) => {
                let place = Place {
                    file: Arc::from(path),
                    line: 0,
                };
                self.problems.push(Problem {
                    place,
                    text: format!("cannot be read: {cause}"),
                });
            }
        }
    }

    fn problem(&mut self, text: String) {
        let place = self.place();
        self.problems.push(Problem { place, text });
    }

    fn place(&self) -> Place {
        self.place.clone().unwrap_or_else(super::resolve::command_line)
    }
}

impl LogDraft {
    pub(super) fn add_destination(&mut self, destination: LogDestination) {
        let destinations = self.destinations.get_or_insert_default();
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
    }

    pub(super) fn settings(self, verbose: bool) -> LogSettings {
        let default = LogSettings::default();
        LogSettings {
            types: if verbose {
                LogTypes::ALL
            } else {
                self.types.unwrap_or(default.types)
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
            connection_messages: !self.without_connection_messages,
            facility: self.facility.unwrap_or(default.facility),
        }
    }
}

fn unknown(key: &str) -> String {
    match keys::nearest(key) {
        Some(nearest) => format!("unknown key {key}: did you mean {nearest}?"),
        None => format!("unknown key {key}"),
    }
}

fn wrong(name: &str, text: &str, value: &Value) -> String {
    format!("{name} {text}: must be {}", value.shape())
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn is_in(number: i64, ranges: &[(i64, i64)]) -> bool {
    ranges
        .iter()
        .any(|&(minimum, maximum)| (minimum..=maximum).contains(&number))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(io::Error::other(
            "it is larger than a configuration file may be (1 MiB)",
        ))
    }
}
