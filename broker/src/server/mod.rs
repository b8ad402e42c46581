//! The order in which a broker starts and ends.
//!
//! `requirements.rs`, `locked_memory.rs` and `user.rs` prepare the process, `pid_file.rs` writes its id, `shards.rs`
//! and `http.rs` start the threads, `bridges.rs` the bridges, `signals.rs` handles the end and reloads
//! (`subscription_tree.rs` is what SIGUSR2 prints); `error.rs` has the reasons why a start fails.
//!
//! Invariants: the broker starts completely or not at all: every problem with files, ports and limits is found before
//! the first shard runs, and signals are handled before the first client can connect. Passphrases are asked for before
//! a port is opened.

mod bridges;
mod error;
mod http;
mod locked_memory;
mod pid_file;
mod requirements;
mod shards;
mod signals;
mod subscription_tree;
mod user;

use std::num::NonZeroU16;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use transport::clock::monotonic_ns;
use transport::socket;
use transport::tls::{KeyLogFile, ServerTlsConfig};

pub use self::error::ServerError;
use self::locked_memory::LockedMemoryPlan;
use self::pid_file::PidFile;
use self::shards::ShardThreads;
use crate::args::Args;
use crate::auth::{AccessFiles, Authentication, Policy, create_missing, warn_of_world_readable};
use crate::background;
use crate::bans::Bans;
use crate::bind::{self, Bound};
use crate::bridge::Bridges;
use crate::config::Configuration;
use crate::dynamic_commands::{CommandWorker, DynamicCommands};
use crate::files::FileError;
use crate::health::Health;
use crate::in_effect::{Current, InEffect};
use crate::listener_tls::tls_of_listeners;
use crate::log::{Log, topic_lines};
use crate::logic::{ShardCounters, shard_counters};
use crate::monitor::Monitor;
use crate::passphrase::Passphrases;
use crate::persistence::Persisted;
use crate::questions::Questions;
use crate::reload::Reloader;
use crate::reload_requests::ReloadRequests;
use crate::settings::Settings;
use crate::shard::{ShardQueues, Shared};
use crate::systemd;
use crate::traces::Traces;

/// Runs a broker until SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start or continue, in one sentence that says what to do.
pub fn serve(args: &Args, configuration: &Configuration, log: Log) -> Result<(), ServerError> {
    let plan = plan(configuration)?;
    let shards = plan.shards;
    let files = configuration.access_files();
    let policy = load_policy(&files)?;
    requirements::check_io_uring()?;
    requirements::forbid_core_dumps_and_huge_pages();
    socket::raise_descriptor_limit();
    let passphrases = Passphrases::default();
    let key_log = open_key_log(args)?;
    let tls = tls_of_listeners(configuration, &passphrases, key_log.as_ref())?;
    let bridges = bridges::with_tls(configuration, &passphrases)?;
    passphrases.forget_terminal();

    let current = Arc::new(Current::new(in_effect(configuration, tls), shards.get()));
    let queues = Arc::new(ShardQueues::new(shards.get()));
    let (counters, shut_down) = (shard_counters(shards.get()), Arc::new(AtomicBool::new(false)));
    let authentication = start_authentication(configuration, shards, &files, policy, &queues)?;
    let (traces, reloads) = (Arc::<Traces>::default(), Arc::<ReloadRequests>::default());
    let questions = ask_and_log_by(&queues, shards);
    let bridges = bridges::prepare(bridges, shards, &queues, &current, &questions);
    let reloader = Reloader {
        args: args.clone(),
        log,
        passphrases,
        key_log,
        current: Arc::clone(&current),
        authentication: Arc::clone(&authentication),
        listeners: configuration.listeners.clone(),
        fixed: configuration.fixed_at_start(),
        traces: Arc::clone(&traces),
        bridges: Arc::clone(&bridges),
    };
    let signals = signals::watch_signals(
        Arc::clone(&queues),
        Arc::clone(&shut_down),
        reloader,
        Arc::clone(&counters),
        Arc::clone(&reloads),
        Arc::clone(&questions),
    )?;
    let health = start_monitor(shards, &queues, &current)?;
    let pages = http::start_pages(configuration)?;

    let mut bound = bind::all(configuration)?;
    let pid_file = PidFile::write(configuration.pid_file.as_deref())?;
    let control = http::open_control(configuration)?;
    user::become_user(configuration)?;
    let shared = Shared {
        commands: start_commands(&authentication, &questions, &queues)?,
        traces,
        reloads,
        control: control.map(Arc::new),
        sampling: Arc::default(),
        questions,
        local: Arc::clone(bridges.local()),
        queues,
        current,
        authentication,
        bans: Arc::new(Bans::load(configuration.bans_file.clone())?),
        shut_down,
        health,
        pages,
    };
    let ended = run(configuration, &plan, &shared, &mut bound, &counters, &bridges);
    bound.close();
    signals.close();
    drop(pid_file);
    ended
}

/// The users and access rules at the start.
fn load_policy(files: &[AccessFiles]) -> Result<Policy, FileError> {
    create_missing(files)?;
    Policy::load(files, None)
}

/// How many shards fit, with a warning if that is less than what was asked for, and whether they have memory for
/// clients.
fn plan(configuration: &Configuration) -> Result<LockedMemoryPlan, ServerError> {
    let plan = locked_memory::plan(configuration)?;
    if let Some(warning) = &plan.warning {
        tracing::warn!("{warning}");
    }
    locked_memory::check_memory_limit(&plan, configuration.settings.memory_bytes_max)?;
    Ok(plan)
}

/// Opens the file of `--tls-keylog`, if there is to be one.
fn open_key_log(args: &Args) -> Result<Option<Arc<KeyLogFile>>, ServerError> {
    let Some(path) = &args.tls_keylog else {
        return Ok(None);
    };
    let file = KeyLogFile::open(path).map_err(|source| ServerError::KeyLog {
        path: path.clone(),
        source,
    })?;
    tracing::warn!(
        "The secrets of all TLS connections are written to {}: whoever has that file reads what clients send and \
         receive, passwords too. Start the broker without --tls-keylog once it is not needed.",
        path.display()
    );
    Ok(Some(Arc::new(file)))
}

/// The configuration in effect at the start.
fn in_effect(configuration: &Configuration, tls: Vec<Option<ServerTlsConfig>>) -> InEffect {
    let settings = Arc::new(settings_with_seed(configuration));
    let (listeners, named) = (&configuration.listeners, configuration.named.clone());
    InEffect::new(settings, listeners, tls, named)
}

/// Starts the thread that carries out commands of dynamic security.
fn start_commands(
    authentication: &Arc<Authentication>,
    questions: &Arc<Questions>,
    queues: &Arc<ShardQueues>,
) -> Result<DynamicCommands, ServerError> {
    let woken = Arc::clone(queues);
    let worker = CommandWorker {
        authentication: Arc::clone(authentication),
        questions: Arc::clone(questions),
        wake: Box::new(move || woken.wake_all()),
    };
    DynamicCommands::start(worker).map_err(ServerError::Authentication)
}

/// Starts the thread that monitors memory, and shards that no longer turn.
fn start_monitor(
    shards: NonZeroU16,
    queues: &Arc<ShardQueues>,
    current: &Arc<Current>,
) -> Result<Arc<Health>, ServerError> {
    let woken = Arc::clone(queues);
    let health = Arc::new(Health::new(shards.get(), move || woken.wake_all()));
    let monitor = Monitor {
        health: Arc::clone(&health),
        current: Arc::clone(current),
    };
    monitor.start().map_err(ServerError::Monitor)?;
    Ok(health)
}

/// Recovers stored state, opens the listeners, and serves until the end. Operators are answered from the beginning.
fn run(
    configuration: &Configuration,
    plan: &LockedMemoryPlan,
    shared: &Shared,
    bound: &mut Bound,
    counters: &Arc<[ShardCounters]>,
    bridges: &Arc<Bridges>,
) -> Result<(), ServerError> {
    let watched = Arc::new(OnceLock::new());
    http::start_api(
        configuration,
        bound,
        shared.control.as_deref(),
        shared,
        Arc::clone(counters),
        Arc::clone(&watched),
        bridges,
    )?;
    let mut persisted = open_store(configuration, plan.shards, shared)?;
    if let Some(persisted) = &persisted {
        let _first = watched.set(Mutex::new(persisted.watch()));
    }
    bound.listen()?;
    let shards = shards::start_shards(
        plan.shards,
        &plan.ring,
        shared,
        &bound.clients,
        counters,
        persisted.as_ref(),
    )?;
    if let Some(persisted) = &mut persisted {
        persisted.forget_state();
    }
    if shards.all_started {
        shared.health.start();
        bridges.start().map_err(ServerError::Bridges)?;
        systemd::notify_ready();
        background::notify_ready();
    }
    end(shards, persisted, bridges)
}

/// The questions of operators, which wake the shards; published log lines wake the first one.
fn ask_and_log_by(queues: &Arc<ShardQueues>, shards: NonZeroU16) -> Arc<Questions> {
    let (asked, logged) = (Arc::clone(queues), Arc::clone(queues));
    topic_lines().set_wake(move || logged.wake(0));
    Arc::new(Questions::new(shards.get(), move |shard| asked.wake(shard)))
}

/// Waits for the shards; what they have appended is durable afterwards.
fn end(shards: ShardThreads, persisted: Option<Persisted>, bridges: &Bridges) -> Result<(), ServerError> {
    let ended = shards.join();
    // They have seen that their clients here were disconnected, and disconnect from the other brokers.
    bridges.stop();
    match persisted {
        None => ended,
        Some(persisted) => ended.and(persisted.close().map_err(ServerError::Store)),
    }
}

/// Opens the store of `persistence`, if it is configured, and recovers its state.
fn open_store(
    configuration: &Configuration,
    shards: NonZeroU16,
    shared: &Shared,
) -> Result<Option<Persisted>, ServerError> {
    let Some(persistence) = &configuration.persistence else {
        return Ok(None);
    };
    let queues = Arc::clone(&shared.queues);
    let upgrades_qos = configuration.settings.upgrade_outgoing_qos;
    let persisted = Persisted::open(persistence, shards.get(), upgrades_qos, move |shard| {
        queues.wake(shard)
    })?;
    Ok(Some(persisted))
}

/// The settings with which the shards start. The seed is random, so that no client can choose topics that collide in
/// the hash tables.
fn settings_with_seed(configuration: &Configuration) -> Settings {
    let mut settings = configuration.settings.clone();
    let mut seed = [0; 8];
    settings.hash_seed = match getrandom::fill(&mut seed) {
        Ok(()) => u64::from_ne_bytes(seed),
        // The clock is sufficient: the seed is not a secret key.
        Err(_) => monotonic_ns(),
    };
    settings
}

fn start_authentication(
    configuration: &Configuration,
    shards: NonZeroU16,
    files: &[AccessFiles],
    policy: Policy,
    queues: &Arc<ShardQueues>,
) -> Result<Arc<Authentication>, ServerError> {
    warn_of_world_readable(files);
    let settings = Arc::new(configuration.settings.clone());
    let queues = Arc::clone(queues);
    Authentication::start(settings, files, policy, shards.get(), move |shard| {
        queues.wake(shard)
    })
    .map(Arc::new)
    .map_err(ServerError::Authentication)
}
