//! SIGHUP: the configuration is read again, and what can change while clients stay connected is replaced.
//!
//! Invariants: a mistake in the configuration leaves everything unchanged. Each password file, each ACL file and each
//! listener's TLS is replaced as a whole or kept as a whole; what was kept is logged and reported to the one who
//! asked. So an unreadable key does not keep a removed password valid. No connection is changed; those accepted later
//! get the new TLS. Files are read and keys are checked on the caller's thread; a shard only takes a pointer, in its
//! next turn.

use std::sync::Arc;
use std::time::Instant;

use transport::tls::{KeyLogFile, ServerTlsConfig};

use crate::args::Args;
use crate::auth::{AccessFiles, Authentication, KeptFile, create_missing, warn_of_world_readable};
use crate::bridge::{Bridges, tls_of_bridges};
use crate::config::{self, Configuration, FixedAtStart, ListenerSocket};
use crate::files::FileError;
use crate::in_effect::{Current, InEffect};
use crate::listener_tls::tls_of;
use crate::log::{Log, LogError, NOTICE, PreparedLog};
use crate::passphrase::Passphrases;
use crate::reload_requests::ReloadReport;
use crate::settings::ListenerSettings;
use crate::systemd;
use crate::traces::Traces;

/// Why everything stays unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Configuration(#[from] FileError),
    #[error("{0}")]
    Log(#[from] LogError),
}

/// The state that a reload reads and replaces.
pub(crate) struct Reloader {
    pub(crate) args: Args,
    pub(crate) log: Log,
    pub(crate) passphrases: Passphrases,
    /// The file of `--tls-keylog`.
    pub(crate) key_log: Option<Arc<KeyLogFile>>,
    pub(crate) current: Arc<Current>,
    pub(crate) authentication: Arc<Authentication>,
    /// The listeners that were opened at start, in the order of their indices.
    pub(crate) listeners: Vec<ListenerSocket>,
    pub(crate) fixed: FixedAtStart,
    /// Their files are reopened, like those of the log.
    pub(crate) traces: Arc<Traces>,
    pub(crate) bridges: Arc<Bridges>,
}

impl Reloader {
    /// Reads the files again, and reports and logs the result.
    pub(crate) fn reload(&mut self) -> ReloadReport {
        tracing::info!(target: NOTICE, "Reloading the configuration.");
        systemd::notify_reloading();
        let outcome = self.try_reload();
        systemd::notify_ready();
        let mut report = outcome.unwrap_or_else(|error| {
            // A mistake does not keep open a file that another program has moved away.
            self.reopen_log_files();
            let mut report = ReloadReport::default();
            let error = error.to_string();
            for line in error.lines() {
                tracing::error!("{line}");
            }
            tracing::error!(
                "The configuration was not reloaded. The previous configuration stays in effect."
            );
            let why = error.lines().collect::<Vec<_>>().join("; ");
            report.refuse("the configuration".to_owned(), why);
            report
        });
        self.reopen_traces(&mut report);
        report
    }

    /// Reopens the files of the log and of traces, because they may have been moved away.
    pub(crate) fn reopen_log(&self) {
        self.reopen_log_files();
        self.reopen_traces(&mut ReloadReport::default());
    }

    fn reopen_log_files(&self) {
        if let Err(error) = self.log.reopen() {
            tracing::error!("The log files are not reopened: {error}");
        }
    }

    fn reopen_traces(&self, report: &mut ReloadReport) {
        for (number, reopened) in self.traces.reopen(&self.current.get().named) {
            match reopened {
                Ok(()) => report.taken.push(format!("the file of trace {number}")),
                Err(error) => {
                    tracing::error!("Trace {number} continues in its previous file: {error}");
                    report.refuse(format!("the file of trace {number}"), error.to_string());
                }
            }
        }
    }

    fn try_reload(&mut self) -> Result<ReloadReport, ReloadError> {
        let mut report = ReloadReport::default();
        let since = Instant::now();
        let mut read = config::load(&self.args)?;
        if self.fixed.user.is_some() {
            // Only root may change the user, and a broker that has changed it is no longer root.
            read.user.clone_from(&self.fixed.user);
            read.warnings
                .retain(|warning| !warning.contains("user has no effect"));
        }
        let mut configuration = self.keep_fixed_settings(read, &mut report);
        let log = PreparedLog::open(&configuration.log)?;
        // Nothing can fail from here on.
        self.log.change(log);
        report
            .taken
            .extend(["the settings", "the destinations of the log"].map(str::to_owned));
        let has_traces = self.traces.all().iter().any(|trace| trace.path.is_none());
        if has_traces && !Log::shows_traces() {
            let unseen = "traces that go to the log are no longer shown, because it has no destination that shows them";
            configuration.warnings.push(unseen.to_owned());
        }
        report.warnings.clone_from(&configuration.warnings);
        for warning in &configuration.warnings {
            tracing::warn!("{warning}");
        }
        for kept in &report.kept {
            tracing::warn!("{} {}", kept.what, kept.why);
        }
        let tls = self.renew_tls(&mut configuration, &mut report);
        self.renew_bridges(&configuration, &mut report);
        let files = configuration.access_files();
        if let Err(error) = create_missing(&files) {
            // It has no users then: nobody gets in by it.
            tracing::error!("{error}");
        }
        warn_of_world_readable(&files);
        let (policy, kept) = self.authentication.reload(&files);
        report_files(&files, &kept, &configuration.listeners, &mut report);
        let settings = Arc::new(configuration.settings);
        self.authentication.replace(Arc::clone(&settings), policy);
        let before = self.current.get();
        let mut in_effect = InEffect::new(
            settings,
            &configuration.listeners,
            tls.configs,
            configuration.named,
        );
        for index in tls.kept {
            in_effect.keep_tls(index, &before);
        }
        self.current.replace(in_effect, since);
        self.listeners = configuration.listeners;
        Ok(report)
    }

    /// Applies the new settings of the bridges. If a file of one of them cannot be used, all stay unchanged.
    fn renew_bridges(&self, configuration: &Configuration, report: &mut ReloadReport) {
        match tls_of_bridges(&configuration.bridges, &self.passphrases) {
            Ok(bridges) => report.taken.extend(self.bridges.reload(bridges)),
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("The bridges stay in effect as they were.");
                report.refuse("the bridges".to_owned(), error.to_string());
            }
        }
    }

    /// The new TLS of each listener. A listener whose files cannot be used keeps its TLS, and the settings that belong
    /// to it.
    fn renew_tls(&self, configuration: &mut Configuration, report: &mut ReloadReport) -> RenewedTls {
        let before = self.current.get();
        let mut renewed = RenewedTls::default();
        for (index, listener) in configuration.listeners.iter().enumerate() {
            let made = listener
                .tls
                .as_ref()
                .map(|tls| tls_of(tls, &self.passphrases, self.key_log.as_ref()));
            let config = match made.transpose() {
                Ok(made) => made.inspect(|made| {
                    report.taken.push(format!("the TLS of {}", name(listener)));
                    for warning in &made.warnings {
                        tracing::warn!("{warning}");
                        report.warnings.push(warning.to_string());
                    }
                }),
                Err(error) => {
                    tracing::error!("{error}");
                    tracing::error!("The TLS of {} stays in effect as it was.", name(listener));
                    report.refuse(format!("the TLS of {}", name(listener)), error.to_string());
                    let now = configuration.settings.listeners.get_mut(index);
                    if let (Some(now), Some(had)) = (now, before.settings.listeners.get(index)) {
                        now.certificate_names_user = had.certificate_names_user;
                    }
                    renewed.kept.push(index);
                    None
                }
            };
            renewed.configs.push(config);
        }
        renewed
    }

    /// The configuration for the listeners that are open, in their order; what needs a restart is reported.
    fn keep_fixed_settings(&self, mut read: Configuration, report: &mut ReloadReport) -> Configuration {
        let before = self.current.get();
        let mut offered: Vec<_> = read
            .settings
            .listeners
            .drain(..)
            .zip(read.listeners.drain(..))
            .map(Some)
            .collect();
        for (index, socket) in self.listeners.iter().enumerate() {
            let found = offered
                .iter_mut()
                .find(|offer| offer.as_ref().is_some_and(|(_, other)| is_same(socket, other)))
                .and_then(Option::take);
            let old = before.settings.listeners.get(index).cloned().unwrap_or_default();
            let (settings, socket) = match found {
                Some((settings, new)) => (keep_fixed((&old, socket), (settings, &new), report), new),
                None => {
                    let why = "is no longer in the configuration: it stays open until a restart";
                    report.keep_until_restart(name(socket), why);
                    (old, socket.clone())
                }
            };
            read.settings.listeners.push(settings);
            read.listeners.push(socket);
        }
        for (_, socket) in offered.iter().flatten() {
            report.keep_until_restart(name(socket), "is new: a restart will open it");
        }
        for key in read.fixed_at_start().changed_keys(&self.fixed) {
            report.keep_until_restart(key.to_owned(), "has changed: this needs a restart");
        }
        read.settings.hash_seed = before.settings.hash_seed;
        read
    }
}

/// The TLS of each listener after a reload.
#[derive(Default)]
struct RenewedTls {
    configs: Vec<Option<ServerTlsConfig>>,
    /// Listeners that keep their TLS.
    kept: Vec<usize>,
}

/// Logs which password and ACL files could not be used, and reports all of them.
fn report_files(
    files: &[AccessFiles],
    kept: &[KeptFile],
    listeners: &[ListenerSocket],
    report: &mut ReloadReport,
) {
    for (index, (files, listener)) in files.iter().zip(listeners).enumerate() {
        let named = [
            ("password_file", files.password_file.is_some()),
            ("acl_file", files.acl_file.is_some()),
            ("plugin_opt_config_file", files.dynamic.is_some()),
            ("jwt_keys", files.tokens.is_some()),
        ];
        for (key, _) in named.into_iter().filter(|(_, is_named)| *is_named) {
            let what = format!("the {key} of {}", name(listener));
            let is_it = |file: &&KeptFile| file.listener == index && file.key == key;
            match kept.iter().find(is_it) {
                Some(file) => {
                    let problems: Vec<_> = file.error.problems.iter().map(ToString::to_string).collect();
                    report.refuse(what, problems.join("; "));
                }
                None => report.taken.push(what),
            }
        }
    }
    for file in kept {
        for problem in &file.error.problems {
            tracing::error!("{problem}");
        }
        if let Some(listener) = listeners.get(file.listener) {
            let (key, listener) = (file.key, name(listener));
            tracing::error!("The {key} of {listener} stays in effect as it was.");
        }
    }
    if kept.is_empty() {
        tracing::info!("Reloaded the password and ACL files.");
    }
}

/// Keeps what cannot change while clients are connected.
fn keep_fixed(
    (old, socket): (&ListenerSettings, &ListenerSocket),
    (mut new, new_socket): (ListenerSettings, &ListenerSocket),
    report: &mut ReloadReport,
) -> ListenerSettings {
    if new_socket.unix != socket.unix {
        report.keep_until_restart(
            format!("{}: unix_socket_mode", name(socket)),
            "has changed: that takes a restart",
        );
    }
    if new.mount_point != old.mount_point {
        report.keep_until_restart(
            format!("{}: mount_point", name(socket)),
            "has changed: this needs a restart",
        );
        new.mount_point.clone_from(&old.mount_point);
    }
    new
}

fn is_same(one: &ListenerSocket, other: &ListenerSocket) -> bool {
    let place = |socket: &ListenerSocket| {
        (
            socket.unix.as_ref().map(|unix| unix.path.clone()),
            socket.port,
            socket.host.clone(),
            socket.family,
            socket.interface.clone(),
            std::mem::discriminant(&socket.protocol),
        )
    };
    place(one) == place(other)
}

fn name(socket: &ListenerSocket) -> String {
    format!("listener {}", socket.place())
}
