//! The actions of `broker ctl`, and the requests that they send.
//!
//! Invariants: none.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::arguments::{BanArgs, FilterArgs, SearchArgs, TraceArgs, WhomArgs, reason_code, trace_number};
use crate::limits::MEASURED_SECONDS_MAX;

/// The action that the broker is asked to perform.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum CtlAction {
    /// List the connected clients
    Clients {
        #[command(flatten)]
        search: SearchArgs,
        /// Only clients that are slow consumers now
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
        /// Only those of this client identifier
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
    /// List what was refused, denied, dropped and disconnected recently, newest first
    ///
    /// TIMES is the number of occurrences, SINCE the time of the first and TIME that of the last. Messages dropped for
    /// one client for one reason are one entry per topic, and so are denials. For one client the last 16 entries of a
    /// kind are kept. The reasons are those of the metrics. A message without subscribers is not an event, nor is a
    /// message at QoS 0 for a disconnected client, which MQTT does not keep.
    Events {
        /// Only one kind: refused, denied, dropped or disconnected
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only those of this client identifier
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Largest number of entries
        #[arg(
            long,
            value_name = "NUMBER",
            default_value_t = 1000,
            value_parser = clap::value_parser!(u64).range(1..=1000)
        )]
        limit: u64,
    },
    /// List the clients that use the most CPU time, after measuring for some seconds
    Top {
        /// Duration of the measurement
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=MEASURED_SECONDS_MAX))]
        seconds: u64,
        /// Largest number of clients
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
        /// The content is encoded in base64
        #[arg(long)]
        base64: bool,
        /// QoS of the message
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// Store it as the retained message
        #[arg(long)]
        retain: bool,
    },
    /// Show the packets of clients, in the log or in a file
    Trace(TraceArgs),
    /// List the active traces
    Traces,
    /// Stop an active trace
    StopTrace {
        /// Number of the trace
        #[arg(value_name = "NUMBER", value_parser = trace_number)]
        number: u64,
    },
    /// Ban a client identifier, a user or an address, and end the connections of those who are connected
    Ban(BanArgs),
    /// Let a client identifier, a user or an address in again
    Unban {
        #[command(flatten)]
        whom: WhomArgs,
    },
    /// List who is banned
    Bans,
    /// Read the configuration again, and show what was applied and what was not
    Reload,
    /// List the listeners, with their protocols
    Listeners,
    /// Print the figures of `$SYS`
    Sys,
    /// Print the version of the running broker
    Version,
    /// Ask whether the broker is ready to accept clients
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

    /// Lists with those of these parameters that are given.
    fn list(name: &str, parameters: &[(&str, &Option<String>)]) -> Self {
        Self::list_of(name, 1000, parameters)
    }

    /// Lists this many entries per page.
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
    /// The columns of the answer if it is a list, which is fetched page by page. A column that no entry has is
    /// omitted.
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
            Self::Bans => &[
                "client_id",
                "user",
                "address",
                "seconds_left",
                "automatic",
                "reason",
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

    /// The largest number of entries that a list shows; all, if it is not given.
    pub(super) fn most(&self) -> Option<usize> {
        let most = match self {
            Self::Clients { search, .. } | Self::Sessions { search } => search.most.limit,
            Self::Subscriptions { filter, .. } | Self::Retained { filter, .. } => filter.most.limit,
            Self::Events { limit, .. } => Some(*limit),
            _ => None,
        };
        most.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// The request for an action.
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
            Self::Ban(ban) => CtlRequest::post("bans", ban.body()),
            Self::Unban { whom } => {
                let (name, value) = whom.named();
                CtlRequest::delete(&format!("bans?{name}={}", encoded(value)))
            }
            Self::Bans => CtlRequest::list("bans", &[]),
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
