//! The actions of `broker ctl`, and the requests that they are.
//!
//! Invariants: none.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::arguments::{FilterArgs, SearchArgs, TraceArgs, reason_code, trace_number};
use crate::limits::MEASURED_SECONDS_MAX;

/// What the broker is asked for, or is to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum CtlAction {
    /// List the clients that are connected
    Clients {
        #[command(flatten)]
        search: SearchArgs,
        /// Those alone that are slow consumers now
        #[arg(long)]
        slow: bool,
    },
    /// List the sessions, with or without a connection
    Sessions {
        #[command(flatten)]
        search: SearchArgs,
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
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// List the retained messages
    Retained {
        /// Show the payloads of the messages too
        #[arg(long)]
        payloads: bool,
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// List what was refused, denied, dropped and ended last, the newest first
    ///
    /// TIMES says how often, SINCE the time of the first and TIME that of the last: messages that are dropped for one
    /// client by one reason are one entry for each topic, and so are denials. Of one client the last 16 of a kind are
    /// kept. The reasons are those of the metrics. A message that nobody subscribes to is no event, and neither is one
    /// at QoS 0 for a client that is away, which MQTT does not keep.
    Events {
        /// One kind alone: refused, denied, dropped or disconnected
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Those of this client identifier
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// How many are listed at most
        #[arg(
            long,
            value_name = "NUMBER",
            default_value_t = 1000,
            value_parser = clap::value_parser!(u64).range(1..=1000)
        )]
        limit: u64,
    },
    /// List the clients that cost the most CPU time, after measuring for some seconds
    Top {
        /// How long it is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=MEASURED_SECONDS_MAX))]
        seconds: u64,
        /// How many clients are listed at most
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
    },
    /// End the connection of a client
    Disconnect {
        /// Identifier of the client
        #[arg(value_name = "ID")]
        client: String,
        /// The reason code of the DISCONNECT
        #[arg(long, value_name = "CODE", default_value_t = 152, value_parser = reason_code)]
        reason: u8,
    },
    /// End the session of a client, and its connection
    EndSession {
        /// Identifier of the client
        #[arg(value_name = "ID")]
        client: String,
    },
    /// Delete the retained message of a topic, or those whose topics a filter matches
    #[command(group = clap::ArgGroup::new("which").required(true).args(["topic", "filter"]))]
    DeleteRetained {
        /// Topic Name of the message
        #[arg(value_name = "TOPIC")]
        topic: Option<String>,
        /// Topic Filter that matches the topics of the messages
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
    },
    /// Publish a message to its subscribers
    Publish {
        /// Topic Name of the message
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// Content of the message
        #[arg(value_name = "TEXT", default_value = "")]
        payload: String,
        /// The content is in base64
        #[arg(long)]
        base64: bool,
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
        #[arg(value_name = "NUMBER", value_parser = trace_number)]
        number: u64,
    },
    /// Read the configuration again, and show what was taken and what was kept
    Reload,
    /// List the listeners, with what they speak
    Listeners,
    /// Print the figures of `$SYS`
    Sys,
    /// Print the version of the broker that runs
    Version,
    /// Ask whether the broker is ready for clients
    Health,
    /// Print the metrics of Prometheus
    Metrics,
}

/// A request: method, path with its query, and body.
pub(super) struct CtlRequest {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) body: Option<Value>,
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
        Self::list_of(name, 1000, parameters)
    }

    /// Lists so many on a page.
    fn list_of(name: &str, limit: u64, parameters: &[(&str, &Option<String>)]) -> Self {
        let mut target = format!("/api/v1/{name}?limit={limit}");
        for (name, value) in parameters {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _written = write!(target, "&{name}={}", encoded(value));
            }
        }
        Self::get(target)
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            method: self.method,
            target: self.target.clone(),
            body: self.body.clone(),
        }
    }
}

impl CtlAction {
    /// The columns of the answer if that is a list, which comes page by page. A column that no entry has is left out.
    pub(super) fn columns(&self) -> Option<&'static [&'static str]> {
        Some(match self {
            Self::Clients { .. } | Self::Sessions { .. } => &[
                "client_id",
                "user",
                "connected",
                "connected_since",
                "address",
                "listener",
                "protocol",
                "keep_alive_s",
                "expiry_s",
                "away_s",
                "subscriptions",
                "queued_messages",
                "inflight",
            ],
            Self::Subscriptions { .. } => &[
                "client_id",
                "filter",
                "qos",
                "no_local",
                "retain_as_published",
                "subscription_identifier",
            ],
            Self::Events { .. } => &[
                "time",
                "kind",
                "reason",
                "client_id",
                "topic",
                "address",
                "count",
                "since",
                "detail",
            ],
            Self::Traces => &["trace", "client_id", "user", "address", "file"],
            Self::Top { .. } => &["client_id", "user", "connected", "cpu_s", "cores"],
            Self::Retained { payloads: true, .. } => {
                &["topic", "qos", "payload_bytes", "payload", "payload_base64"]
            }
            Self::Retained { .. } => &["topic", "qos", "payload_bytes"],
            Self::DeleteRetained { filter: Some(_), .. } => &["topic"],
            Self::Listeners => &[
                "listener",
                "addresses",
                "port",
                "protocol",
                "tls",
                "mtls",
                "allow_anonymous",
            ],
            _ => return None,
        })
    }

    /// How many entries of a list are shown at most; all, if it is not said.
    pub(super) fn most(&self) -> Option<usize> {
        let most = match self {
            Self::Clients { search, .. } | Self::Sessions { search } => search.most.limit,
            Self::Subscriptions { filter, .. } | Self::Retained { filter, .. } => filter.most.limit,
            Self::Events { limit, .. } => Some(*limit),
            _ => None,
        };
        most.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// What the broker is asked.
    pub(super) fn request(&self) -> CtlRequest {
        match self {
            Self::Clients { search, slow } => {
                let slow = slow.then(|| "true".to_owned());
                CtlRequest::list("clients", &[("search", search.given()), ("slow", &slow)])
            }
            Self::Sessions { search } => CtlRequest::list("sessions", &[("search", search.given())]),
            Self::Session { client } => CtlRequest::get(format!("/api/v1/sessions/{}", encoded(client))),
            Self::Subscriptions { client, filter } => {
                CtlRequest::list("subscriptions", &[("client", client), ("filter", filter.given())])
            }
            Self::Retained { payloads, filter } => {
                let payloads = payloads.then(|| "true".to_owned());
                CtlRequest::list("retained", &[("filter", filter.given()), ("payloads", &payloads)])
            }
            Self::Events { kind, client, limit } => {
                CtlRequest::list_of("events", *limit, &[("kind", kind), ("client", client)])
            }
            Self::Top { seconds, limit } => {
                CtlRequest::get(format!("/api/v1/cpu?seconds={seconds}&limit={limit}"))
            }
            Self::Disconnect { client, reason } => CtlRequest::post(
                &format!("clients/{}/disconnect", encoded(client)),
                json!({ "reason": reason }),
            ),
            Self::EndSession { client } => CtlRequest::delete(&format!("sessions/{}", encoded(client))),
            Self::DeleteRetained {
                topic: Some(topic), ..
            } => CtlRequest::delete(&format!("retained?topic={}", encoded(topic))),
            Self::DeleteRetained { filter, .. } => CtlRequest {
                method: "DELETE",
                ..CtlRequest::list("retained", &[("filter", filter)])
            },
            Self::Publish {
                topic,
                payload,
                base64,
                qos,
                retain,
            } => {
                let content = if *base64 { "payload_base64" } else { "payload" };
                CtlRequest::post(
                    "publish",
                    json!({ "topic": topic, content: payload, "qos": qos, "retain": retain }),
                )
            }
            Self::Trace(trace) => CtlRequest::post("traces", trace.body()),
            Self::Traces => CtlRequest::list("traces", &[]),
            Self::StopTrace { number } => CtlRequest::delete(&format!("traces/{number}")),
            Self::Reload => CtlRequest::post("reload", json!({})),
            Self::Listeners => CtlRequest::get("/api/v1/listeners".to_owned()),
            Self::Sys => CtlRequest::get("/api/v1/systree".to_owned()),
            Self::Version => CtlRequest::get("/api/v1/version".to_owned()),
            Self::Health => CtlRequest::get("/readyz".to_owned()),
            Self::Metrics => CtlRequest::get("/metrics".to_owned()),
        }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
