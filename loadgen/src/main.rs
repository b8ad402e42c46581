//! The load generator as a program: command line in, report out, exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loadgen::args::{self, Request};
use loadgen::error::{EXIT_USAGE, Failure};
use loadgen::report::{self, ProgressLine};
use loadgen::process::{self, BROKER_WORD, PEER_WORD};
use loadgen::target::Target;
use loadgen::{conceal, export, pubsub, run};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == BROKER_WORD) {
        return process::become_broker(words.into_iter().skip(2));
    }
    if words.get(1).is_some_and(|word| word == PEER_WORD) {
        return process::become_peer(words.into_iter().skip(2));
    }
    conceal::password(&words, password);
    let is = |name: &str| words.get(1).is_some_and(|word| word == name);
    if is("pub") || is("sub") {
        return one_client(is("pub"), words);
    }
    match args::parse(words) {
        Ok(request) => load(&request),
        Err(error) => {
            // Without a place to print to, the exit code has to do.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

fn password(words: &[OsString]) -> Option<String> {
    let one_client = words.get(1).and_then(|word| word.to_str());
    let behind = || words.iter().skip(2).cloned();
    match one_client {
        Some("pub") => pubsub::password(true, behind()),
        Some("sub") => pubsub::password(false, behind()),
        _ => args::password(words.iter().cloned()),
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
        pubsub::publish(words, &interrupted)
    } else {
        pubsub::subscribe(words, &interrupted)
    })
}

fn load(request: &Request) -> ExitCode {
    match measure(request) {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn measure(request: &Request) -> Result<u8, Failure> {
    let interrupted = watch_signals()?;
    let mut target = Target::open(&request.target, &request.scenario, &interrupted)?;
    let mut progress = ProgressLine::new(&request.scenario);
    let outcome = run::run(&request.scenario, &target.subject, &interrupted, &mut progress);
    progress.clear();
    // A broker that has died explains more than what the clients saw of it.
    target.check_alive()?;
    let outcome = outcome?;
    print!("{}", report::text(&outcome));
    if let Some(path) = &request.output.json {
        export::write_json(&outcome, path)
            .map_err(Failure::system(format!("cannot write {}", path.display())))?;
    }
    Ok(outcome.verdict.exit_code)
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
