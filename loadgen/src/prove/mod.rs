//! `loadgen prove`: injects faults of the path, the broker and the machine into runs of the generator, and checks
//! its conclusions.
//!
//! [`cases`] has the faults with the correct verdict for each, `proxy.rs` the proxy between the generator and a
//! broker that it started, `cpu_pressure.rs` takes CPU time away from the generator, `answer.rs` reads what a run
//! concluded. `args.rs` has the options.
//!
//! Invariants: the generator under test is a separate process that knows nothing of the fault. A run that is invalid
//! because the machine was busy proves nothing and is repeated; it never counts as right.

mod answer;
pub mod args;
pub mod cases;
pub mod cpu_pressure;
pub mod proxy;

use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::outcome::header::{Header, OutcomeKind};
use crate::system::error::{EXIT_GENERATOR, EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::show_progress;
use crate::target::process::{BrokerProcess, FreeAddress};
use answer::{Answer, NOT_IN_TIME};
use args::ProveRequest;
use cases::{Case, Fault};
use cpu_pressure::{BusyCore, Quota};
use proxy::Proxy;

/// The result of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The conclusion is correct.
    Right,
    /// The conclusion is a different one.
    Wrong,
    /// The machine was too busy, or does not allow the fault.
    Unproven,
}

/// One line of the table.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Proved {
    /// The name of the case.
    pub case: &'static str,
    /// What was done to the generator.
    pub done: &'static str,
    /// The conclusion of the generator.
    pub concluded: String,
    /// The conclusion that is right.
    pub right: &'static str,
    /// Whether the two agree.
    pub proof: Proof,
}

/// The outcome of `loadgen prove`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ProveOutcome {
    /// The format, the kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// One line for each case, in their order.
    pub cases: Vec<Proved>,
}

impl ProveOutcome {
    /// The outcome of these cases.
    pub fn new(cases: Vec<Proved>) -> ProveOutcome {
        let header = Header::new(OutcomeKind::Prove);
        ProveOutcome { header, cases }
    }
}

/// Runs the selected cases.
///
/// # Errors
/// When the broker or a process of the generator cannot be started.
pub fn run(request: &ProveRequest, interrupted: &AtomicBool) -> Result<Vec<Proved>, Failure> {
    let free = FreeAddress::find()?;
    let port = free.address.port().to_string();
    let words = ["-p", &port, "--shards", "1"].map(OsString::from);
    let mut broker = BrokerProcess::own(words, None)?;
    broker.wait_until_it_listens(free.address, interrupted)?;
    let mut proved = Vec::new();
    for case in &request.cases {
        let line = prove(case, request, free.address.port(), interrupted)?;
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        show_progress(&format!("{}: {:?}", case.name, line.proof));
        proved.push(line);
    }
    broker.check_alive()?;
    Ok(proved)
}

/// The exit code: 1 if a conclusion is wrong, 4 if something could not be proved.
pub fn exit_code(proved: &[Proved]) -> u8 {
    let any = |proof: Proof| proved.iter().any(|line| line.proof == proof);
    match () {
        () if any(Proof::Wrong) => EXIT_MISSED,
        () if any(Proof::Unproven) => EXIT_GENERATOR,
        () => EXIT_OK,
    }
}

/// The table for the terminal: four lines for each case, because sentences do not fit into columns.
pub fn text(proved: &[Proved]) -> String {
    let of = |line: &Proved| {
        let mark = match line.proof {
            Proof::Right => "right",
            Proof::Wrong => "WRONG",
            Proof::Unproven => "unproven",
        };
        format!(
            "{mark:<9}{}\n         done:  {}\n         said:  {}\n         right: {}\n",
            line.case, line.done, line.concluded, line.right
        )
    };
    let count = |proof: Proof| proved.iter().filter(|line| line.proof == proof).count();
    let lines: String = proved.iter().map(of).collect();
    format!(
        "{lines}{} right, {} wrong, {} unproven\n",
        count(Proof::Right),
        count(Proof::Wrong),
        count(Proof::Unproven)
    )
}

fn prove(
    case: &Case,
    request: &ProveRequest,
    broker_port: u16,
    interrupted: &AtomicBool,
) -> Result<Proved, Failure> {
    let mut line = Proved {
        case: case.name,
        done: case.done,
        concluded: String::new(),
        right: case.right,
        proof: Proof::Unproven,
    };
    for _ in 0..ATTEMPTS {
        let answer = match play(case, request, broker_port, interrupted)? {
            Ok(answer) => answer,
            Err(reason) => {
                line.concluded = format!("not run: {reason}");
                return Ok(line);
            }
        };
        line.concluded = answer.text();
        line.proof = match () {
            () if request.against.is_some() => case.noticed_by_another(&answer),
            () if (case.is_right)(&answer) => Proof::Right,
            () if [i32::from(EXIT_GENERATOR), NOT_IN_TIME].contains(&answer.exit_code) => Proof::Unproven,
            () => Proof::Wrong,
        };
        if line.proof != Proof::Unproven || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(line)
}

/// Runs a fault once; returns the reason if this machine does not allow it.
fn play(
    case: &Case,
    request: &ProveRequest,
    broker_port: u16,
    interrupted: &AtomicBool,
) -> Result<Result<Answer, String>, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::system("cannot make a folder"))?;
    let file = folder.path().join("outcome.json");
    let proxy = match case.fault {
        Fault::Path(fault) => {
            let proxy = Proxy::start(broker_port, fault);
            Some(proxy.map_err(Failure::system("cannot start the proxy"))?)
        }
        _ => None,
    };
    let port = proxy.as_ref().map_or(broker_port, Proxy::port);
    let busy = match case.fault {
        Fault::BusyCore => Some(BusyCore::start().map_err(Failure::system("cannot keep a core busy"))?),
        _ => None,
    };
    let quota = match case.fault {
        Fault::Quota => match Quota::make() {
            Ok(quota) => Some(quota),
            Err(reason) => return Ok(Err(reason)),
        },
        _ => None,
    };
    let words = match &request.against {
        Some(command) => cases::of_another(command, port),
        None => {
            let Some(words) = case.words(port, &file, busy.as_ref().map(BusyCore::core)) else {
                return Ok(Err("it needs a second CPU".to_owned()));
            };
            let program = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
            std::iter::once(program.into_os_string()).chain(words).collect()
        }
    };
    let output = tempfile::tempfile().map_err(Failure::system("cannot make a file"))?;
    let words = if quota.is_some() {
        cpu_pressure::waiting(words)
    } else {
        words
    };
    let mut child = spawn(&words, &output)?;
    if let Some(quota) = &quota {
        quota
            .limit(child.id())
            .map_err(Failure::system("cannot limit the generator"))?;
    }
    // Closing it starts a generator that waits to be limited.
    drop(child.stdin.take());
    let status = wait(&mut child, interrupted);
    Ok(Ok(Answer::read(status, &file, output)))
}

fn spawn(words: &[OsString], output: &std::fs::File) -> Result<Child, Failure> {
    let (program, rest) = words.split_first().ok_or(Failure::Thread)?;
    let stream = || output.try_clone().map_err(Failure::system("cannot open a file"));
    Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(stream()?)
        .stderr(stream()?)
        .spawn()
        .map_err(Failure::system(format!("cannot start {}", program.display())))
}

/// Waits until the process has ended, or ends it.
fn wait(child: &mut Child, interrupted: &AtomicBool) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < ENDS_WITHIN && !interrupted.load(Ordering::Relaxed) {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return None,
        }
    }
    // Both fail if the process has just ended.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// How often a case is run until a run is valid enough for a conclusion.
const ATTEMPTS: u32 = 3;
/// The time limit of the generator for one case.
const ENDS_WITHIN: Duration = Duration::from_secs(90);
