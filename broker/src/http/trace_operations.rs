//! Operations on traces.
//!
//! Invariants: a file is opened only for clients of the control socket: an HTTP client may not write files of the
//! broker's user.

use serde_json::{Value, json};

use super::answer::{ApiAnswer, Operated};
use super::operation_forms::{TraceBody, TracesQuery};
use super::operation_values::AskedAddress;
use super::origin::Operator;
use super::state::ApiState;
use crate::log::Log;
use crate::traces::{Trace, TraceSubject};

/// Lists the active traces.
pub(super) fn list(state: &ApiState, query: &TracesQuery) -> ApiAnswer {
    // They are in the order of their numbers.
    let traces = state.traces.all();
    let mut rest = traces
        .iter()
        .filter(|trace| trace.number > query.cursor.0)
        .peekable();
    let page: Vec<_> = rest.by_ref().take(query.limit.0).collect();
    let last = page.last().map(|trace| trace.number.to_string());
    let next = last.filter(|_| rest.peek().is_some());
    let items: Vec<_> = page.iter().map(|trace| described(trace)).collect();
    ApiAnswer::of(&json!({ "items": items, "next": next }))
}

/// Starts a trace of packets.
pub(super) fn start(state: &ApiState, operator: &Operator, body: &TraceBody) -> Operated {
    for (name, value) in [("client_id", &body.client_id), ("user", &body.user)] {
        if value.as_deref() == Some("") {
            return Err(ApiAnswer::wrong(&format!(
                "{name}: must not be empty: say whose packets are shown"
            )));
        }
    }
    let subject = match (&body.client_id, &body.user, body.address) {
        (Some(client), None, None) => TraceSubject::Client(client.clone()),
        (None, Some(user), None) => TraceSubject::User(user.clone()),
        (None, None, Some(AskedAddress(address))) => TraceSubject::Address(address),
        _ => {
            return Err(ApiAnswer::wrong(
                "the body: exactly one of client_id, user and address is needed: say whose packets are shown",
            ));
        }
    };
    let path = body.file.as_deref();
    if path.is_some() && !operator.is_at_control_socket() {
        return Err(ApiAnswer::refused(
            "403 Forbidden",
            "file: a file can be given at the control socket only: use `broker ctl trace`",
        ));
    }
    if path.is_some_and(|path| path.is_relative()) {
        return Err(ApiAnswer::wrong("file: must be an absolute path"));
    }
    if path.is_none() && !Log::shows_traces() {
        return Err(ApiAnswer::refused(
            "409 Conflict",
            "the log shows no traces, because its only log_dest is `none` or `topic`, or its log_type is \
            `none`: use `broker ctl trace --file`, or give the log another log_dest",
        ));
    }
    let number = state.traces.start(subject, path, &state.current.get().named);
    let number = number.map_err(|error| ApiAnswer::refused("409 Conflict", &error.to_string()))?;
    Ok(ApiAnswer::of(&json!({ "trace": number })))
}

/// Stops the trace with this number.
pub(super) fn stop(state: &ApiState, number: &str) -> Operated {
    let Ok(number) = number.parse() else {
        return Err(ApiAnswer::wrong(
            "the path: the last level must be the number of a trace, as listed by `broker ctl traces` or \
            GET /api/v1/traces",
        ));
    };
    if !state.traces.stop(number) {
        return Err(ApiAnswer::not_found(
            "there is no trace with this number",
            "traces",
        ));
    }
    Ok(ApiAnswer::of(&json!({ "done": true })))
}

fn described(trace: &Trace) -> Value {
    let (client, user, address) = match &trace.subject {
        TraceSubject::Client(client) => (Some(client.clone()), None, None),
        TraceSubject::User(user) => (None, Some(user.clone()), None),
        TraceSubject::Address(address) => (None, None, Some(address.to_string())),
    };
    json!({
        "trace": trace.number,
        "client_id": client,
        "user": user,
        "address": address,
        "file": trace.path.as_ref().map(|path| path.display().to_string()),
    })
}
