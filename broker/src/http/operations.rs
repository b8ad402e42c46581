//! Lists of clients, sessions, subscriptions and retained messages, and actions of operators.
//!
//! Invariants: the routes here and those of `openapi.json` are the same (test `the_document_has_every_route`). A list
//! consists of parts that shards answer one by one; a page of it has a bound, and a cursor that leads to the next one.
//! A wrong request is answered with one sentence, and nothing is done.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transport::websocket::handshake::Page;

use super::answer::{ApiAnswer, Operated};
use super::clocks::TwoClocks;
use super::list_pages::list;
use super::operation_forms::{
    DisconnectBody, DisconnectedBody, EndedQuery, EventsQuery, Nothing, SessionsQuery, SubscriptionsQuery,
};
use super::operation_request::{OperationRequest, levels};
use super::operation_values::DisconnectReason;
use super::origin::Operator;
use super::state::ApiState;
use super::{ban_operations, client_times, message_operations, trace_operations};
use crate::limits;
use crate::logic::operator::{Answer, Question, SessionEntry, SubscriptionEntry};
use crate::logic::{Events, owner_shard};
use crate::reload_requests::ReloadReport;

/// The methods and paths of all operations, below `/api/v1`.
pub(super) const ROUTES: [(&str, &str); 21] = [
    ("GET", "/clients"),
    ("GET", "/sessions"),
    ("GET", "/sessions/{id}"),
    ("DELETE", "/sessions/{id}"),
    ("DELETE", "/sessions"),
    ("POST", "/clients/{id}/disconnect"),
    ("POST", "/clients/disconnect"),
    ("GET", "/subscriptions"),
    ("GET", "/retained"),
    ("DELETE", "/retained"),
    ("GET", "/events"),
    ("GET", "/cpu"),
    ("POST", "/publish"),
    ("POST", "/reload"),
    ("GET", "/traces"),
    ("POST", "/traces"),
    ("DELETE", "/traces/{trace}"),
    ("GET", "/bans"),
    ("POST", "/bans"),
    ("DELETE", "/bans"),
    ("GET", "/openapi.json"),
];

/// The description of the API for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// Whether the path is that of an operation: then `Origin` identifies the operator.
pub(super) fn is_operation(page: &Page) -> bool {
    let Ok(path) = levels(page) else {
        // It is refused as an operation.
        return true;
    };
    let first = path.first().map(String::as_str).unwrap_or_default();
    ROUTES
        .iter()
        .any(|(_, route)| route.split('/').nth(1) == Some(first))
}

/// Performs the operation of a request.
pub(super) fn operate(state: &ApiState, page: &Page, body: &[u8], operator: &Operator) -> ApiAnswer {
    let request = OperationRequest::new(page, body, operator);
    let answer = request.and_then(|request| answer(state, &request));
    answer.unwrap_or_else(|refused| refused)
}

fn answer(state: &ApiState, request: &OperationRequest<'_>) -> Operated {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method, path.as_slice()) {
        ("GET", ["openapi.json"]) => {
            request.with(|Nothing {}, Nothing {}| Ok(ApiAnswer::json(OPENAPI.to_owned())))
        }
        ("GET", ["clients"]) => request.with(|query, Nothing {}| sessions(state, &query, true)),
        ("GET", ["sessions"]) => request.with(|query, Nothing {}| sessions(state, &query, false)),
        (_, ["sessions", ""] | ["clients", "", "disconnect"]) => Err(ApiAnswer::wrong(
            "the path: the client identifier is missing: give it as the level behind /sessions/ or /clients/",
        )),
        ("GET", ["sessions", client]) => request.with(|Nothing {}, Nothing {}| session(state, client)),
        ("DELETE", ["sessions", client]) => {
            request.with(|Nothing {}, Nothing {}| end_session(state, request.operator, client))
        }
        // A browser removes the identifiers `.` and `..` from a path.
        ("DELETE", ["sessions"]) => {
            request.with(|query: EndedQuery, Nothing {}| end_session(state, request.operator, &query.client))
        }
        ("POST", ["clients", client, "disconnect"]) => request.with(|Nothing {}, body: DisconnectBody| {
            disconnect(state, request.operator, client, body.reason)
        }),
        ("POST", ["clients", "disconnect"]) => request.with(|Nothing {}, body: DisconnectedBody| {
            disconnect(state, request.operator, &body.client_id, body.reason)
        }),
        ("GET", ["subscriptions"]) => request.with(|query, Nothing {}| subscriptions(state, &query)),
        ("GET", ["retained"]) => {
            request.with(|query, Nothing {}| message_operations::retained(state, &query))
        }
        ("DELETE", ["retained"]) => {
            request.with(|query, Nothing {}| message_operations::delete_retained(state, query))
        }
        ("GET", ["events"]) => request.with(|query, Nothing {}| Ok(events(state, &query))),
        ("GET", ["cpu"]) => request.with(|query, Nothing {}| client_times::busiest(state, &query)),
        ("POST", ["publish"]) => request.with(|Nothing {}, body| message_operations::publish(state, &body)),
        ("POST", ["reload"]) => request.with(|Nothing {}, Nothing {}| reload(state)),
        ("GET", ["traces"]) => request.with(|query, Nothing {}| Ok(trace_operations::list(state, &query))),
        ("POST", ["traces"]) => {
            request.with(|Nothing {}, body| trace_operations::start(state, request.operator, &body))
        }
        ("DELETE", ["traces", number]) => {
            request.with(|Nothing {}, Nothing {}| trace_operations::stop(state, number))
        }
        ("GET", ["bans"]) => request.with(|query, Nothing {}| Ok(ban_operations::bans(state, &query))),
        ("POST", ["bans"]) => {
            request.with(|Nothing {}, body| ban_operations::ban(state, request.operator, &body))
        }
        ("DELETE", ["bans"]) => request.with(|query, Nothing {}| ban_operations::unban(state, &query)),
        (_, path) => Err(match methods(path) {
            methods if methods.is_empty() => ApiAnswer::nothing_there(),
            methods => ApiAnswer::other_methods(methods.join(", ")),
        }),
    }
}

fn sessions(state: &ApiState, query: &SessionsQuery, connected_only: bool) -> Operated {
    let wanted = |entry: &SessionEntry| {
        let connection = entry.connection.as_ref();
        (!connected_only || connection.is_some())
            && (!query.slow || connection.is_some_and(|connection| connection.is_slow))
            && entry.client_identifier.contains(&query.search)
    };
    let take = |answer| match answer {
        Answer::Sessions(listed) => Some(listed),
        _ => None,
    };
    let wall = TwoClocks::now();
    let show = |entry: &SessionEntry| wanted(entry).then(|| of_session(state, &wall, entry));
    list(state, query.page(), Question::Sessions, take, show)
}

fn subscriptions(state: &ApiState, query: &SubscriptionsQuery) -> Operated {
    let filter = query.filter.as_ref().map(|filter| &*filter.0);
    let take = |answer| match answer {
        Answer::Subscriptions(listed) => Some(listed),
        _ => None,
    };
    let ask = |part| Question::Subscriptions {
        part,
        client: query.client.as_deref().map(Into::into),
    };
    let show = |entry: &SubscriptionEntry| {
        let is_wanted = filter.is_none_or(|filter| *filter == *entry.filter);
        is_wanted.then(|| {
            json!({
                "client_id": entry.client_identifier,
                "filter": entry.filter,
                "qos": entry.qos as u8,
                "no_local": entry.no_local,
                "retain_as_published": entry.retain_as_published,
                "subscription_identifier": entry.identifier,
            })
        })
    };
    list(state, query.page(), ask, take, show)
}

fn end_session(state: &ApiState, operator: &Operator, client: &str) -> Operated {
    let question = Question::EndSession {
        client: client.into(),
        operator: operator.to_string().into(),
    };
    done(of_client(state, client, question), NO_SESSION)
}

fn disconnect(state: &ApiState, operator: &Operator, client: &str, reason: DisconnectReason) -> Operated {
    let question = Question::Disconnect {
        client: client.into(),
        reason: reason.0,
        operator: operator.to_string().into(),
    };
    done(of_client(state, client, question), NOT_CONNECTED)
}

/// The last refusals, drops and disconnects, newest first. An event that occurs again moves to the front.
fn events(state: &ApiState, query: &EventsQuery) -> ApiAnswer {
    let of_shards = state.counters.iter().map(|counters| &counters.events);
    let all = of_shards.chain([&state.refused]);
    let mut events: Vec<_> = all.flat_map(Events::all).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    let wanted = events.iter().filter(|event| {
        query.kind.is_none_or(|kind| kind.0 == event.kind)
            && query.client.as_ref().is_none_or(|client| event.is_of(client))
    });
    let wanted: Vec<_> = wanted.collect();
    let newer_than = |at: u64| wanted.partition_point(|event| event.at.0 > at);
    let begin = query
        .cursor
        .map_or(0, |cursor| newer_than(cursor.at).saturating_add(cursor.shown));
    let end = begin.saturating_add(query.limit.0).min(wanted.len());
    let page = wanted.get(begin..end).unwrap_or_default();
    let last = page.last().filter(|_| end < wanted.len());
    let next = last.map(|last| format!("{}.{}", last.at.0, end - newer_than(last.at.0)));
    let wall = TwoClocks::now();
    let items: Vec<_> = page
        .iter()
        .map(|event| {
            json!({
                "time": wall.time_of(event.at),
                "since": wall.time_of(event.since),
                "kind": event.kind.name(),
                "reason": event.reason,
                "client_id": event.client,
                "topic": event.topic,
                "address": event.address.map(|address| address.to_string()),
                "detail": event.detail,
                "count": event.count,
            })
        })
        .collect();
    ApiAnswer::of(&json!({ "items": items, "next": next }))
}

/// Asks the shard that owns the session of a client.
fn of_client(state: &ApiState, client: &str, question: Question) -> Option<Answer> {
    let owner = owner_shard(client, state.questions.shards());
    state.questions.ask(owner, question)
}

/// An error for a client that does not exist, with the list of those that exist.
const NO_SESSION: (&str, &str) = ("there is no session of this client", "sessions");
const NOT_CONNECTED: (&str, &str) = ("this client is not connected", "clients");

fn done(answer: Option<Answer>, (missing, list): (&str, &str)) -> Operated {
    match answer {
        Some(Answer::Done(true)) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Some(_) => Err(ApiAnswer::not_found(missing, list)),
        None => Err(ApiAnswer::no_answer()),
    }
}

fn session(state: &ApiState, client: &str) -> Operated {
    match of_client(state, client, Question::Session(client.into())) {
        Some(Answer::Sessions(listed)) => match listed.entries.first() {
            Some(entry) => Ok(ApiAnswer::of(&of_session(state, &TwoClocks::now(), entry))),
            None => Err(ApiAnswer::not_found(NO_SESSION.0, NO_SESSION.1)),
        },
        _ => Err(ApiAnswer::no_answer()),
    }
}

fn of_session(state: &ApiState, wall: &TwoClocks, entry: &SessionEntry) -> Value {
    let connection = entry.connection.as_ref();
    let address = connection.and_then(|connection| connection.address);
    json!({
        "client_id": entry.client_identifier,
        "user": entry.user,
        "connected": connection.is_some(),
        "address": address.map(|address| address.to_string()),
        "connected_since": connection.map(|connection| wall.time_of(connection.since)),
        "protocol": connection.map(|connection| connection.protocol_level),
        "listener": connection.map(|connection| state.listener_name(connection.listener)),
        "keep_alive_s": connection.map(|connection| connection.keep_alive_s),
        "output_bytes": connection.map(|connection| connection.output_bytes),
        "slow": connection.map(|connection| connection.is_slow),
        "paused": connection.map(|connection| connection.is_paused),
        "away_s": entry.away_s,
        "expiry_s": (entry.expiry_s != u32::MAX).then_some(entry.expiry_s),
        "subscriptions": entry.subscriptions,
        "queued_messages": entry.queued_messages,
        "queued_bytes": entry.queued_bytes,
        "inflight": entry.inflight,
    })
}

/// Has the signal thread read the configuration again.
fn reload(state: &ApiState) -> Operated {
    let Some(report) = state.reloads.ask() else {
        return Err(ApiAnswer::refused(
            "503 Service Unavailable",
            "the reload takes long: the log will have the result",
        ));
    };
    let until = Instant::now() + Duration::from_nanos(limits::QUESTION_NS_MAX);
    while !state.current.is_taken() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (status, answer) = reloaded(&report, state.current.is_taken());
    let answer = ApiAnswer::of(&answer);
    match status {
        None => Ok(answer),
        Some(status) => Err(answer.with_status(status)),
    }
}

/// The result of a reload, with an error status if it is incomplete. Nothing is reported as taken that a shard does
/// not use yet.
fn reloaded(report: &ReloadReport, is_taken: bool) -> (Option<&'static str>, Value) {
    let kept = report.kept.iter();
    let kept: Vec<_> = kept
        .map(|kept| json!({ "what": kept.what, "why": kept.why, "needs": kept.needs.name() }))
        .collect();
    let (taken, pending) = if is_taken {
        (report.taken.as_slice(), [].as_slice())
    } else {
        ([].as_slice(), report.taken.as_slice())
    };
    let mut answer = json!({ "taken": taken, "pending": pending, "kept": kept, "warnings": report.warnings });
    let refusal = report.refusal();
    let (status, error) = if is_taken {
        (refusal.is_some().then_some("409 Conflict"), refusal)
    } else {
        let pending =
            "a shard does not use the new configuration yet, and will in its next turn: see /healthz"
                .to_owned();
        let both = refusal.map_or_else(|| pending.clone(), |refusal| format!("{pending}; {refusal}"));
        (Some("503 Service Unavailable"), Some(both))
    };
    if let (Some(error), Some(answer)) = (error, answer.as_object_mut()) {
        answer.insert("error".to_owned(), Value::from(error));
    }
    (status, answer)
}

/// The methods of a path.
fn methods(path: &[&str]) -> Vec<&'static str> {
    let has_path = |(_, route): &&(&str, &str)| {
        let levels: Vec<_> = route.split('/').skip(1).collect();
        levels.len() == path.len()
            && levels
                .iter()
                .zip(path)
                .all(|(level, given)| level.starts_with('{') || level == given)
    };
    let found = ROUTES.iter().filter(has_path);
    found.map(|(method, _)| *method).collect()
}

#[cfg(test)]
mod tests;
