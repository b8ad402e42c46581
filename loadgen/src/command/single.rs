//! Single measurements: `loadgen conn`, `retained` and `selftest`.
//!
//! Invariant: as for [`super::loads`].

use std::sync::atomic::AtomicBool;

use super::files::{check_writable, write_json};
use crate::connect::args::ConnectRequest;
use crate::outcome::observer::Silent;
use crate::retained::args::RetainedRequest;
use crate::selftest::args::SelftestRequest;
use crate::system::error::Failure;
use crate::system::output::print;
use crate::target::Target;
use crate::{connect, retained, selftest};

pub(super) fn connect(request: &ConnectRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    check_writable(request.json.as_deref())?;
    let mut target = Target::open_plainly(&request.target, interrupted)?;
    let outcome = connect::run(&request.scenario, &target.subject, interrupted, &mut Silent);
    target.check_alive()?;
    let outcome = outcome?;
    print(&connect::outcome::text(&outcome))?;
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.verdict.exit_code)
}

pub(super) fn retained(request: &RetainedRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    check_writable(request.json.as_deref())?;
    let mut target = Target::open_plainly(&request.target, interrupted)?;
    let outcome = retained::run(&request.retained, &target.subject, interrupted);
    target.check_alive()?;
    let outcome = outcome?;
    print(&retained::text(&outcome))?;
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.verdict.exit_code)
}

pub(super) fn selftest(request: &SelftestRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    check_writable(request.json.as_deref())?;
    let outcome = selftest::run(&request.selftest, interrupted)?;
    print(&selftest::text(&outcome))?;
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.exit_code)
}
