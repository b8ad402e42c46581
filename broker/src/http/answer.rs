//! What operators are answered.
//!
//! Invariants: an answer that refuses has one sentence with what is wrong, in JSON; no answer is to be kept by whoever
//! passes it on.

use std::io;

use serde_json::{Value, json};
use transport::http::open_metrics::{self, OpenMetricsPage};
use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::websocket::handshake::Page;

use super::client::HttpClient;
use super::metrics;
use super::state::ApiState;

/// What one request is answered with.
#[derive(Debug)]
pub(super) struct ApiAnswer {
    status: &'static str,
    content_type: &'static str,
    body: String,
    /// Fields of the header beside the usual ones.
    fields: &'static [(&'static str, &'static str)],
}

impl ApiAnswer {
    /// A text that is JSON.
    pub(super) fn json(body: String) -> Self {
        Self {
            status: "200 OK",
            content_type: JSON,
            body,
            fields: &[],
        }
    }

    /// A value as JSON.
    pub(super) fn of(value: &Value) -> Self {
        Self::json(format!("{value:#}\n"))
    }

    /// A refusal with what is wrong.
    pub(super) fn refused(status: &'static str, what: &str) -> Self {
        Self {
            status,
            ..Self::of(&json!({ "error": what }))
        }
    }

    /// User and password are missing or wrong.
    pub(super) fn unauthorized() -> Self {
        Self {
            fields: &[("WWW-Authenticate", "Basic realm=\"midge\", charset=\"UTF-8\"")],
            ..Self::refused(
                "401 Unauthorized",
                "a user of the listener's password_file and the password are needed, by HTTP Basic",
            )
        }
    }

    /// A shard did not answer in time.
    pub(super) fn no_answer() -> Self {
        Self::refused(
            "503 Service Unavailable",
            "a shard does not answer: try again, and see /healthz",
        )
    }
}

/// The answer to a question for health.
pub(super) fn health(state: &ApiState, page: &Page) -> Option<ApiAnswer> {
    match path(page) {
        "/healthz" => Some(verdict(state.is_healthy())),
        "/readyz" => Some(verdict(state.is_ready())),
        _ => None,
    }
}

fn path(page: &Page) -> &str {
    page.target.split('?').next().unwrap_or_default()
}

/// The answer, unless there is nothing of that name.
pub(super) fn answer(state: &ApiState, page: &Page) -> Option<ApiAnswer> {
    let ok = |content_type, body| {
        Some(ApiAnswer {
            status: "200 OK",
            content_type,
            body,
            fields: &[],
        })
    };
    match path(page) {
        "/metrics" => {
            let accepted = page.field("Accept").unwrap_or_default();
            if accepted.contains("application/openmetrics-text") {
                ok(
                    open_metrics::CONTENT_TYPE,
                    state.metrics(OpenMetricsPage::default()),
                )
            } else {
                ok(
                    open_metrics::CONTENT_TYPE_TEXT,
                    state.metrics(OpenMetricsPage::older()),
                )
            }
        }
        "/api/v1/systree" => ok(JSON, metrics::systree(&state.counters, &state.process())),
        "/api/v1/version" => ok(PLAIN_TEXT, concat!(env!("CARGO_PKG_VERSION"), "\n").to_owned()),
        "/api/v1/listeners" => ok(JSON, format!("{:#}\n", json!({ "listeners": state.listeners }))),
        _ => None,
    }
}

fn verdict(verdict: Result<(), &'static str>) -> ApiAnswer {
    let (status, body) = match verdict {
        Ok(()) => ("200 OK", "ok"),
        Err(why) => ("503 Service Unavailable", why),
    };
    ApiAnswer {
        status,
        content_type: PLAIN_TEXT,
        body: format!("{body}\n"),
        fields: &[],
    }
}

pub(super) fn send(client: HttpClient, page: &Page, answer: &ApiAnswer) -> io::Result<&'static str> {
    let head_only = page.method == "HEAD";
    let mut fields = vec![("Cache-Control", "no-store")];
    fields.extend_from_slice(answer.fields);
    let head = ResponseHead {
        status: answer.status,
        content_type: answer.content_type,
        body_bytes: answer.body.len() as u64,
        fields: &fields,
    };
    let body = if head_only { "" } else { &answer.body };
    client.send(&head, body.as_bytes())?;
    Ok(answer.status)
}

const JSON: &str = "application/json";
