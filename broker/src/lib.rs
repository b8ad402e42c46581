//! The MQTT broker.

pub mod settings;
