//! The programs as a user meets them: real processes, real sockets, real clients. One file for each theme.
//!
//! Every test starts a broker of its own on a free port of 127.0.0.1; [`harness`] ends it and fails the test if it left
//! with an error or a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should panic, in the harness too"
)]

mod harness;

mod auth;
mod auth_exchange;
mod background;
mod bans;
mod before_connect;
mod bounds;
mod bridges;
mod bridging;
mod check;
mod client_certificates;
mod conformance;
mod connect;
mod control;
mod ctl;
mod dashboard;
mod descriptors;
mod durability;
mod dynamic_security;
mod fair_work;
mod grafana;
mod keep_alive;
mod key_passphrase;
mod listeners;
mod load;
mod logins;
mod logs;
mod long_names;
mod malformed;
mod many_subscriptions;
mod metrics;
mod moving;
mod open_api;
mod operator_events;
mod operator_http;
mod operator_requests;
mod operator_view;
mod operators;
mod pubsub;
mod qos;
mod real_clients;
mod reload;
mod report;
mod retained;
mod secrets;
mod security;
mod service;
mod session;
mod shared;
mod shut_down;
mod simulation;
mod start;
mod takeover;
mod tls;
mod tokens;
mod traces;
mod tutorial;
mod undelivered;
mod unix_sockets;
mod vulnerabilities;
mod web_sockets;
mod wildcards;
mod will;
