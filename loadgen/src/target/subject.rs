//! The broker that is measured, whether it was found or started.
//!
//! Invariants: none.

use super::endpoint::Endpoint;

/// The broker that is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// How clients reach it.
    pub endpoint: Endpoint,
    /// Its process, if it is on this machine.
    pub pid: Option<u32>,
    /// Its name and version, for people.
    pub name: String,
    /// Its configuration file, if it is known.
    pub configuration: Option<String>,
}
