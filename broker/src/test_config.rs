//! `--test-config`: checks the files, addresses and folders that a configuration names, as a start would.
//!
//! Invariants: no passphrase is asked for and no port is bound. What this machine lacks (io_uring, locked memory) is
//! not checked, because a configuration may be tested on a machine other than the one that it is for.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use transport::tls::TlsConfigError;

use crate::auth::{self, Policy};
use crate::bind::open_api_warning;
use crate::bridge::tls_of_bridges;
use crate::bridge_settings::BridgeSettings;
use crate::config::{Configuration, ListenerSocket, ListenerTls};
use crate::listener_tls::tls_of;
use crate::passphrase::Passphrases;
use crate::persistence;
use crate::privileges::RunsAs;
use crate::socket_path;

/// What a start with this configuration would report.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What would be logged at the start.
    pub(crate) warnings: Vec<String>,
    /// Problems that would prevent the start.
    pub(crate) problems: Vec<String>,
}

/// Checks everything that the configuration names.
pub(crate) fn check(configuration: &Configuration) -> Findings {
    let mut findings = Findings {
        warnings: configuration.warnings.clone(),
        problems: Vec::new(),
    };
    let files = configuration.access_files();
    match Policy::load(&files, None) {
        Ok(_) => findings.warnings.extend(auth::world_readable_warnings(&files)),
        Err(error) => findings
            .problems
            .extend(error.problems.iter().map(ToString::to_string)),
    }
    for listener in &configuration.listeners {
        findings.check_listener(listener);
    }
    findings.check_bridges(&configuration.bridges);
    let runs_as = RunsAs::find(configuration.user.as_ref(), configuration.stays_root);
    findings.warnings.extend(runs_as.warning());
    if let Some(persistence) = &configuration.persistence {
        findings
            .warnings
            .extend(persistence::older_file_warning(persistence));
        match persistence::check_folder(persistence, runs_as.user()) {
            Ok(()) => findings.warnings.extend(persistence::find_damage(persistence)),
            Err(problem) => findings.problems.push(problem),
        }
    }
    let pid_file = configuration.pid_file.as_deref().map(|path| ("pid_file", path));
    let logs = configuration.log.files().map(|path| ("log_dest file", path));
    for (key, path) in logs.chain(pid_file) {
        findings.check_file(key, path);
    }
    if let Some(path) = configuration.control_socket.as_deref() {
        findings.check_socket(&format!("control_socket {}", path.display()), path);
    }
    findings
}

impl Findings {
    fn check_listener(&mut self, listener: &ListenerSocket) {
        let place = listener.place();
        self.warnings.extend(open_api_warning(listener));
        if let Some(tls) = &listener.tls {
            self.check_tls(&place, tls);
        }
        if let Some(unix) = &listener.unix {
            return self.check_socket(&format!("listener {place}"), &unix.path);
        }
        let absent: Vec<_> = listener
            .addresses
            .iter()
            .filter_map(|address| missing(*address).map(|cause| (address, cause)))
            .collect();
        // One existing address is enough.
        if let (true, Some((address, cause))) = (absent.len() == listener.addresses.len(), absent.first()) {
            self.problems.push(format!(
                "listener {place}: this machine does not have the address {} ({cause}); fix: use one that \
                `ip \
                 address` shows",
                address.ip()
            ));
        }
        if let Some(interface) = &listener.interface
            && !Path::new("/sys/class/net").join(interface).exists()
        {
            self.problems.push(format!(
                "listener {place}: bind_interface {interface}: there is no such interface; fix: use one that \
                `ip \
                 link` shows"
            ));
        }
    }

    fn check_tls(&mut self, place: &str, tls: &ListenerTls) {
        let passphrases = Passphrases::default();
        passphrases.forget_terminal();
        match tls_of(tls, &passphrases, None) {
            Ok(made) => self.warnings.extend(made.warnings),
            // A start would ask for it.
            Err(TlsConfigError::NoPassphrase { path, .. }) if tls.key_passphrase_file.is_none() => {
                self.warnings.push(format!(
                    "listener {place}: the private key {} is encrypted, and its passphrase is not asked for \
                    here: the key and what belongs to it were not checked",
                    path.display()
                ));
                self.check_readable(place, tls);
            }
            Err(error) => self.problems.push(format!("listener {place}: {error}")),
        }
    }

    fn check_bridges(&mut self, bridges: &[BridgeSettings]) {
        let passphrases = Passphrases::default();
        passphrases.forget_terminal();
        for bridge in bridges {
            let Err(error) = tls_of_bridges(std::slice::from_ref(bridge), &passphrases) else {
                continue;
            };
            if let TlsConfigError::NoPassphrase { path, .. } = &*error.source {
                // A start would ask for it.
                self.warnings.push(format!(
                    "connection {}: the private key {} is encrypted, and its passphrase is not asked for here: the key \
                     was not checked",
                    error.bridge,
                    path.display()
                ));
            } else {
                self.problems.push(error.to_string());
            }
        }
    }

    /// Checks that the files of TLS can at least be opened.
    fn check_readable(&mut self, place: &str, tls: &ListenerTls) {
        let files = [
            ("certfile", Some(&tls.certificate_chain)),
            ("cafile", tls.client_ca.as_ref()),
            ("crlfile", tls.revocation_list.as_ref()),
        ];
        for (key, path) in files {
            if let Some(path) = path
                && let Err(cause) = File::open(path)
            {
                let path = path.display();
                self.problems
                    .push(format!("listener {place}: {key} {path} cannot be read: {cause}"));
            }
        }
    }

    /// Checks that a file could be created at the path, or written to.
    fn check_file(&mut self, key: &str, path: &Path) {
        if path.is_dir() {
            let path = path.display();
            self.problems
                .push(format!("{key} {path}: this is a folder; fix: name a file in it"));
        } else {
            self.check_folder(&format!("{key} {}", path.display()), path);
        }
    }

    /// Checks that a socket could be created at the path. The broker that uses it may be the one that runs now.
    fn check_socket(&mut self, line: &str, path: &Path) {
        match socket_path::check(path) {
            Ok(_) => self.check_folder(line, path),
            Err(error) => self.problems.push(format!("{line}: {error}")),
        }
    }

    fn check_folder(&mut self, line: &str, path: &Path) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder
            && !folder.is_dir()
        {
            let folder = folder.display();
            self.problems.push(format!(
                "{line}: the folder {folder} does not exist; fix: create it"
            ));
        }
    }
}

/// Why this machine cannot bind a socket to the address, if so: tested with a free port.
fn missing(address: SocketAddr) -> Option<io::Error> {
    UdpSocket::bind(SocketAddr::new(address.ip(), 0)).err()
}
