//! The MQTT broker.
//!
//! The way of a message, by file names: `shard/accept.rs` accepts, `shard/greeting.rs` finds the CONNECT and with it the
//! home shard, `shard/login.rs` has the password checked (`auth/`), `shard/links.rs` carries the connection there; `shard/connection.rs` hands received bytes to the logic;
//! `logic/handle/publish.rs` handles a PUBLISH, `logic/routing/route.rs` finds its subscribers here and the shards with
//! subscribers elsewhere, `shard/exchange.rs` hands batches over, `shard/flush.rs` sends. `docs/ARCHITECTURE.md` tells it
//! whole.

mod admission;
pub mod args;
pub mod auth;
mod bind;
pub mod certs;
pub mod config;
pub mod exit_code;
pub mod files;
mod health;
mod http;
mod in_effect;
pub mod limits;
mod listener_tls;
pub mod log;
pub mod logic;
mod monitor;
pub mod passphrase;
pub mod passwd;
pub mod privileges;
mod reload;
mod server;
pub mod settings;
mod shard;
mod systemd;
mod thread_priority;
pub mod time;
pub mod turn;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

pub use bind::BindError;
pub use server::{ServerError, serve};
pub use shard::allowed_cpus;

/// The broker as a program: reads its arguments and the configuration, and serves until SIGTERM or SIGINT.
///
/// Exit codes are mosquitto's: 0 after a signal, 1 if it could not start or failed, 3 for a wrong command line or
/// configuration.
pub fn run<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args = args::parse_from(arguments);
    match &args.command {
        Some(args::Command::Certs(certs)) => return certs::run(certs),
        Some(args::Command::Passwd(passwd)) => return passwd::run(passwd),
        None => {}
    }
    let configuration = match config::load(&args) {
        Ok(configuration) => configuration,
        Err(error) => {
            complain(&error);
            return ExitCode::from(exit_code::EXIT_INVALID);
        }
    };
    if args.test_config {
        return test(&configuration);
    }
    let log = match log::start(&configuration.log) {
        Ok(log) => log,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    for warning in &configuration.warnings {
        tracing::warn!("{warning}");
    }
    match serve(&args, &configuration, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                ServerError::Access(_) => ExitCode::from(exit_code::EXIT_INVALID),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// `--test-config`: shows what would be in effect.
fn test(configuration: &config::Configuration) -> ExitCode {
    if let Err(error) = auth::Policy::load(&configuration.access_files(), None) {
        complain(&error);
        return ExitCode::from(exit_code::EXIT_INVALID);
    }
    if let Some(sentence) = configuration.listeners.iter().find_map(unreadable_tls_file) {
        complain(&sentence);
        return ExitCode::from(exit_code::EXIT_INVALID);
    }
    // Whoever reads may stop reading before the end: that is no failure of the configuration.
    let _read = write!(std::io::stdout(), "{}", configuration.effective());
    ExitCode::SUCCESS
}

/// A file of the listener's TLS that cannot be opened. What is in it is looked at by a start, which may ask for a passphrase.
fn unreadable_tls_file(listener: &config::ListenerSocket) -> Option<String> {
    let tls = listener.tls.as_ref()?;
    let files = [
        ("certfile", Some(&tls.certificate_chain)),
        ("keyfile", Some(&tls.private_key)),
        ("cafile", tls.client_ca.as_ref()),
        ("crlfile", tls.revocation_list.as_ref()),
    ];
    files.into_iter().find_map(|(key, path)| {
        let path = path?;
        let cause = std::fs::File::open(path).err()?;
        Some(format!("{key} {} cannot be read: {cause}", path.display()))
    })
}

/// Before there is a log. A standard error that cannot be written must not change the exit code.
fn complain(error: &dyn std::fmt::Display) {
    let _told = writeln!(std::io::stderr(), "Error: {error}");
}
