//! An outcome for the tests of the code that reads outcomes.
//!
//! Invariants: none.

use std::ffi::OsString;

use super::*;
use crate::connect::args::ConnectArguments;
use crate::options::parse_as;

/// A valid outcome of the connections that these options describe; nothing was measured.
pub(crate) fn outcome(options: &str) -> ConnectOutcome {
    let words = format!("conn {options}");
    let words = words.split_whitespace().map(OsString::from);
    ConnectOutcome {
        header: Header::new(OutcomeKind::Connections),
        started_unix_s: 0,
        scenario: parse_as::<ConnectArguments>(words).unwrap().measurement,
        broker: ConnectBroker::default(),
        rates: ConnectRates::default(),
        tcp: None,
        tls: None,
        web_socket: None,
        connack: None,
        whole: None,
        lag: None,
        generator: Vec::new(),
        machine: Machine::default(),
        verdict: crate::outcome::testing::valid(),
    }
}
