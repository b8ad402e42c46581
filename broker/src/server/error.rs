//! Why a broker could not start, or stopped.
//!
//! Invariants: each text is one sentence that says what to do.

use std::io;
use std::path::PathBuf;

use store::StoreError;
use transport::ring::RingError;
use transport::tls::TlsConfigError;

use crate::bans::BansFileError;
use crate::bind::BindError;
use crate::files::FileError;
use crate::socket_path::SocketPathError;

/// Why a broker could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A port cannot be listened on.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// A certificate, a key or an authority cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsConfigError),
    /// The same of a bridge.
    #[error("connection {bridge}: {source}")]
    BridgeTls {
        /// The name of the bridge.
        bridge: String,
        /// What is wrong with which file.
        source: Box<TlsConfigError>,
    },
    /// The thread of a bridge cannot be made.
    #[error(
        "cannot start the thread of a bridge: {0}; fix: allow more threads (`ulimit -u`, TasksMax in the systemd unit)"
    )]
    Bridges(#[source] io::Error),
    /// io_uring is missing, or not allowed.
    #[error("{0}")]
    Ring(#[from] RingError),
    /// RLIMIT_MEMLOCK is below what one shard needs.
    #[error(
        "only {bytes} bytes of memory may be locked, and {needed} are needed; fix: raise the limit, as root with \
         `ulimit -l 8192` before the start, or with LimitMEMLOCK=8M in the systemd unit"
    )]
    LockedMemory {
        /// The limit that is in effect.
        bytes: u64,
        /// The bytes that one shard needs.
        needed: u64,
    },
    /// The value of `memory_limit` is less than what the broker takes without clients.
    #[error(
        "memory_limit is {limit} bytes, and the broker takes {needed} with {shards} shards and no client: it would \
         shed load from the beginning; fix: raise memory_limit to {enough} or more, or start fewer `--shards`"
    )]
    MemoryLimit {
        /// The bytes of `memory_limit`.
        limit: u64,
        /// The bytes that are taken without clients.
        needed: u64,
        /// How many shards take them.
        shards: u16,
        /// The least value with which load is not shed at once.
        enough: u64,
    },
    /// The file of `--tls-keylog` cannot be written.
    #[error("cannot write the file of --tls-keylog {}: {source}; fix: choose another path", path.display())]
    KeyLog {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file of `bans_file` cannot be used.
    #[error("{0}")]
    Bans(#[from] BansFileError),
    /// The store of `persistence` cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The thread of a shard cannot be started.
    #[error(
        "cannot start the thread of shard {shard}: {source}; fix: allow more threads (`ulimit -u`, TasksMax in the \
         systemd unit), or fewer `--shards`"
    )]
    Thread {
        /// The number of the shard.
        shard: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A shard ended while the broker was running.
    #[error("shard {shard} failed: {detail}")]
    Shard {
        /// The number of the shard.
        shard: u16,
        /// The error of the shard.
        detail: String,
    },
    /// The file of `pid_file` cannot be written.
    #[error("cannot write the pid_file {}: {source}; fix: create its folder, and make it writable", path.display())]
    PidFile {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The socket of `control_socket` cannot be created.
    #[error("cannot create the control_socket {}: {source}", path.display())]
    ControlSocket {
        /// The path of the socket.
        path: PathBuf,
        /// The reason, and what to do.
        source: SocketPathError,
    },
    /// The broker cannot change to the user of `user`.
    #[error("cannot change to the user {name}: {source}")]
    User {
        /// The name of the user.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The thread that monitors memory and shards cannot be started.
    #[error("cannot start the thread that monitors memory and shards: {0}")]
    Monitor(#[source] io::Error),
    /// The threads of `http_dir` and `http_api` cannot be started.
    #[error("cannot start the threads that answer HTTP: {0}")]
    Pages(#[source] io::Error),
    /// A password or ACL file cannot be used.
    #[error("{0}")]
    Access(#[from] FileError),
    /// The threads that check passwords cannot be started.
    #[error("cannot start the threads that check passwords: {0}")]
    Authentication(#[source] io::Error),
    /// The handlers of the signals could not be set.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] io::Error),
}
