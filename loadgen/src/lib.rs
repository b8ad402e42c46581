//! The MQTT load generator. The files in the order in which a run passes through them:
//!
//! [`args`] turns the command line into a [`scenario::Scenario`] and a target; [`target`] starts a broker or finds the
//! running one, an [`endpoint`]; [`run`] connects all clients, drives the [`phase`]s and gathers the [`outcome::Outcome`]; each
//! [`worker`] is a thread with a ring that drives its [`connection`]s through [`handshake`], [`publisher`] (with its
//! [`schedule`], [`payload`] stamps and, in closed loop, its [`window`]) and [`subscriber`] (with its [`ledger`]);
//! [`measure`] and [`latency`] hold what was measured, [`validity`] judges it, [`report`] and [`export`] show it.
//!
//! Made of runs: [`compare`] (Midge and other brokers in turns), [`search`] (the highest rate within an objective),
//! [`sweep`] (one rate after the other) and [`selftest`] (against a sink). Beside runs: [`storm`] (connections), [`retained`] and single clients, [`pubsub`].
//! [`named`] has the loads with names, [`series`] the run over time, [`html`] the report of a folder, [`metrics`] what is
//! served while it runs.
//!
//! The load is open loop: messages have intended send times that do not depend on the broker, and latency counts from
//! those.

pub mod args;
pub mod certificates;
pub mod churn;
pub mod compare;
pub mod conceal;
pub mod connection;
pub mod cpus;
pub mod endpoint;
pub mod error;
pub mod export;
mod gather;
pub mod handshake;
pub mod html;
pub mod key_passphrase;
pub mod latency;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod meter;
pub mod metrics;
pub mod named;
pub mod outcome;
pub mod payload;
pub mod phase;
pub mod process;
pub mod progress;
pub mod properties;
pub mod publisher;
pub mod pubsub;
pub mod report;
pub mod retained;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod search;
pub mod selftest;
pub mod series;
pub mod steadiness;
pub mod storm;
pub mod subscriber;
pub mod subscription;
pub mod sweep;
pub mod target;
pub mod topics;
pub mod validity;
pub mod window;
pub mod worker;
