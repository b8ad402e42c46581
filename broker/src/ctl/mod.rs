//! `broker ctl`: controls a running broker over its control socket. `action.rs` has the actions, with arguments of
//! `arguments.rs`; `table.rs` prints tables or JSON; `top.rs` measures for a while.
//!
//! Invariants: the exit code is 0 if the broker did what was asked, otherwise 1 with one sentence on standard error.
//! Names of clients cannot control the terminal: characters that are not printable are escaped.

mod action;
mod arguments;
mod table;
mod top;

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use self::action::{CtlAction, CtlRequest};
use self::table::{events_explained, reloaded, seen, shown, table};
use crate::log::escaped;

/// The arguments of `broker ctl`.
#[derive(Clone, Debug, clap::Args)]
pub struct CtlArgs {
    /// Path of the broker's `control_socket`
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/midge/control.sock"
    )]
    socket: PathBuf,

    /// Print the JSON of the answer
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    action: CtlAction,
}

/// Performs the action and prints the result.
#[must_use]
pub fn run(args: &CtlArgs) -> ExitCode {
    match answer(args) {
        Ok(text) => {
            let text = if args.json { seen(&text) } else { text };
            let mut out = io::stdout();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                // The reader may close its end early.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    let _failed = writeln!(io::stderr(), "Error: the answer cannot be written: {error}");
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(failure) => {
            let _read = io::stdout().write_all(failure.done.as_bytes());
            // A standard error that cannot be written must not change the exit code.
            let _failed = writeln!(io::stderr(), "Error: {}", escaped(&failure.error));
            ExitCode::FAILURE
        }
    }
}

/// Why the action failed.
struct CtlFailure {
    /// What is printed nevertheless, because a part was done.
    done: String,
    /// The sentence for standard error.
    error: String,
}

impl From<String> for CtlFailure {
    fn from(error: String) -> Self {
        let done = String::new();
        Self { done, error }
    }
}

fn answer(args: &CtlArgs) -> Result<String, CtlFailure> {
    let request = args.action.request();
    if let CtlAction::Top { seconds, .. } = &args.action {
        return Ok(top::measure(args, &request, *seconds)?);
    }
    let Some(columns) = args.action.columns() else {
        let (is_done, body) = exchange(args, &request)?;
        let text = match (&args.action, args.json) {
            (CtlAction::Metrics, _) | (_, true) => body.clone(),
            (CtlAction::Reload, false) => reloaded(&body),
            _ => shown(&body),
        };
        return match (is_done, &args.action) {
            (true, _) => Ok(text),
            (false, CtlAction::Reload) => Err(CtlFailure {
                done: text,
                error: sentence(&body),
            }),
            (false, _) => Err(sentence(&body).into()),
        };
    };
    let (items, _) = list(args, &request)?;
    Ok(if args.json {
        format!("{:#}\n", Value::Array(items))
    } else if matches!(args.action, CtlAction::Events { .. }) {
        table(columns, &items) + events_explained(&items)
    } else {
        table(columns, &items)
    })
}

/// The entries of all pages of a list, and the last page without them.
fn list(args: &CtlArgs, request: &CtlRequest) -> Result<(Vec<Value>, Value), String> {
    let mut items: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut target = request.target.clone();
        if let Some(cursor) = &cursor {
            // Writing to a string does not fail.
            let _written = write!(target, "&cursor={cursor}");
        }
        let page = ask(
            args,
            &CtlRequest {
                target,
                ..request.copy()
            },
        )?;
        let mut page: Value = serde_json::from_str(&page)
            .map_err(|error| format!("no JSON came back: {error}; fix: name a broker's control_socket"))?;
        let name = if page.get("items").is_some() {
            "items"
        } else {
            "listeners"
        };
        if let Some(Value::Array(more)) = page.get_mut(name).map(Value::take) {
            items.extend(more);
        }
        if let Some(most) = args.action.most().filter(|&most| items.len() >= most) {
            items.truncate(most);
            return Ok((items, page));
        }
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return Ok((items, page));
        }
    }
}

/// The body of the answer, or why the request failed.
fn ask(args: &CtlArgs, request: &CtlRequest) -> Result<String, String> {
    let (is_done, body) = exchange(args, request)?;
    if is_done { Ok(body) } else { Err(sentence(&body)) }
}

/// The error in the body of an answer that refuses.
fn sentence(body: &str) -> String {
    let error: Option<Value> = serde_json::from_str(body).ok();
    let sentence = error.as_ref().and_then(|error| error.get("error")?.as_str());
    sentence.unwrap_or(body.trim_end()).to_owned()
}

/// Whether the request succeeded, and the body of the answer.
fn exchange(args: &CtlArgs, request: &CtlRequest) -> Result<(bool, String), String> {
    let path = args.socket.display();
    let unreachable = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "no permission to open {path}: {error}; fix: run the command as root or as the broker's user"
            )
        }
        _ => format!(
            "the broker does not answer at {path}: {error}; fix: set `control_socket {path}` in its \
            configuration, or name its socket with --socket"
        ),
    };
    let mut socket = UnixStream::connect(&args.socket).map_err(unreachable)?;
    let broken =
        |error: io::Error| format!("the broker at {path} closed the connection: {error}; fix: try again");
    socket.set_read_timeout(Some(TIMEOUT)).map_err(broken)?;
    let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        request.method,
        request.target,
        body.len()
    );
    let written = socket.write_all((head + &body).as_bytes());
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    if answer.is_empty() {
        // A broker without room answers before it has read.
        written.and(read.map(drop)).map_err(broken)?;
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("the broker's answer at {path} is incomplete; fix: try again"))?;
    let body = if body.is_empty() { head } else { body };
    Ok((head.starts_with("HTTP/1.1 200 "), body.to_owned()))
}

/// Longer than a reload may take.
const TIMEOUT: Duration = Duration::from_secs(30);
