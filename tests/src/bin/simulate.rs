//! Runs the simulator over many seeds, or shows one of them.
//!
//! Invariants: none.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tests::simulation::{self, Failure, Fault, Options};

/// Shards, queues, sockets, clients and a clock in one thread, under a scheduler that draws everything from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The seed to begin with.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone and print all that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of each schedule.
    #[arg(long, default_value_t = Options::default().steps)]
    steps: u32,
    /// Shards, 1 to 4; each seed draws its own if not given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    shards: Option<u8>,
    /// A rule that the shell is to break: how many seeds fail is how well the simulator finds it.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    /// With a store under the broker: a disk that is slow, and crashes.
    #[arg(long)]
    stored: bool,
    /// No flush and no piece of work takes long by the clock.
    #[arg(long)]
    untimed: bool,
    /// Threads; as many as the machine has by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Failing seeds after which to stop.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

/// Seeds that a thread takes at once.
const SEEDS_AT_ONCE: u64 = 64;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        shards: arguments.shards.map(usize::from),
        steps: arguments.steps,
        fault: arguments.fault,
        stored: arguments.stored,
        timed: !arguments.untimed,
    };
    print_seed_in_panics(&options);
    match arguments.seed {
        Some(seed) => replay(seed, &options),
        None => run_all(&arguments, &options),
    }
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// A panic is a finding too.
fn print_seed_in_panics(options: &Options) {
    let (options, before) = (options.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        eprintln!("replay: {}", options.command(SEED.get()));
    }));
}

fn replay(seed: u64, options: &Options) -> ExitCode {
    for line in simulation::trace(seed, options) {
        println!("{line}");
    }
    match simulation::run(seed, options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("seed {seed} failed: {}", failure.what);
            ExitCode::FAILURE
        }
    }
}

fn run_all(arguments: &Arguments, options: &Options) -> ExitCode {
    let threads = arguments
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
        .max(1);
    let progress = ProgressBar::new(arguments.seeds);
    let style = "{bar:40} {human_pos}/{human_len} seeds, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        progress.set_style(style);
    }
    let count = || AtomicU64::new(0);
    let (next, published, received, disconnected) = (count(), count(), count(), count());
    let (crashes, stops) = (count(), count());
    let (stop, failures) = (AtomicBool::new(false), Mutex::new(Vec::<Box<Failure>>::new()));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let from = next.fetch_add(SEEDS_AT_ONCE, Ordering::Relaxed);
            let until = arguments.seeds.min(from + SEEDS_AT_ONCE);
            for seed in from..until {
                SEED.set(arguments.first + seed);
                match simulation::run(arguments.first + seed, options) {
                    Ok(ran) => {
                        published.fetch_add(ran.published, Ordering::Relaxed);
                        received.fetch_add(ran.received, Ordering::Relaxed);
                        disconnected.fetch_add(ran.disconnected, Ordering::Relaxed);
                        crashes.fetch_add(ran.crashes, Ordering::Relaxed);
                        stops.fetch_add(ran.stops, Ordering::Relaxed);
                    }
                    Err(failure) => {
                        let mut failures = failures.lock().unwrap_or_else(|error| error.into_inner());
                        failures.push(failure);
                        stop.store(failures.len() >= arguments.failures, Ordering::Relaxed);
                    }
                }
            }
            if from >= until {
                return;
            }
            progress.inc(until - from);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    progress.finish();
    let failures = failures.into_inner().unwrap_or_else(|error| error.into_inner());
    for failure in failures.iter().take(arguments.failures) {
        println!("{failure}\n");
    }
    println!(
        "{} seeds in {:.1} s: {} messages published, {} received, {} slow clients disconnected, \
         {} crashes, {} stops, {} seeds failed",
        progress.position(),
        progress.elapsed().as_secs_f64(),
        published.into_inner(),
        received.into_inner(),
        disconnected.into_inner(),
        crashes.into_inner(),
        stops.into_inner(),
        failures.len()
    );
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
