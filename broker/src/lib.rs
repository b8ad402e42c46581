//! The MQTT broker.

pub mod args;
pub mod config;
pub mod log;
pub mod settings;
