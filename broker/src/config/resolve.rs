//! Makes a configuration of a draft: applies the defaults that depend on other keys, checks the TLS keys as a whole,
//! and looks host names up.
//!
//! Invariants: if the operator configured a listener, TLS, users or access rules, anonymous clients are refused by
//! default. Without a `listener`, `port` or `bind_address`, only this machine can connect.

use std::num::NonZeroU16;

use transport::tls::{IdentityKind, TlsVersion};
use transport::websocket::handshake::Wanted;

use super::addresses::{addresses, overlap};
use super::configuration::{Configuration, ListenerSocket, ListenerTls, Protocol, ProxyProtocol, UnixSocket};
use super::draft::{AccessDraft, Draft, ListenerDraft, ProtocolDraft, TlsDraft};
use super::keys;
use crate::args::Args;
use crate::bridge_settings::BridgeSettings;
use crate::files::{FileError, FilePlace, FileProblem};
use crate::limits;
use crate::memory;
use crate::settings::{Flapping, ListenerSettings};

pub(super) const DEFAULT_PORT: u16 = 1883;
/// `websockets_headers_size` if it is not given or 0, as in mosquitto 2.1.
const WEBSOCKET_HEADER_BYTES: usize = 4096;
/// The permissions of a Unix socket's file without `unix_socket_mode`, those of mosquitto.
const UNIX_SOCKET_MODE: u32 = 0o770;
/// The host name of the listener that is opened if none is configured.
const LOCAL_HOST: &str = "localhost";

/// The configuration that results from a draft, or all mistakes that were found.
pub(super) fn configuration(mut draft: Draft, args: &Args) -> Result<Configuration, FileError> {
    let local_only = draft.is_local_only();
    let mut opened: Vec<(ListenerSettings, ListenerSocket)> = Vec::new();
    let mut places: Vec<FilePlace> = Vec::new();
    for listener in draft.take_listeners(&args.ports) {
        draft.warn_of_mqtt(&listener);
        draft.warn_of_pages(&listener);
        draft.warn_of_addresses(&listener);
        match open(&listener, &draft, local_only) {
            Ok((settings, socket)) => {
                let mut others = opened.iter().zip(&places);
                if let Some((_, other)) = others.find(|((_, other), _)| overlap(other, &socket)) {
                    draft.problems.push(FileProblem {
                        place: listener.place(),
                        text: taken_by(&socket, other),
                    });
                }
                places.push(listener.place());
                opened.push((settings, socket));
            }
            Err(text) => draft.problems.push(FileProblem {
                place: listener.place(),
                text,
            }),
        }
    }
    let bridges = draft.take_bridges();
    if !draft.problems.is_empty() {
        return Err(FileError {
            problems: draft.problems,
        });
    }
    let persistence = keys::persistence(&mut draft);
    if let Some(persistence) = &persistence {
        draft.named.add_folder(&persistence.folder);
        draft
            .named
            .add_file(&persistence.location.join(&persistence.file));
    }
    let log = draft.log.settings(args.verbose, args.quiet);
    log.files().for_each(|file| draft.named.add_file(file));
    let (settings, listeners) = opened.into_iter().unzip();
    draft.settings.listeners = settings;
    let client = |bridge: &BridgeSettings| bridge.local.client_identifier.clone();
    draft.settings.bridge_clients = bridges.iter().map(client).collect();
    draft.settings.memory_bytes_max = draft.memory_bytes_max.unwrap_or_else(memory::default_limit_bytes);
    draft.settings.flapping = flapping(draft.flapping);
    Ok(Configuration {
        settings: draft.settings,
        listeners,
        bridges,
        log,
        shards: args.shards.unwrap_or_else(usable_cores),
        user: draft.user,
        stays_root: draft.stays_root,
        pid_file: draft.pid_file,
        control_socket: draft.control_socket,
        bans_file: draft.bans_file,
        persistence,
        local_only,
        warnings: draft.warnings,
        named: draft.named,
    })
}

/// The rule for clients that come and go, if there is one.
fn flapping([connects, window_s, ban_s]: [Option<u32>; 3]) -> Option<Flapping> {
    let usual = Flapping::of(connects.filter(|&connects| connects > 0)?);
    Some(Flapping {
        window_s: window_s.unwrap_or(usual.window_s),
        ban_s: ban_s.unwrap_or(usual.ban_s),
        ..usual
    })
}

impl Draft {
    fn is_local_only(&self) -> bool {
        self.listeners.is_empty() && !self.default_listener.is_placed()
    }

    /// The listeners to open. The default listener is opened if it has keys of its own, as in mosquitto.
    fn take_listeners(&mut self, ports: &[u16]) -> Vec<ListenerDraft> {
        let local_only = self.is_local_only();
        if !local_only && !ports.is_empty() {
            self.warnings.push(
                "command line: -p has no effect, because the configuration file has a listener".to_owned(),
            );
        }
        let default = std::mem::take(&mut self.default_listener);
        let mut listeners = Vec::new();
        if local_only {
            let default_port = [DEFAULT_PORT];
            let ports = if ports.is_empty() { &default_port } else { ports };
            listeners.extend(ports.iter().map(|&port| default.at_local_port(port)));
        } else if default.is_placed() || default.first_key.is_some() {
            self.warn_of_default_listener(&default);
            listeners.push(default);
        }
        listeners.append(&mut self.listeners);
        listeners
    }
}

impl ListenerDraft {
    /// Whether the place of the default listener was given.
    pub(super) fn is_placed(&self) -> bool {
        self.port.is_some() || self.host.is_some()
    }

    fn at_local_port(&self, port: u16) -> Self {
        Self {
            port: Some(port),
            host: Some(LOCAL_HOST.to_owned()),
            ..self.clone()
        }
    }

    fn has_tls_keys(&self) -> bool {
        self.tls != TlsDraft::default()
    }

    pub(super) fn place(&self) -> FilePlace {
        let first_key = self.first_key.as_ref().map(|(_, place)| place);
        self.place
            .as_ref()
            .or(first_key)
            .cloned()
            .unwrap_or_else(FilePlace::command_line)
    }
}

/// That another listener, whose line is at `other`, is where this one would be.
fn taken_by(socket: &ListenerSocket, other: &FilePlace) -> String {
    match &socket.unix {
        Some(unix) => format!(
            "the Unix socket {} is already used by the listener of {other}; fix: remove one of them, or choose \
             another path",
            unix.path.display()
        ),
        None => format!(
            "the port {} is already used by the listener of {other}; fix: remove one of them, or choose another \
             port",
            socket.port
        ),
    }
}

fn open(
    listener: &ListenerDraft,
    draft: &Draft,
    local_only: bool,
) -> Result<(ListenerSettings, ListenerSocket), String> {
    let access = if draft.per_listener_settings {
        &listener.access
    } else {
        &draft.access
    };
    let files = draft.files_of(listener, access)?;
    let opens_by_default = local_only && !listener.has_tls_keys() && files.are_none();
    let settings = settings(listener, access, opens_by_default);
    let proxy = proxy(listener)?;
    if listener.protocol == ProtocolDraft::HttpApi && proxy.is_some() {
        return Err("enable_proxy_protocol is for MQTT: remove it with `protocol http_api`".to_owned());
    }
    let unix = unix_socket(listener)?;
    let port = listener.port.unwrap_or(DEFAULT_PORT);
    let socket = ListenerSocket {
        addresses: match unix {
            Some(_) => Vec::new(),
            None => addresses(listener, port, local_only)?,
        },
        unix,
        port,
        host: listener.host.clone(),
        family: listener.family,
        interface: listener.interface.clone(),
        tls: if proxy.is_some() { None } else { tls(listener)? },
        proxy,
        trusted_proxies: listener.trusted_proxies.clone(),
        access: files,
        protocol: protocol(listener, draft),
        pages: listener.pages.clone(),
    };
    Ok((settings, socket))
}

fn unix_socket(listener: &ListenerDraft) -> Result<Option<UnixSocket>, String> {
    let Some(path) = &listener.unix_path else {
        return match listener.unix_mode {
            Some(_) => {
                Err("unix_socket_mode is for a listener on a Unix socket: `listener 0 PATH`".to_owned())
            }
            None => Ok(None),
        };
    };
    if listener.protocol == ProtocolDraft::HttpApi {
        return Err("protocol http_api is not for a Unix socket: `control_socket PATH` opens one".to_owned());
    }
    if !listener.trusted_proxies.is_empty() {
        let wrong = "proxy_protocol_trusted is for addresses, which a Unix socket does not have: leave it out, and let \
                     `unix_socket_mode` keep others away";
        return Err(wrong.to_owned());
    }
    Ok(Some(UnixSocket {
        path: path.clone(),
        mode: listener.unix_mode.unwrap_or(UNIX_SOCKET_MODE),
    }))
}

fn protocol(listener: &ListenerDraft, draft: &Draft) -> Protocol {
    match listener.protocol {
        ProtocolDraft::Mqtt => Protocol::Mqtt,
        ProtocolDraft::HttpApi => Protocol::HttpApi,
        ProtocolDraft::WebSockets => Protocol::WebSockets(Wanted {
            header_bytes_max: draft.websocket_header_bytes_max.unwrap_or(WEBSOCKET_HEADER_BYTES),
            origins: listener.origins.clone(),
            pages_alone: false,
        }),
    }
}

fn settings(listener: &ListenerDraft, access: &AccessDraft, opens_by_default: bool) -> ListenerSettings {
    let mut settings = listener.settings.clone();
    settings.certificate_names_user = !listener.tls.identities.is_empty();
    let prefix = listener.assigned_client_identifier_prefix.as_ref();
    settings.allow_anonymous = listener
        .allow_anonymous
        .or(access.allow_anonymous)
        .unwrap_or(opens_by_default);
    if let Some(allow) = access.allow_zero_length_client_identifier {
        settings.allow_zero_length_client_identifier = allow;
    }
    if let Some(prefix) = prefix.or(access.assigned_client_identifier_prefix.as_ref()) {
        settings.assigned_client_identifier_prefix.clone_from(prefix);
    }
    settings
}

/// `enable_proxy_protocol`: TLS ends at the load balancer, which reports its result.
fn proxy(listener: &ListenerDraft) -> Result<Option<ProxyProtocol>, String> {
    let draft = &listener.tls;
    let Some(version) = listener.proxy_version else {
        return if !listener.trusted_proxies.is_empty() {
            Err("proxy_protocol_trusted needs enable_proxy_protocol".to_owned())
        } else if listener.proxy_requires_tls {
            Err("proxy_protocol_v2_require_tls needs enable_proxy_protocol 2".to_owned())
        } else {
            Ok(None)
        };
    };
    let asks = ProxyProtocol {
        version,
        require_tls: listener.proxy_requires_tls,
        require_certificate: draft.require_client_certificate,
        identity: !draft.identities.is_empty(),
    };
    let here = TlsDraft {
        require_client_certificate: false,
        identities: Vec::new(),
        ..draft.clone()
    };
    let wrong = if here != TlsDraft::default() {
        "enable_proxy_protocol leaves TLS to the load balancer: of the TLS keys only require_certificate and \
         use_identity_as_username are allowed here"
    } else if draft.identities.contains(&IdentityKind::Subject) {
        "use_subject_as_username is not possible with enable_proxy_protocol: use use_identity_as_username"
    } else if version == 1 && (asks.require_tls || asks.require_certificate || asks.identity) {
        "the load balancer reports TLS and certificates only with enable_proxy_protocol 2"
    } else if asks.identity && !asks.require_certificate {
        "a user name from the certificate needs require_certificate true: without a certificate no client has a name"
    } else {
        return Ok(Some(asks));
    };
    Err(wrong.to_owned())
}

fn tls(listener: &ListenerDraft) -> Result<Option<ListenerTls>, String> {
    let draft = &listener.tls;
    let (certificate_chain, private_key) = match (&draft.certificate_chain, &draft.private_key) {
        (Some(certificate_chain), Some(private_key)) => (certificate_chain.clone(), private_key.clone()),
        (Some(_), None) => return Err("certfile needs keyfile, the certificate's private key".to_owned()),
        (None, Some(_)) => return Err("keyfile needs certfile, the certificate of that key".to_owned()),
        (None, None) if listener.has_tls_keys() => {
            return Err("the listener would not use TLS: certfile and keyfile are missing".to_owned());
        }
        (None, None) => return Ok(None),
    };
    check_authorities(draft)?;
    Ok(Some(ListenerTls {
        key_passphrase_file: draft.key_passphrase_file.clone(),
        client_ca: draft.client_ca.clone(),
        client_ca_folder: draft.client_ca_folder.clone(),
        revocation_list: draft.revocation_list.clone(),
        require_client_certificate: draft.require_client_certificate,
        accept_version_1: !draft.refuse_version_1,
        ignore_client_dates: draft.ignore_client_dates,
        rustls_records: draft.rustls_records,
        identity: draft.identities.first().copied(),
        version_min: draft.version_min.unwrap_or(TlsVersion::V1_2),
        ciphers: draft.ciphers.clone(),
        ciphers_tls13: draft.ciphers_tls13.clone(),
        ..ListenerTls::new(certificate_chain, private_key)
    }))
}

fn check_authorities(tls: &TlsDraft) -> Result<(), String> {
    let has_authorities = tls.client_ca.is_some() || tls.client_ca_folder.is_some();
    let wrong = if tls.require_client_certificate && !has_authorities {
        "require_certificate needs cafile or capath, the authorities of the clients' certificates"
    } else if tls.revocation_list.is_some() && !has_authorities {
        "crlfile needs cafile or capath, the authorities that issued the revocation lists"
    } else if tls.identities.len() > 1 {
        "use_identity_as_username and use_subject_as_username contradict each other: remove one"
    } else if !tls.identities.is_empty() && !tls.require_client_certificate {
        "a user name from the certificate needs require_certificate true: without a certificate no client has a name"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

fn usable_cores() -> NonZeroU16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let shards = u16::try_from(cores).unwrap_or(u16::MAX).min(limits::SHARDS_MAX);
    NonZeroU16::new(shards).unwrap_or(NonZeroU16::MIN)
}
