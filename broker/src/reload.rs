//! SIGHUP: the configuration is read again, and what can change while clients stay connected is replaced.
//!
//! Invariants: a mistake in the configuration leaves everything as it was. Of the password files, the ACL files and the
//! TLS of each listener, each is taken whole or kept whole, and what was kept is logged: an unreadable key does not
//! keep a removed password valid. No connection is touched, those accepted later get the new TLS. Files are read and
//! keys are checked on the caller's thread; a shard does no more than to take a pointer, in its next turn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use transport::tls::ServerTlsConfig;

use crate::args::Args;
use crate::auth::{Authentication, KeptFile, warn_of_world_readable};
use crate::config::{self, Configuration, ListenerSocket};
use crate::files::FileError;
use crate::in_effect::{Current, InEffect};
use crate::listener_tls::tls_of;
use crate::log::{Log, LogError, NOTICE, PreparedLog};
use crate::passphrase::Passphrases;
use crate::privileges::SystemUser;
use crate::settings::ListenerSettings;
use crate::systemd;

/// Why everything stays as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Configuration(#[from] FileError),
    #[error("{0}")]
    Log(#[from] LogError),
}

/// What a reload reads and replaces.
pub(crate) struct Reloader {
    pub(crate) args: Args,
    pub(crate) log: Log,
    pub(crate) passphrases: Passphrases,
    pub(crate) current: Arc<Current>,
    pub(crate) authentication: Arc<Authentication>,
    /// The listeners that were opened at start, in the order of their numbers.
    pub(crate) listeners: Vec<ListenerSocket>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) user: Option<SystemUser>,
}

impl Reloader {
    /// Reads the files again; whether there is something new for the shards. Logs how it went.
    pub(crate) fn reload(&mut self) -> bool {
        tracing::info!(target: NOTICE, "Reloading the configuration.");
        systemd::notify_reloading();
        let outcome = self.try_reload();
        systemd::notify_ready();
        match outcome {
            Ok(()) => true,
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("The configuration was not reloaded. The files of before stay in effect.");
                false
            }
        }
    }

    /// Opens the files of the log anew: others may be in their places.
    pub(crate) fn reopen_log(&self) {
        let log = config::load(&self.args).map_err(ReloadError::from);
        match log.and_then(|read| Ok(PreparedLog::open(&read.log)?)) {
            Ok(log) => self.log.change(log),
            Err(error) => tracing::error!("The log is not opened anew: {error}"),
        }
    }

    fn try_reload(&mut self) -> Result<(), ReloadError> {
        let since = Instant::now();
        let mut read = config::load(&self.args)?;
        if self.user.is_some() {
            // Nobody but root can become somebody else, and the one who was root no longer is.
            read.user.clone_from(&self.user);
            read.warnings
                .retain(|warning| !warning.contains("user has no effect"));
        }
        let (mut configuration, warnings) = self.keep_fixed_settings(read);
        let log = PreparedLog::open(&configuration.log)?;
        // Nothing can fail from here on.
        self.log.change(log);
        for warning in configuration.warnings.iter().chain(&warnings) {
            tracing::warn!("{warning}");
        }
        let tls = self.renew_tls(&mut configuration);
        let files = configuration.access_files();
        warn_of_world_readable(&files);
        let (policy, kept) = self.authentication.reload(&files);
        report_kept(&kept, &configuration.listeners);
        let settings = Arc::new(configuration.settings);
        self.authentication.replace(Arc::clone(&settings), policy);
        let before = self.current.get();
        let mut in_effect = InEffect::new(settings, &configuration.listeners, tls.configs);
        for index in tls.kept {
            in_effect.keep_tls(index, &before);
        }
        self.current.replace(in_effect, since);
        self.listeners = configuration.listeners;
        Ok(())
    }

    /// The TLS of each listener anew. One whose files cannot be used stays as it was, and the settings with it.
    fn renew_tls(&self, configuration: &mut Configuration) -> RenewedTls {
        let before = self.current.get();
        let mut renewed = RenewedTls::default();
        for (index, listener) in configuration.listeners.iter().enumerate() {
            let made = listener.tls.as_ref().map(|tls| tls_of(tls, &self.passphrases));
            let config = match made.transpose() {
                Ok(made) => made.inspect(|made| {
                    made.warnings
                        .iter()
                        .for_each(|warning| tracing::warn!("{warning}"));
                }),
                Err(error) => {
                    tracing::error!("{error}");
                    tracing::error!("The TLS of {} stays in effect as it was.", name(listener));
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

    /// The configuration for the listeners that are open, in their order, and what of it needs a restart.
    fn keep_fixed_settings(&self, mut read: Configuration) -> (Configuration, Vec<String>) {
        let mut warnings = Vec::new();
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
                Some((settings, new)) => (keep_fixed(&old, settings, socket, &mut warnings), new),
                None => {
                    warnings.push(format!(
                        "{} is not in the configuration any more: it stays open until a restart",
                        name(socket)
                    ));
                    (old, socket.clone())
                }
            };
            read.settings.listeners.push(settings);
            read.listeners.push(socket);
        }
        for (_, socket) in offered.iter().flatten() {
            warnings.push(format!("{} is new: it will be opened by a restart", name(socket)));
        }
        if read.user != self.user {
            warnings.push("user has changed: that takes a restart".to_owned());
        }
        if read.pid_file != self.pid_file {
            warnings.push("pid_file has changed: that takes a restart".to_owned());
        }
        read.settings.hash_seed = before.settings.hash_seed;
        (read, warnings)
    }
}

/// The TLS of each listener after a reload.
#[derive(Default)]
struct RenewedTls {
    configs: Vec<Option<ServerTlsConfig>>,
    /// Listeners that keep the TLS that they have.
    kept: Vec<usize>,
}

/// Logs which password and ACL files could not be used.
fn report_kept(kept: &[KeptFile], listeners: &[ListenerSocket]) {
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

/// What cannot change under clients that are connected stays.
fn keep_fixed(
    old: &ListenerSettings,
    mut new: ListenerSettings,
    socket: &ListenerSocket,
    warnings: &mut Vec<String>,
) -> ListenerSettings {
    if new.mount_point != old.mount_point {
        warnings.push(format!(
            "{}: mount_point has changed: that takes a restart",
            name(socket)
        ));
        new.mount_point.clone_from(&old.mount_point);
    }
    new
}

fn is_same(one: &ListenerSocket, other: &ListenerSocket) -> bool {
    let place = |socket: &ListenerSocket| {
        (
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
    match &socket.host {
        Some(host) => format!("listener {} {host}", socket.port),
        None => format!("listener {}", socket.port),
    }
}
