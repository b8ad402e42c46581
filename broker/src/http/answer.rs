//! Answers to operators.
//!
//! Invariants: an answer that refuses has one sentence about what is wrong, in JSON; no answer may be cached by
//! intermediaries.

use std::borrow::Cow;
use std::io;

use serde_json::{Value, json};
use transport::http::open_metrics::{self, OpenMetricsPage};
use transport::http::{PLAIN_TEXT, ResponseHead};
use transport::websocket::handshake::Page;

use super::client::{HttpClient, WrongBody};
use super::metrics;
use super::state::ApiState;
use crate::logic::operator::{Answer, Question};

/// The answer to one request.
#[derive(Debug)]
pub(super) struct ApiAnswer {
    status: &'static str,
    content_type: &'static str,
    body: Cow<'static, str>,
    /// Header fields beside the usual ones.
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

/// The answer, or an answer that refuses.
pub(super) type Operated = Result<ApiAnswer, ApiAnswer>;

impl ApiAnswer {
    /// A text that is JSON.
    pub(super) fn json(body: String) -> Self {
        Self {
            status: "200 OK",
            content_type: JSON,
            body: body.into(),
            fields: Vec::new(),
        }
    }

    /// A file of the dashboard, with the policy for its page.
    pub(super) fn asset(content_type: &'static str, text: &'static str, policy: String) -> Self {
        Self {
            status: "200 OK",
            content_type,
            body: text.into(),
            fields: vec![
                ("Content-Security-Policy", policy.into()),
                ("Referrer-Policy", "no-referrer".into()),
                ("Cross-Origin-Opener-Policy", "same-origin".into()),
                ("Cross-Origin-Resource-Policy", "same-origin".into()),
            ],
        }
    }

    /// The requested page is at another path.
    pub(super) fn moved_to(path: &'static str) -> Self {
        Self {
            status: "302 Found",
            content_type: PLAIN_TEXT,
            body: "302 Found\n".into(),
            fields: vec![("Location", path.into())],
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

    /// The same with another status.
    pub(super) fn with_status(self, status: &'static str) -> Self {
        Self { status, ..self }
    }

    /// The request is wrong.
    pub(super) fn wrong(what: &str) -> Self {
        Self::refused("400 Bad Request", what)
    }

    /// More requests have come than can be answered at once.
    pub(super) fn no_room() -> Self {
        Self {
            fields: vec![("Retry-After", "1".into())],
            ..Self::refused(
                "503 Service Unavailable",
                "the broker is answering its maximum number of requests: try again in a second",
            )
        }
    }

    /// Nothing exists at the path.
    pub(super) fn nothing_there() -> Self {
        Self::refused(
            "404 Not Found",
            "there is nothing at this path: /api/v1/openapi.json lists the paths",
        )
    }

    /// The named thing does not exist; `list` is the list of those that exist.
    pub(super) fn not_found(what: &str, list: &str) -> Self {
        let what = format!("{what}: `broker ctl {list}`, or GET /api/v1/{list}, lists those that exist");
        Self::refused("404 Not Found", &what)
    }

    /// The path supports these methods only.
    pub(super) fn other_methods(allowed: String) -> Self {
        Self {
            fields: vec![("Allow", Cow::Owned(allowed.clone()))],
            ..Self::refused(
                "405 Method Not Allowed",
                &format!("the path does not have this method: use {allowed}"),
            )
        }
    }

    /// A request has begun but was not complete in time.
    pub(super) fn too_slow() -> Self {
        Self::refused(
            "408 Request Timeout",
            "the request was not complete in time: send it again",
        )
    }

    /// The body cannot be read.
    pub(super) fn wrong_body(wrong: WrongBody) -> Self {
        match wrong {
            WrongBody::TwoLengths => {
                Self::wrong("Content-Length: occurs twice, with different numbers: give it once")
            }
            WrongBody::NoNumber => Self::wrong("Content-Length: must be the number of bytes of the body"),
            WrongBody::NoLength => Self::refused(
                "411 Length Required",
                "Transfer-Encoding: a body needs a Content-Length",
            ),
            WrongBody::TooLong => Self::refused(
                "413 Content Too Large",
                "Content-Length: a body may have at most one mebibyte",
            ),
        }
    }

    /// The complete answer for a client whose request may be incomplete.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.head(&self.fields()).to_text();
        text.push_str(&self.body);
        text.into_bytes()
    }

    fn fields(&self) -> Vec<(&str, &str)> {
        let mut fields = vec![("Cache-Control", "no-store")];
        fields.extend(self.fields.iter().map(|(name, value)| (*name, value.as_ref())));
        fields
    }

    fn head<'a>(&'a self, fields: &'a [(&'a str, &'a str)]) -> ResponseHead<'a> {
        ResponseHead {
            status: self.status,
            content_type: self.content_type,
            body_bytes: self.body.len() as u64,
            fields,
        }
    }

    /// The status, as in the first line of the answer.
    pub(super) fn status(&self) -> &'static str {
        self.status
    }

    /// Whether it refuses because the user or the password is missing or wrong.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == UNAUTHORIZED
    }

    /// User and password are missing or wrong.
    pub(super) fn unauthorized() -> Self {
        Self {
            fields: vec![(
                "WWW-Authenticate",
                "Basic realm=\"midge\", charset=\"UTF-8\"".into(),
            )],
            ..Self::refused(
                UNAUTHORIZED,
                "HTTP Basic authentication with a user of the listener's password_file is required",
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

/// The answer to a health request.
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

/// The answer, unless nothing exists under that name.
pub(super) fn answer(state: &ApiState, page: &Page) -> Option<ApiAnswer> {
    let ok = |content_type, body: String| {
        Some(ApiAnswer {
            status: "200 OK",
            content_type,
            body: body.into(),
            fields: Vec::new(),
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
        "/api/v1/systree" => Some(match state.questions.ask(0, Question::System) {
            Some(Answer::System(figures)) => ApiAnswer::json(metrics::systree(figures, &state.process())),
            _ => ApiAnswer::no_answer(),
        }),
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
        body: format!("{body}\n").into(),
        fields: Vec::new(),
    }
}

/// Answers a request, and closes the connection.
pub(super) fn send(mut client: HttpClient, page: &Page, answer: &ApiAnswer) -> io::Result<&'static str> {
    client.note_unread(page);
    let body = if page.method == "HEAD" {
        ""
    } else {
        answer.body.as_ref()
    };
    client.send(&answer.head(&answer.fields()), body.as_bytes())?;
    Ok(answer.status)
}

const UNAUTHORIZED: &str = "401 Unauthorized";
/// The media type of answers and bodies.
pub(super) const JSON: &str = "application/json";
