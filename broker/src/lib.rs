//! The MQTT broker.
//!
//! The path of a message, by file names: `shard/accept.rs` accepts, `shard/pending/` waits for the CONNECT, has the
//! password checked (`auth/`) and finds the shard that owns the session, `shard/queues.rs` moves the connection there;
//! `shard/connection.rs` passes received bytes to the logic; `logic/handle/publish.rs` handles a PUBLISH,
//! `logic/routing/route.rs` finds its subscribers on this shard and the shards with subscribers of their own,
//! `shard/exchange.rs` takes and pushes batches, `shard/flush.rs` sends. `turn.rs` decides the order.
//! `docs/ARCHITECTURE.md` has the whole description.
//!
//! The floors, from the ground up:
//!
//! 1. `time`, `limits`, `settings`: the units and bounds of the logic. `files`, `exit_code`: mistakes in files, and
//!    exit codes. `log`, `systemd`, `privileges`, `passphrase`, `thread_priority`, `memory`: the system around the
//!    process. `admission`, `client_sampling`, `health`, `traces`, `turn`: state that shards share with other threads.
//!    `named_paths`: the paths that belong to the configuration. `socket_path`: where a Unix socket can be.
//!    `client_address`: where a client comes from. `background`: the process of `-d`. `bans`, `flapping`: who may not
//!    connect.
//!    `bridge_settings`: the settings of a bridge. `local_connections`: its path to the shards.
//! 2. `auth`: who may connect, and what clients may do. `certs`, `store_command`, `ctl`: subcommands that make
//!    certificates, inspect stores, and control a running broker.
//! 3. `logic`: MQTT without I/O. `passwd`: the subcommand that makes password files. `import`: the subcommand that
//!    converts a file of mosquitto into a store.
//! 4. `args`: the command line.
//! 5. `config`: from files and the command line to settings.
//! 6. Modules that use a configuration: `bind` (sockets), `listener_tls`, `in_effect`, `persistence` (the store), and
//!    `test_config`; `check`, the subcommand that says what comes of each line. `bridge`: connections to other brokers.
//!    `questions`: operators' questions to the shards. `reload_requests`: operators' requests for a reload.
//! 7. The threads besides the shards: `dynamic_commands`, `http`, `monitor`, `reload`.
//! 8. `shard`: sockets, ring and TLS around the logic.
//! 9. `server`: the order of start and stop.
//! 10. `program`: arguments and exit codes.
//!
//! Invariants: a file imports from lower floors only, guarded by a test over the picture in `docs/ARCHITECTURE.md`.

mod admission;
pub mod args;
pub mod auth;
mod background;
mod bans;
mod bind;
mod bridge;
mod bridge_settings;
pub mod certs;
mod check;
mod client_address;
mod client_sampling;
pub mod config;
pub mod ctl;
mod dynamic_commands;
pub mod exit_code;
pub mod files;
mod flapping;
mod health;
mod http;
pub mod import;
mod in_effect;
pub mod limits;
mod listener_tls;
mod local_connections;
pub mod log;
pub mod logic;
mod memory;
mod monitor;
mod named_paths;
pub mod passphrase;
pub mod passwd;
pub mod persistence;
pub mod privileges;
mod program;
mod questions;
mod reload;
mod reload_requests;
mod server;
pub mod settings;
mod shard;
mod socket_path;
pub mod store_command;
mod systemd;
mod test_config;
mod thread_priority;
pub mod time;
mod traces;
pub mod turn;

pub use bans::BansFileError;
pub use bind::{AddressError, BindError};
pub use client_address::ClientAddress;
pub use program::run;
pub use server::{ServerError, serve};
pub use shard::{allowed_cpus, proxy_header_bytes};
pub use socket_path::SocketPathError;
