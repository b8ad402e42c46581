//! `broker ctl`: asks a broker that runs, over its control socket, and prints tables (`table.rs`) or JSON.
//!
//! Invariants: the exit code is 0 if the broker did what was asked, else 1 with one sentence on standard error. What a
//! client is called cannot change the terminal: control characters are printed as escapes.

mod table;

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use self::table::{shown, table};

/// The arguments of `broker ctl`.
#[derive(Clone, Debug, clap::Args)]
pub struct CtlArgs {
    /// Path of the broker's `control_socket`
    #[arg(long, value_name = "PATH", default_value = "/run/midge/control.sock")]
    socket: PathBuf,

    /// Print the JSON of the answer
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    action: CtlAction,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum CtlAction {
    /// List the clients that are connected
    Clients {
        /// Text that is part of the client identifier
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// List the sessions, with or without a connection
    Sessions {
        /// Text that is part of the client identifier
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show the session of one client
    Session {
        /// Identifier of the client
        #[arg(value_name = "ID")]
        client: String,
    },
    /// List the subscriptions of clients
    Subscriptions {
        /// Those of this client identifier
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Those with this Topic Filter
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
    },
    /// List the retained messages, without payloads
    Retained {
        /// A Topic Filter that matches their topics
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
    },
    /// List what was refused, dropped and ended last
    Events {
        /// One kind alone: refused, denied, dropped or disconnected
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Those of this client identifier
        #[arg(long, value_name = "ID")]
        client: Option<String>,
    },
    /// End the connection of a client
    Disconnect {
        /// Identifier of the client
        #[arg(value_name = "ID")]
        client: String,
        /// The reason code of the DISCONNECT
        #[arg(long, value_name = "CODE", default_value_t = 152)]
        reason: u8,
    },
    /// End the session of a client, and its connection
    EndSession {
        /// Identifier of the client
        #[arg(value_name = "ID")]
        client: String,
    },
    /// Delete a retained message
    DeleteRetained {
        /// Topic Name of the message
        #[arg(value_name = "TOPIC")]
        topic: String,
    },
    /// Publish a message to its subscribers
    Publish {
        /// Topic Name of the message
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// Content of the message
        #[arg(value_name = "TEXT", default_value = "")]
        payload: String,
        /// QoS of the message
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// Keep it as the retained message
        #[arg(long)]
        retain: bool,
    },
    /// Show the packets of clients, in the log or in a file
    Trace(TraceArgs),
    /// List the traces that are switched on
    Traces,
    /// Switch a trace off again
    StopTrace {
        /// The number of the trace
        #[arg(value_name = "NUMBER")]
        number: u64,
    },
    /// Read the configuration again
    Reload,
    /// Print the metrics of Prometheus
    Metrics,
}

#[derive(Clone, Debug, clap::Args)]
struct TraceArgs {
    /// Those of this client identifier
    #[arg(long, value_name = "ID", required_unless_present_any = ["user", "address"])]
    client: Option<String>,
    /// Those of this proved user
    #[arg(long, value_name = "NAME", conflicts_with_all = ["client", "address"])]
    user: Option<String>,
    /// Those that connect from this address
    #[arg(long, value_name = "IP", conflicts_with = "client")]
    address: Option<String>,
    /// Write them to this file, in place of the log
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// A request: method, path with its query, and body.
struct CtlRequest {
    method: &'static str,
    target: String,
    body: Option<Value>,
}

/// Does it and prints the result.
#[must_use]
pub fn run(args: &CtlArgs) -> ExitCode {
    match answer(args) {
        Ok(text) => {
            // Whoever reads may stop reading before the end.
            let _read = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            // A standard error that cannot be written must not change the exit code.
            let _failed = writeln!(io::stderr(), "Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(args: &CtlArgs) -> Result<String, String> {
    let request = args.action.request();
    if !args.action.is_list() {
        let body = ask(args, &request)?;
        return Ok(match (&args.action, args.json) {
            (CtlAction::Metrics, _) | (_, true) => body,
            _ => shown(&body),
        });
    }
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
        let mut page: Value =
            serde_json::from_str(&page).map_err(|error| format!("no JSON came back: {error}"))?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(if args.json {
        format!("{:#}\n", Value::Array(items))
    } else {
        table(&items)
    })
}

impl CtlRequest {
    fn get(target: String) -> Self {
        Self {
            method: "GET",
            target,
            body: None,
        }
    }

    fn post(target: &str, body: Value) -> Self {
        Self {
            method: "POST",
            target: format!("/api/v1/{target}"),
            body: Some(body),
        }
    }

    fn delete(target: &str) -> Self {
        Self {
            method: "DELETE",
            target: format!("/api/v1/{target}"),
            body: None,
        }
    }

    /// Lists with these parameters, those that are given.
    fn list(name: &str, parameters: &[(&str, &Option<String>)]) -> Self {
        let mut target = format!("/api/v1/{name}?limit=1000");
        for (name, value) in parameters {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _written = write!(target, "&{name}={}", encoded(value));
            }
        }
        Self::get(target)
    }

    fn copy(&self) -> Self {
        Self {
            method: self.method,
            target: self.target.clone(),
            body: self.body.clone(),
        }
    }
}

impl CtlAction {
    fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Clients { .. }
                | Self::Sessions { .. }
                | Self::Subscriptions { .. }
                | Self::Events { .. }
                | Self::Traces
                | Self::Retained { .. }
        )
    }

    fn request(&self) -> CtlRequest {
        match self {
            Self::Clients { search } => CtlRequest::list("clients", &[("search", search)]),
            Self::Sessions { search } => CtlRequest::list("sessions", &[("search", search)]),
            Self::Session { client } => CtlRequest::get(format!("/api/v1/sessions/{}", encoded(client))),
            Self::Subscriptions { client, filter } => {
                CtlRequest::list("subscriptions", &[("client", client), ("filter", filter)])
            }
            Self::Retained { filter } => CtlRequest::list("retained", &[("filter", filter)]),
            Self::Events { kind, client } => {
                CtlRequest::list("events", &[("kind", kind), ("client", client)])
            }
            Self::Disconnect { client, reason } => CtlRequest::post(
                &format!("clients/{}/disconnect", encoded(client)),
                json!({ "reason": reason }),
            ),
            Self::EndSession { client } => CtlRequest::delete(&format!("sessions/{}", encoded(client))),
            Self::DeleteRetained { topic } => {
                CtlRequest::delete(&format!("retained?topic={}", encoded(topic)))
            }
            Self::Publish {
                topic,
                payload,
                qos,
                retain,
            } => CtlRequest::post(
                "publish",
                json!({ "topic": topic, "payload": payload, "qos": qos, "retain": retain }),
            ),
            Self::Trace(trace) => CtlRequest::post("traces", trace.body()),
            Self::Traces => CtlRequest::list("traces", &[]),
            Self::StopTrace { number } => CtlRequest::delete(&format!("traces/{number}")),
            Self::Reload => CtlRequest::post("reload", json!({})),
            Self::Metrics => CtlRequest::get("/metrics".to_owned()),
        }
    }
}

impl TraceArgs {
    fn body(&self) -> Value {
        let mut body = json!({});
        let file = self.file.as_ref().map(|path| {
            // The broker has another working directory.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.display().to_string()
        });
        let members = [
            ("client_id", &self.client),
            ("user", &self.user),
            ("address", &self.address),
            ("file", &file),
        ];
        for (name, value) in members {
            if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                body.insert(name.to_owned(), Value::from(value.as_str()));
            }
        }
        body
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The body of the answer, or what is wrong.
fn ask(args: &CtlArgs, request: &CtlRequest) -> Result<String, String> {
    let path = args.socket.display();
    let unreachable = |error: io::Error| {
        format!(
            "the broker does not answer at {path}: {error}; fix: give it `control_socket {path}`, and ask as root or \
             as the broker's user"
        )
    };
    let mut socket = UnixStream::connect(&args.socket).map_err(unreachable)?;
    socket.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
    let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        request.method,
        request.target,
        body.len()
    );
    socket.write_all(head.as_bytes()).map_err(unreachable)?;
    socket.write_all(body.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map_err(unreachable)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("the broker's answer at {path} is not whole"))?;
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(body.to_owned());
    }
    let error: Option<Value> = serde_json::from_str(body).ok();
    let sentence = error.as_ref().and_then(|error| error.get("error")?.as_str());
    Err(sentence
        .unwrap_or(head.lines().next().unwrap_or_default())
        .to_owned())
}

const TIMEOUT: Duration = Duration::from_secs(30);
