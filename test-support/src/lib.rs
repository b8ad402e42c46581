//! Shared by tests, benches and fuzz targets: shards in one thread ([`Cluster`]), the client's side of SCRAM
//! ([`ScramClient`]), and connections without special properties.
//!
//! `cluster.rs` has the shards, `connection.rs` a client's connection, `scram.rs` the client's side of SCRAM.
//!
//! Invariant: nothing in this crate is part of a program. A mistake in it shows as a failing test.

mod cluster;
mod connection;
mod scram;

pub use self::cluster::{Client, Cluster, Received};
pub use self::connection::{connect, open, peer};
pub use self::scram::ScramClient;
