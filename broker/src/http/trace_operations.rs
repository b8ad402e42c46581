//! Operations on traces.
//!
//! Invariants: a file is opened for whoever comes by the control socket alone: who may ask over HTTP may not write
//! files of the broker's user.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::answer::ApiAnswer;
use super::operation_request::OperationRequest;
use super::state::ApiState;
use crate::traces::{Trace, TraceSubject};

/// Lists the traces that are switched on.
pub(super) fn list(state: &ApiState) -> ApiAnswer {
    let items: Vec<_> = state.traces.all().iter().map(|trace| described(trace)).collect();
    ApiAnswer::of(&json!({ "items": items, "next": null }))
}

/// Switches a trace on.
pub(super) fn start(state: &ApiState, request: &OperationRequest<'_>) -> Result<ApiAnswer, ApiAnswer> {
    let object = request.object()?;
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let wrong = |what: &str| ApiAnswer::refused("400 Bad Request", what);
    let subject = match (text("client_id"), text("user"), text("address")) {
        (Some(client), None, None) => TraceSubject::Client(client.to_owned()),
        (None, Some(user), None) => TraceSubject::User(user.to_owned()),
        (None, None, Some(address)) => match address.parse::<IpAddr>() {
            Ok(address) => TraceSubject::Address(address),
            Err(_) => return Err(wrong("address: must be an IP address")),
        },
        _ => return Err(wrong("one of client_id, user and address is needed, as a text")),
    };
    let path = text("file").map(Path::new);
    if path.is_some() && !request.is_control {
        return Err(ApiAnswer::refused(
            "403 Forbidden",
            "file: a file is for the control socket alone: use `broker ctl trace`",
        ));
    }
    if path.is_some_and(Path::is_relative) {
        return Err(wrong("file: must be an absolute path"));
    }
    let number = state.traces.start(subject, path);
    let number = number.map_err(|error| ApiAnswer::refused("409 Conflict", &error.to_string()))?;
    Ok(ApiAnswer::of(&json!({ "trace": number })))
}

/// Switches a trace off.
pub(super) fn stop(state: &ApiState, number: &str) -> Result<ApiAnswer, ApiAnswer> {
    let stopped = number.parse().is_ok_and(|number| state.traces.stop(number));
    if !stopped {
        return Err(ApiAnswer::refused("404 Not Found", "there is no such trace"));
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
