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
mod program;
mod reload;
mod server;
pub mod settings;
mod shard;
mod systemd;
mod test_config;
mod thread_priority;
pub mod time;
pub mod turn;

pub use bind::BindError;
pub use program::run;
pub use server::{ServerError, serve};
pub use shard::allowed_cpus;
