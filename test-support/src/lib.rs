//! What tests, benches and fuzz targets share: shards in one thread ([`Cluster`]), the client's side of SCRAM
//! ([`ScramClient`]), and connections with nothing particular about them.
//!
//! `cluster.rs` has the shards, `connection.rs` a client's connection, `scram.rs` the client's side of SCRAM.
//!
//! Invariant: nothing here is part of a program. What is wrong in it shows as a test that fails.

mod cluster;
mod connection;
mod scram;

pub use self::cluster::{Client, Cluster, Received};
pub use self::connection::{connect, open, peer};
pub use self::scram::ScramClient;
