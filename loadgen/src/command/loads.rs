//! Runs loads of messages: `loadgen run`, `search` and `sweep`.
//!
//! Invariant: if the broker's process has ended, that is the error that is reported, because it explains the errors of
//! the clients.

use std::sync::atomic::AtomicBool;

use super::files::{check_writable, make_folder, write_ceiling, write_folder, write_json};
use crate::generator::metrics::{Both, MetricsServer};
use crate::generator::progress::ProgressLine;
use crate::generator::run;
use crate::html;
use crate::options::rates::RatesRequest;
use crate::options::run::RunRequest;
use crate::outcome::{export, report};
use crate::sweep::args::SweepRequest;
use crate::system::error::Failure;
use crate::system::output::{note, print};
use crate::target::Target;
use crate::{search, sweep};

pub(super) fn run(request: &RunRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    let RunRequest { scenario, output, .. } = request;
    check_writable(output.json.as_deref())?;
    make_folder(output.folder.as_deref())?;
    let mut target = Target::open(&request.target, scenario, interrupted)?;
    let mut progress = ProgressLine::new(scenario);
    let served = output.metrics.as_ref().map(|request| {
        let server = MetricsServer::start(request.address, &request.run);
        server.map(|server| (server, request.keep))
    });
    let mut served = served
        .transpose()
        .map_err(Failure::system("cannot serve metrics"))?;
    let outcome = match &mut served {
        Some((metrics, _)) => {
            note(&format!("metrics on http://{}/metrics", metrics.address()));
            let mut both = Both(&mut progress, metrics);
            run::run(scenario, &target.subject, interrupted, &mut both)
        }
        None => run::run(scenario, &target.subject, interrupted, &mut progress),
    };
    progress.clear();
    target.check_alive()?;
    let outcome = outcome?;
    print(&report::text(&outcome))?;
    write_json(&outcome, output.json.as_deref())?;
    if let Some(folder) = &output.folder {
        write_ceiling(folder, scenario.cpus.as_ref(), interrupted)?;
        let written = export::write_folder(&outcome, folder).and_then(|()| html::write(folder));
        written.map_err(Failure::system(format!("cannot write into {}", folder.display())))?;
    }
    if let Some((metrics, keep)) = served {
        metrics.conclude(&outcome.verdict, keep, interrupted);
    }
    Ok(outcome.verdict.exit_code)
}

pub(super) fn search(request: &RatesRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    let RatesRequest { scenario, out, .. } = request;
    make_folder(out.as_deref())?;
    let mut target = Target::open(&request.target, scenario, interrupted)?;
    let mut progress = ProgressLine::new(scenario);
    let outcome = search::run(scenario, &target.subject, interrupted, &mut progress);
    progress.clear();
    target.check_alive()?;
    let outcome = outcome?;
    print(&search::text(&outcome))?;
    let cpus = scenario.cpus.as_ref();
    write_folder(&outcome, out.as_deref(), "search.json", cpus, interrupted)?;
    Ok(outcome.exit_code())
}

pub(super) fn sweep(request: &SweepRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    let SweepRequest { sweep, out, .. } = request;
    make_folder(out.as_deref())?;
    let mut target = Target::open(&request.target, &sweep.scenario, interrupted)?;
    let mut progress = ProgressLine::new(&sweep.scenario);
    let outcome = sweep::run(sweep, &target.subject, interrupted, &mut progress);
    progress.clear();
    target.check_alive()?;
    let outcome = outcome?;
    print(&sweep::text(&outcome))?;
    let cpus = sweep.scenario.cpus.as_ref();
    write_folder(&outcome, out.as_deref(), "sweep.json", cpus, interrupted)?;
    Ok(outcome.verdict.exit_code)
}
