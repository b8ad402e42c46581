//! Runs single measurements: `loadgen conn`, `retained`, `selftest` and `prove`.
//!
//! Invariant: as for [`super::loads`].

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::files::{check_writable, write_json};
use crate::connect::ConnectScenario;
use crate::options::measurement::MeasurementRequest;
use crate::outcome::observer::Silent;
use crate::prove::ProveOutcome;
use crate::prove::args::ProveRequest;
use crate::retained::Retained;
use crate::selftest::args::SelftestRequest;
use crate::system::error::Failure;
use crate::system::output::print;
use crate::target::Target;
use crate::target::subject::Subject;
use crate::{connect, prove, retained, selftest};

pub(super) fn connect(
    request: &MeasurementRequest<ConnectScenario>,
    interrupted: &AtomicBool,
) -> Result<u8, Failure> {
    let measure = |subject: &Subject| connect::run(&request.measurement, subject, interrupted, &mut Silent);
    let outcome = measured(request, interrupted, measure, connect::outcome::text)?;
    Ok(outcome.verdict.exit_code)
}

pub(super) fn retained(
    request: &MeasurementRequest<Retained>,
    interrupted: &AtomicBool,
) -> Result<u8, Failure> {
    let measure = |subject: &Subject| retained::run(&request.measurement, subject, interrupted);
    let outcome = measured(request, interrupted, measure, retained::text)?;
    Ok(outcome.verdict.exit_code)
}

/// Takes the measurement and shows its outcome: on the terminal with `text`, and in the requested file.
fn measured<M, O: Serialize>(
    request: &MeasurementRequest<M>,
    interrupted: &AtomicBool,
    measure: impl FnOnce(&Subject) -> Result<O, Failure>,
    text: impl FnOnce(&O) -> String,
) -> Result<O, Failure> {
    check_writable(request.json.as_deref())?;
    let mut target = Target::open_plainly(&request.target, interrupted)?;
    let outcome = measure(&target.subject);
    target.check_alive()?;
    let outcome = outcome?;
    print(&text(&outcome))?;
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome)
}

pub(super) fn selftest(request: &SelftestRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    check_writable(request.json.as_deref())?;
    let outcome = selftest::run(&request.selftest, interrupted)?;
    print(&selftest::text(&outcome))?;
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.exit_code)
}

pub(super) fn prove(request: &ProveRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    check_writable(request.json.as_deref())?;
    let proved = prove::run(request, interrupted)?;
    print(&prove::text(&proved))?;
    let outcome = ProveOutcome::new(proved);
    write_json(&outcome, request.json.as_deref())?;
    Ok(prove::exit_code(&outcome.cases))
}
