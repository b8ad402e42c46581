//! The MQTT load generator. The files in the order in which a run passes through them:
//!
//! [`args`] turns the command line into a [`scenario::Scenario`] and a target; [`target`] starts a broker or finds the
//! running one; [`run`] connects all clients, drives the [`phase`]s and gathers the [`outcome::Outcome`]; each
//! [`worker`] is a thread with a ring that drives its [`connection`]s through [`handshake`], [`publisher`] (with its
//! [`schedule`], [`payload`] stamps and, in closed loop, its [`window`]) and [`subscriber`] (with its [`ledger`]);
//! [`measure`] and [`latency`] hold what was measured, [`validity`] judges it, [`report`] and [`export`] show it.
//!
//! Beside runs there are single clients, [`pubsub`].
//!
//! The load is open loop: messages have intended send times that do not depend on the broker, and latency counts from
//! those.

pub mod args;
pub mod certificates;
pub mod compare;
pub mod conceal;
pub mod connection;
pub mod cpus;
pub mod error;
pub mod export;
mod gather;
pub mod handshake;
pub mod key_passphrase;
pub mod latency;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod meter;
pub mod named;
pub mod outcome;
pub mod payload;
pub mod phase;
pub mod process;
pub mod publisher;
pub mod pubsub;
pub mod report;
pub mod retained;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod steadiness;
pub mod storm;
pub mod subscriber;
pub mod target;
pub mod topics;
pub mod validity;
pub mod window;
pub mod worker;
