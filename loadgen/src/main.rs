//! The load generator as a program: command line in, report out, exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use loadgen::connect::args::StormRequest;
use loadgen::generator::metrics::{Both, MetricsServer};
use loadgen::generator::progress::ProgressLine;
use loadgen::generator::run;
use loadgen::html::args::ReportRequest;
use loadgen::options::{self, Request};
use loadgen::outcome::export;
use loadgen::outcome::observer::Silent;
use loadgen::outcome::report;
use loadgen::retained::args::RetainedRequest;
use loadgen::scenario::named;
use loadgen::search::args::SearchRequest;
use loadgen::selftest::Selftest;
use loadgen::selftest::args::SelftestRequest;
use loadgen::sweep::args::SweepRequest;
use loadgen::system::cpus::Cpus;
use loadgen::system::error::{EXIT_OK, EXIT_USAGE, Failure};
use loadgen::system::hide_password;
use loadgen::target::Target;
use loadgen::target::process::{self, BROKER_WORD, PEER_WORD};
use loadgen::{client, compare, connect, html, retained, search, selftest, sweep};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == BROKER_WORD) {
        return process::become_broker(words.into_iter().skip(2));
    }
    if words.get(1).is_some_and(|word| word == PEER_WORD) {
        return process::become_peer(words.into_iter().skip(2));
    }
    hide_password::password(&words, password);
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    match command {
        "pub" | "sub" => return one_client(command == "pub", words),
        "scenarios" => {
            print!("{}", named::list());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let behind = || words.iter().skip(1).cloned();
    match command {
        "compare" => end(compare::args::parse(behind()), |request| {
            compare::run(request, &*watch_signals()?)
        }),
        "report" => end(html::args::parse(behind()), report_of),
        "search" => end(search::args::parse(behind()), search_of),
        "sweep" => end(sweep::args::parse(behind()), sweep_of),
        "selftest" => end(selftest::args::parse(behind()), selftest_of),
        "conn" => end(connect::args::parse(behind()), storm_of),
        "retained" => end(retained::args::parse(behind()), retained_of),
        _ => end(options::parse(words), measure),
    }
}

/// Does what was asked for, or says what is wrong with the words.
fn end<R>(parsed: Result<R, clap::Error>, act: impl FnOnce(&R) -> Result<u8, Failure>) -> ExitCode {
    match parsed {
        Ok(request) => match act(&request) {
            Ok(exit_code) => ExitCode::from(exit_code),
            Err(failure) => {
                eprintln!("loadgen: {failure}");
                ExitCode::from(failure.exit_code())
            }
        },
        Err(error) => {
            // Without a place to print to, the exit code has to do.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

fn report_of(request: &ReportRequest) -> Result<u8, Failure> {
    if request.folder.join("raw").is_dir() {
        let written = loadgen::compare::folder::sum_up_again(&request.folder);
        written.map_err(Failure::system("cannot sum the rounds up"))?;
    }
    let written = html::write(&request.folder);
    let path = written.map_err(Failure::system(format!(
        "cannot report on {}",
        request.folder.display()
    )))?;
    println!("{}", path.display());
    Ok(EXIT_OK)
}

fn search_of(request: &SearchRequest) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    if let Some(folder) = &request.out {
        make_folder(folder)?;
    }
    let mut target = Target::open(&request.target, &request.scenario, &interrupted)?;
    let mut progress = ProgressLine::new(&request.scenario);
    let outcome = search::run(&request.scenario, &target.subject, &interrupted, &mut progress);
    progress.clear();
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", search::text(&outcome));
    if let Some(folder) = &request.out {
        let cpus = request.scenario.cpus.clone();
        keep_with_ceiling(&outcome, folder, "search.json", cpus, &interrupted)?;
    }
    Ok(outcome.exit_code())
}

fn sweep_of(request: &SweepRequest) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    if let Some(folder) = &request.out {
        make_folder(folder)?;
    }
    let scenario = &request.sweep.scenario;
    let mut target = Target::open(&request.target, scenario, &interrupted)?;
    let mut progress = ProgressLine::new(scenario);
    let outcome = sweep::run(&request.sweep, &target.subject, &interrupted, &mut progress);
    progress.clear();
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", sweep::text(&outcome));
    if let Some(folder) = &request.out {
        keep_with_ceiling(
            &outcome,
            folder,
            "sweep.json",
            scenario.cpus.clone(),
            &interrupted,
        )?;
    }
    Ok(outcome.verdict.exit_code)
}

/// Writes the outcome of several runs into its folder, with the generator's ceiling and the report.
fn keep_with_ceiling<T: serde::Serialize>(
    outcome: &T,
    folder: &Path,
    name: &str,
    cpus: Option<Cpus>,
    interrupted: &AtomicBool,
) -> Result<(), Failure> {
    keep_ceiling(folder, cpus, interrupted)?;
    write_json(outcome, Some(&folder.join(name)))?;
    let written = html::write(folder);
    written.map_err(Failure::system(format!("cannot write into {}", folder.display())))?;
    Ok(())
}

fn selftest_of(request: &SelftestRequest) -> Result<u8, Failure> {
    let outcome = selftest::run(&request.selftest, &*watch_signals()?)?;
    print!("{}", selftest::text(&outcome));
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.exit_code)
}

fn storm_of(request: &StormRequest) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    let mut target = Target::open_plainly(&request.target, &interrupted)?;
    let outcome = connect::run(&request.storm, &target.subject, &interrupted, &mut Silent);
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", connect::outcome::text(&outcome));
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.verdict.exit_code)
}

fn retained_of(request: &RetainedRequest) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    let mut target = Target::open_plainly(&request.target, &interrupted)?;
    let outcome = retained::run(&request.retained, &target.subject, &interrupted);
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", retained::text(&outcome));
    write_json(&outcome, request.json.as_deref())?;
    Ok(outcome.verdict.exit_code)
}

fn write_json<T: serde::Serialize>(outcome: &T, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    export::write_json(outcome, path).map_err(Failure::system(format!("cannot write {}", path.display())))
}

fn password(words: &[OsString]) -> Option<String> {
    let one_client = words.get(1).and_then(|word| word.to_str());
    let behind = || words.iter().skip(2).cloned();
    match one_client {
        Some("pub") => client::password(true, behind()),
        Some("sub") => client::password(false, behind()),
        Some("conn") => connect::args::password(words.iter().skip(1).cloned()),
        Some("sweep") => sweep::args::password(words.iter().skip(1).cloned()),
        Some("search") => search::args::password(words.iter().skip(1).cloned()),
        _ => options::password(words.iter().cloned()),
    }
}

/// `loadgen pub` and `loadgen sub`.
fn one_client(publishes: bool, words: Vec<OsString>) -> ExitCode {
    let interrupted = match watch_signals() {
        Ok(interrupted) => interrupted,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            return ExitCode::from(failure.exit_code());
        }
    };
    let words = words.into_iter().skip(2);
    ExitCode::from(if publishes {
        client::publish(words, &interrupted)
    } else {
        client::subscribe(words, &interrupted)
    })
}

fn measure(request: &Request) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    if let Some(folder) = &request.output.folder {
        make_folder(folder)?;
    }
    let mut target = Target::open(&request.target, &request.scenario, &interrupted)?;
    let mut progress = ProgressLine::new(&request.scenario);
    let served = request.output.metrics.map(MetricsServer::start).transpose();
    let outcome = match served.map_err(Failure::system("cannot serve metrics"))? {
        Some(mut metrics) => {
            eprintln!("loadgen: metrics on http://{}/metrics", metrics.address());
            let mut both = Both(&mut progress, &mut metrics);
            run::run(&request.scenario, &target.subject, &interrupted, &mut both)
        }
        None => run::run(&request.scenario, &target.subject, &interrupted, &mut progress),
    };
    progress.clear();
    // A broker that has died explains more than what the clients saw of it.
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", report::text(&outcome));
    write_json(&outcome, request.output.json.as_deref())?;
    if let Some(folder) = &request.output.folder {
        keep_ceiling(folder, request.scenario.cpus.clone(), &interrupted)?;
        let written = export::write_folder(&outcome, folder).and_then(|()| html::write(folder));
        written.map_err(Failure::system(format!("cannot write into {}", folder.display())))?;
    }
    Ok(outcome.verdict.exit_code)
}

/// What the generator itself can do stands beside each result: a short selftest.
fn keep_ceiling(folder: &Path, cpus: Option<Cpus>, interrupted: &AtomicBool) -> Result<(), Failure> {
    let selftest = Selftest {
        duration: CEILING,
        cpus,
    };
    match selftest::run(&selftest, interrupted) {
        Ok(ceiling) => write_json(&ceiling, Some(&folder.join("selftest.json"))),
        // What was measured is kept all the same.
        Err(Failure::Interrupted) => Ok(()),
        Err(failure) => Err(failure),
    }
}

const CEILING: Duration = Duration::from_millis(500);

/// Makes the new folder of an outcome before anything is measured, and writes the command into it.
fn make_folder(folder: &Path) -> Result<(), Failure> {
    let made = std::fs::create_dir(folder).and_then(|()| {
        let words: Vec<String> = std::env::args().skip(1).collect();
        std::fs::write(folder.join("command"), format!("loadgen {}\n", words.join(" ")))
    });
    made.map_err(Failure::system(format!(
        "cannot make the folder {}",
        folder.display()
    )))
}

/// The first SIGINT or SIGTERM ends the load early, the second the program.
fn watch_signals() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(Failure::system("cannot watch signals"))?;
    }
    Ok(interrupted)
}
