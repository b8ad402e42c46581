//! The MQTT broker.

pub mod limits;
pub mod logic;
pub mod settings;
