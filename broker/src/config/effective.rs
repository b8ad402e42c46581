//! Writes a configuration back as a configuration file, for `--test-config`.
//!
//! Invariants: reading that file gives the same configuration, but for passwords, which it does not show.

use std::fmt::Write as _;

use super::configuration::Configuration;
use super::keys::{self, Show, Status};

impl Configuration {
    /// The configuration in effect as a configuration file, defaults included.
    #[must_use]
    pub fn effective(&self) -> String {
        text(self)
    }
}

fn text(configuration: &Configuration) -> String {
    let mut text = format!("# shards: {}\n", configuration.shards);
    for key in keys::all() {
        if let Status::Effective(_, Show::Global(show)) = &key.status {
            push(&mut text, key.name, &show(configuration));
        }
    }
    for (settings, socket) in configuration
        .settings
        .listeners
        .iter()
        .zip(&configuration.listeners)
    {
        text.push('\n');
        for key in keys::all() {
            if let Status::Effective(_, Show::Listener(show)) = &key.status {
                push(&mut text, key.name, &show(settings, socket));
            }
        }
    }
    for bridge in &configuration.bridges {
        text.push('\n');
        for key in keys::all() {
            if let Status::Effective(_, Show::Bridge(show)) = &key.status {
                push(&mut text, key.name, &show(bridge));
            }
        }
    }
    text
}

fn push(text: &mut String, key: &str, values: &[String]) {
    for value in values {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{key} {value}");
    }
}
