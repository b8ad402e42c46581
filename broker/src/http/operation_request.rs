//! A parsed request for an operation: its path, its query and its body.
//!
//! Invariants: an error is one sentence that begins with the name of what is wrong. A query and a body are parsed as a
//! whole, as one of the forms of `operation_forms.rs`: a member that is unknown, occurs twice or has a wrong value is
//! refused, and so is any member of a request without members.

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use transport::websocket::handshake::Page;

use super::answer::{ApiAnswer, Operated};
use super::operation_forms::Form;
use super::origin::Operator;
use crate::log::NOTICE;

/// A request for an operation while it is parsed.
pub(super) struct OperationRequest<'a> {
    pub(super) method: &'a str,
    /// The levels of the path below `/api/v1`.
    pub(super) path: Vec<String>,
    target: &'a str,
    body: &'a [u8],
    /// The operator who asks.
    pub(super) operator: &'a Operator,
}

impl<'a> OperationRequest<'a> {
    /// Parses the path of a request.
    ///
    /// # Errors
    /// The path is not text.
    pub(super) fn new(page: &'a Page, body: &'a [u8], operator: &'a Operator) -> Result<Self, ApiAnswer> {
        Ok(Self {
            method: if page.method == "HEAD" {
                "GET"
            } else {
                &page.method
            },
            path: levels(page)?,
            target: &page.target,
            body,
            operator,
        })
    }

    /// Performs the operation with the query and the body, after both are found to be valid. Changes are logged, with
    /// the operator.
    pub(super) fn with<Q: Form, B: Form>(&self, act: impl FnOnce(Q, B) -> Operated) -> Operated {
        let (query, body) = (query::<Q>(self.target)?, self.body::<B>()?);
        let described = body.described();
        let answer = act(query, body);
        if self.method != "GET" {
            let (Ok(answered) | Err(answered)) = &answer;
            let (operator, method, target) = (self.operator, self.method, self.target);
            let status = answered.status();
            tracing::info!(target: NOTICE, "{operator} asked for {method} {target}{described}: {status}.");
        }
        answer
    }

    /// The body as a JSON object; an empty one is an empty object.
    fn body<B: DeserializeOwned>(&self) -> Result<B, ApiAnswer> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(ApiAnswer::wrong("the body: must be a JSON object"));
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let taken = serde_path_to_error::deserialize(&mut json).map_err(|error| match error.inner() {
            inner if inner.is_data() => wrong("the body", &error.path().to_string(), inner),
            no_json => wrong_json(no_json),
        })?;
        json.end().map_err(|error| wrong_json(&error))?;
        Ok(taken)
    }
}

/// The query of a request.
///
/// # Errors
/// Something in it is unknown or has an invalid value.
pub(super) fn query<Q: DeserializeOwned>(target: &str) -> Result<Q, ApiAnswer> {
    let text = target.split_once('?').map_or("", |(_, query)| query);
    let is_text = text
        .split('&')
        .all(|pair| decoded(&pair.replace('+', " ")).is_some());
    if !is_text {
        return Err(ApiAnswer::wrong(
            "the query: what is percent-encoded must be UTF-8",
        ));
    }
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(pairs)
        .map_err(|error| wrong("the query", &error.path().to_string(), error.inner()))
}

/// The refusal of a member, or of the whole if no single member is wrong.
fn wrong(whole: &str, member: &str, error: &dyn std::fmt::Display) -> ApiAnswer {
    let error = error.to_string();
    // The name of the member says where it is.
    let unplaced = error.rsplit_once(" at line ").map_or(&*error, |(error, _)| error);
    let of_member = |kind: &str| error.starts_with(kind);
    let is_of_whole = member == "." || of_member("unknown field") || of_member("duplicate field");
    // An unknown path is written as `?`.
    let is_of_whole = is_of_whole || member.starts_with('?');
    ApiAnswer::wrong(&match (is_of_whole, fix(unplaced)) {
        (true, Some(fix)) => format!("{whole}: {unplaced}; fix: {fix}"),
        (true, None) => format!("{whole}: {unplaced}"),
        (false, Some(fix)) => format!("{member}: {unplaced}; fix: {fix}"),
        (false, None) => format!("{member}: {unplaced}"),
    })
}

/// The refusal of a body that is not JSON.
fn wrong_json(error: &serde_json::Error) -> ApiAnswer {
    ApiAnswer::wrong(&format!(
        "the body: {error}; fix: send one JSON object, as /api/v1/openapi.json describes it"
    ))
}

/// What to do about an error of serde; errors of the forms contain the advice themselves.
fn fix(error: &str) -> Option<&'static str> {
    let fixes = [
        ("missing field", "give it, as /api/v1/openapi.json describes it"),
        ("unknown field", "remove it"),
        ("duplicate field", "give it once"),
        ("invalid type", "give what is expected"),
        ("provided string was not", "give what is expected"),
    ];
    let found = fixes.into_iter().find(|(kind, _)| error.starts_with(kind));
    found.map(|(_, fix)| fix)
}

/// The decoded levels of the path below `/api/v1`; `None` if it is not below that.
///
/// # Errors
/// One of them is not text.
pub(super) fn levels(page: &Page) -> Result<Vec<String>, ApiAnswer> {
    let path = page.target.split(['?', '#']).next().unwrap_or_default();
    let Some(below) = path.strip_prefix("/api/v1/") else {
        return Ok(Vec::new());
    };
    let levels: Option<_> = below.split('/').map(decoded).collect();
    levels.ok_or_else(|| ApiAnswer::wrong("the path: what is percent-encoded must be UTF-8"))
}

/// The decoded text, unless it is not UTF-8, or a `%` is not followed by two digits.
fn decoded(text: &str) -> Option<String> {
    let is_whole = |rest: &str| {
        let digits = rest.get(..2);
        digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    if !text.split('%').skip(1).all(is_whole) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}
