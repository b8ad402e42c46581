//! The MQTT load generator: four programs and what they share.
//!
//! The load is open loop: messages have intended send times that do not depend on the broker, and latency is measured
//! from these times.
//!
//! - The generator: [`generator`] is one run; [`search`] (the highest rate within an objective) and [`sweep`]
//!   (increasing rates) consist of runs.
//! - The clients: [`client`] publishes, subscribes and sends requests.
//! - Comparison and report: [`compare`] (Midge and other brokers in turn), [`summary`] (the rounds of a folder,
//!   summarized) and [`html`] (the report of a folder).
//! - Single measurements: [`connect`] (connections), [`retained`] (retained messages), [`selftest`] (the generator
//!   against a sink) and [`prove`] (the generator's verdicts on injected faults).
//!
//! [`command`] has the subcommands, above all of them; [`schema`] describes their JSON files. What they share, from
//! the top floor down: [`options`] parses arguments into a [`scenario::Scenario`] and a [`target::request`];
//! [`outcome`] is the result of a run, its verdict and its files; [`target`] starts a broker or finds the running one;
//! [`connection`] exchanges packets with it; [`scenario`] is the request; [`measure`] has times, histograms and
//! ledgers; [`system`] the machine and this process.
//!
//! Invariants: none.

pub mod client;
pub mod command;
pub mod compare;
pub mod connect;
pub mod connection;
pub mod generator;
pub mod html;
pub mod measure;
pub mod options;
pub mod outcome;
pub mod prove;
pub mod retained;
pub mod scenario;
pub mod schema;
pub mod search;
pub mod selftest;
pub mod summary;
pub mod sweep;
pub mod system;
pub mod target;
