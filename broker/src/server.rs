//! The broker as a whole: sockets bound, one glommio executor for each shard, signals, and the end.
//!
//! Invariant: nothing is half started. Everything that can be wrong with files, ports and limits is found before the
//! first shard runs.

use std::io;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use glommio::{ExecutorJoinHandle, GlommioError, LocalExecutorBuilder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use transport::clock::monotonic_ns;
use transport::ring::{Ring, RingError, RingOptions};
use transport::socket;
use transport::tls::TlsConfigError;

use crate::args::Args;
use crate::auth::{AccessFiles, Authentication, Policy, warn_of_world_readable};
use crate::bind::{self, BindError, Listening};
use crate::config::{Configuration, ListenerSocket, Protocol};
use crate::files::FileError;
use crate::health::Health;
use crate::http::{Api, Pages, State, described};
use crate::in_effect::{Current, InEffect, ListenerInEffect};
use crate::listener_tls::tls_of_listeners;
use crate::log::Log;
use crate::logic::{Shard, ShardCounters, shard_counters};
use crate::monitor::Monitor;
use crate::passphrase::Passphrases;
use crate::privileges;
use crate::reload::Reloader;
use crate::settings::ListenerId;
use crate::shard::{Links, ShardLoop, Shared, allowed_cpus, placement};
use crate::systemd;

/// Why a broker could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A port cannot be listened on.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// A certificate, key or CA.
    #[error("{0}")]
    Tls(#[from] TlsConfigError),
    /// io_uring.
    #[error("{0}")]
    Ring(#[from] RingError),
    /// RLIMIT_MEMLOCK is below what glommio's rings need.
    #[error(
        "only {bytes} bytes of memory may be locked, and {needed} are needed: raise the limit, for example `ulimit -l 8192` or LimitMEMLOCK=8M in the systemd unit"
    )]
    LockedMemory {
        /// The limit.
        bytes: u64,
        /// What is needed.
        needed: u64,
    },
    /// An executor could not be made.
    #[error("cannot start shard {shard}: {source}")]
    Executor {
        /// Which.
        shard: u16,
        /// Why.
        source: GlommioError<()>,
    },
    /// A shard ended before it was told to.
    #[error("shard {shard} failed: {detail}")]
    Shard {
        /// Which.
        shard: u16,
        /// Why.
        detail: String,
    },
    /// `pid_file`.
    #[error("cannot write the pid_file {}: {source}; its folder must exist and be writable", path.display())]
    PidFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `user`.
    #[error("cannot become the user {name}: {source}")]
    User {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The thread that looks after the shards.
    #[error("cannot start the thread that watches memory and shards: {0}")]
    Monitor(#[source] io::Error),
    /// The threads of `http_dir` and `http_api`.
    #[error("cannot start the threads that answer HTTP: {0}")]
    Pages(#[source] io::Error),
    /// Password or ACL files.
    #[error("{0}")]
    Access(#[from] FileError),
    /// The threads that check passwords cannot be started.
    #[error("cannot start the threads that check passwords: {0}")]
    Authentication(#[source] io::Error),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] io::Error),
}

/// Runs a broker until SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start or go on, in one sentence with what to do.
pub fn serve(args: &Args, configuration: &Configuration, log: Log) -> Result<(), ServerError> {
    let files = configuration.access_files();
    let policy = Policy::load(&files, None)?;
    check_io_uring()?;
    socket::raise_descriptor_limit();
    let passphrases = Passphrases::default();
    let tls = tls_of_listeners(configuration, &passphrases)?;
    passphrases.forget_terminal();
    let current = Arc::new(Current::new(
        in_effect(configuration, tls),
        configuration.shards.get(),
    ));
    let links = Arc::new(Links::new(configuration.shards.get()));
    let shut_down = Arc::new(AtomicBool::new(false));
    let authentication = start_authentication(configuration, files, policy, &links)?;
    let reloader = Reloader {
        args: args.clone(),
        log,
        passphrases,
        current: Arc::clone(&current),
        authentication: Arc::clone(&authentication),
        listeners: configuration.listeners.clone(),
        user: configuration.user.clone(),
        pid_file: configuration.pid_file.clone(),
    };
    let signals = watch_signals(Arc::clone(&links), Arc::clone(&shut_down), reloader)?;
    let woken = Arc::clone(&links);
    let health = Arc::new(Health::new(configuration.shards.get(), move || woken.wake_all()));
    let monitor = Monitor {
        health: Arc::clone(&health),
        current: Arc::clone(&current),
    };
    monitor.start().map_err(ServerError::Monitor)?;
    let pages = start_pages(configuration)?;
    // Whoever can connect finds signals being watched.
    let bound = bind::all(configuration)?;
    let shared = Shared {
        links,
        current,
        authentication,
        shut_down,
        health,
        pages,
    };
    let pid_file = PidFile::write(configuration.pid_file.as_deref())?;
    become_user(configuration)?;
    let counters = shard_counters(configuration.shards.get());
    let executors = start_shards(configuration.shards, &shared, &bound.clients, &counters)?;
    start_api(configuration, bound.operators, &shared, counters)?;
    systemd::notify_ready();
    let ended = join_all(executors);
    for listening in &bound.clients {
        // The kernel takes the rings apart later, and what they know of the socket would keep its port until then.
        socket::shut_down(listening.socket.as_fd());
    }
    signals.close();
    drop(pid_file);
    ended
}

/// glommio panics where io_uring is not to be had, so this is found out before.
fn check_io_uring() -> Result<(), ServerError> {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Only what is allowed is asked for, so this fails only where limits are forbidden; the check below stands.
    let _ = setrlimit(Resource::Memlock, raised);
    if let Some(bytes) = getrlimit(Resource::Memlock).current
        && bytes < MEMLOCK_BYTES_MIN
    {
        return Err(ServerError::LockedMemory {
            bytes,
            needed: MEMLOCK_BYTES_MIN,
        });
    }
    Ring::new(&RingOptions {
        entries: 8,
        completions: 16,
        buffers: 1,
        buffer_bytes: 4096,
    })?;
    Ok(())
}

/// What the shards start with.
fn in_effect(configuration: &Configuration, tls: Vec<Option<Arc<ServerConfig>>>) -> InEffect {
    let mut settings = configuration.settings.clone();
    settings.hash_seed = random_seed();
    let listeners = configuration.listeners.iter().zip(tls);
    InEffect {
        settings: Arc::new(settings),
        listeners: listeners
            .map(|(socket, tls)| ListenerInEffect::new(socket, tls))
            .collect(),
    }
}

/// `user`. Everything that needs root is done.
fn become_user(configuration: &Configuration) -> Result<(), ServerError> {
    if !privileges::is_root() {
        return Ok(());
    }
    let default = || privileges::default().filter(|_| !configuration.stays_root);
    let Some(user) = configuration.user.clone().or_else(default) else {
        tracing::warn!("The broker runs as root: `user NAME` in the configuration makes it give that up.");
        return Ok(());
    };
    let files = configuration.log.files().chain(configuration.pid_file.as_deref());
    privileges::drop_to(&user, files).map_err(|source| ServerError::User {
        name: user.name.clone(),
        source,
    })?;
    if configuration.user.is_some() {
        tracing::info!("Running as the user {}.", user.name);
    } else {
        tracing::warn!(
            "The broker was started as root and has become the user {}, who must be able to read what SIGHUP reads again: \
             `user NAME` in the configuration chooses another one, `user root` none.",
            user.name
        );
    }
    Ok(())
}

/// The threads of `http_dir`, if a listener may need them: a reload can name a folder where there was none.
fn start_pages(configuration: &Configuration) -> Result<Pages, ServerError> {
    let may_have_pages = |listener: &ListenerSocket| matches!(listener.protocol, Protocol::WebSockets(_));
    if configuration.listeners.iter().any(may_have_pages) {
        return Pages::start().map_err(ServerError::Pages);
    }
    Ok(Pages::default())
}

/// The listeners of operators.
fn start_api(
    configuration: &Configuration,
    sockets: Vec<(OwnedFd, ListenerId)>,
    shared: &Shared,
    counters: Arc<[ShardCounters]>,
) -> Result<(), ServerError> {
    let listeners = configuration
        .listeners
        .iter()
        .zip(&configuration.settings.listeners);
    let state = State {
        counters,
        health: Arc::clone(&shared.health),
        current: Arc::clone(&shared.current),
        shut_down: Arc::clone(&shared.shut_down),
        started_at: SystemTime::now(),
        listeners: listeners
            .map(|(socket, settings)| described(socket, settings))
            .collect(),
    };
    Api::start(sockets, state).map_err(ServerError::Pages)
}

fn start_authentication(
    configuration: &Configuration,
    files: Vec<AccessFiles>,
    policy: Policy,
    links: &Arc<Links>,
) -> Result<Arc<Authentication>, ServerError> {
    warn_of_world_readable(&files);
    let settings = Arc::new(configuration.settings.clone());
    let links = Arc::clone(links);
    let shards = configuration.shards.get();
    Authentication::start(settings, files, policy, shards, move |shard| links.wake(shard))
        .map(Arc::new)
        .map_err(ServerError::Authentication)
}

/// SIGTERM and SIGINT end the broker; a second one ends it at once. SIGHUP reads the configuration again.
fn watch_signals(
    links: Arc<Links>,
    shut_down: Arc<AtomicBool>,
    mut reloader: Reloader,
) -> Result<signal_hook::iterator::Handle, ServerError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServerError::Signals)?;
    let handle = signals.handle();
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                if reloader.reload() {
                    links.wake_all();
                }
                continue;
            }
            if shut_down.swap(true, Ordering::Relaxed) {
                std::process::exit(1);
            }
            tracing::info!("Shutting down: signal {signal}.");
            systemd::notify_stopping();
            links.wake_all();
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map_err(ServerError::Signals)?;
    Ok(handle)
}

type ShardHandle = ExecutorJoinHandle<Result<(), String>>;

fn start_shards(
    shards: NonZeroU16,
    shared: &Shared,
    listening: &[Listening],
    counters: &Arc<[ShardCounters]>,
) -> Result<Vec<ShardHandle>, ServerError> {
    let count = shards.get();
    let cpus = allowed_cpus();
    let start = |shard: u16| {
        let (counters, shared) = (Arc::clone(counters), shared.clone());
        let listening = listening.to_vec();
        LocalExecutorBuilder::new(placement(shard, count, &cpus))
            .name(&format!("shard-{shard}"))
            .io_memory(GLOMMIO_IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                let _others = EndsWithMe {
                    links: Arc::clone(&shared.links),
                    shut_down: Arc::clone(&shared.shut_down),
                    shard,
                };
                let settings = Arc::clone(&shared.current.get().settings);
                let logic = Shard::new(shard, count, settings, counters);
                let shard = ShardLoop::new(shard, count, logic, listening, shared);
                match shard {
                    Ok(shard) => shard.run().await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .map_err(|source| ServerError::Executor { shard, source })
    };
    (0..count).map(start).collect()
}

/// So that no client can choose topics that fall together in our hash tables.
fn random_seed() -> u64 {
    let mut seed = [0; 8];
    // Without random bytes the clock has to do: the seed is no secret key.
    if getrandom::fill(&mut seed).is_err() {
        return monotonic_ns();
    }
    u64::from_ne_bytes(seed)
}

/// `pid_file`, removed when the broker ends.
struct PidFile<'a>(Option<&'a Path>);

impl PidFile<'_> {
    fn write(path: Option<&Path>) -> Result<PidFile<'_>, ServerError> {
        if let Some(path) = path {
            std::fs::write(path, format!("{}\n", std::process::id())).map_err(|source| {
                ServerError::PidFile {
                    path: path.to_owned(),
                    source,
                }
            })?;
        }
        Ok(PidFile(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = self.0.map(std::fs::remove_file);
    }
}

/// A shard that ends, in whatever way, ends the others too: half a broker is none.
struct EndsWithMe {
    links: Arc<Links>,
    shut_down: Arc<AtomicBool>,
    shard: u16,
}

impl Drop for EndsWithMe {
    fn drop(&mut self) {
        self.shut_down.store(true, Ordering::Relaxed);
        self.links.end(self.shard);
    }
}

/// Waits for all shards; the first failure is the broker's.
fn join_all(executors: Vec<ShardHandle>) -> Result<(), ServerError> {
    let mut result = Ok(());
    for (shard, executor) in (0u16..).zip(executors) {
        let detail = match executor.join() {
            Ok(Ok(())) => continue,
            Ok(Err(detail)) => detail,
            Err(error) => error.to_string(),
        };
        result = result.and(Err(ServerError::Shard { shard, detail }));
    }
    result
}

/// Never, in effect: when this timer fires between glommio's poll and its look at the task queue, glommio parks although
/// a task is ready. A shard would not start, or would sleep until something else wakes it.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);
/// What glommio demands of RLIMIT_MEMLOCK.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Registered memory for glommio's own files: the smallest it takes.
const GLOMMIO_IO_MEMORY_BYTES: usize = 64 << 10;
