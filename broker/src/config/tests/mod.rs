//! Configurations from files and texts: one file for each theme.

mod any;
mod bridges;
mod files;
mod listeners;
mod mistakes;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use transport::tls::{IdentityKind, TlsVersion};

use super::draft::Draft;
use super::*;
use crate::bridge_settings::BridgeSettings;
use crate::settings::UNLIMITED;

/// The bridges of a configuration.
pub(crate) fn bridges_of(text: &str) -> Vec<BridgeSettings> {
    read(text).bridges
}

fn read_with(text: &str, args: &Args) -> Result<Configuration, FileError> {
    let mut draft = Draft::default();
    draft.read(Path::new("t.conf"), text.as_bytes(), true);
    resolve::configuration(draft, args)
}

fn read(text: &str) -> Configuration {
    read_with(text, &Args::default()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn addresses(configuration: &Configuration) -> Vec<Vec<SocketAddr>> {
    configuration
        .listeners
        .iter()
        .map(|listener| listener.addresses.clone())
        .collect()
}

fn socket_addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
