//! Lists of clients, sessions, subscriptions and retained messages, and what operators do with them.
//!
//! Invariants: the routes here and those of `openapi.json` are the same (test `the_document_has_every_route`). A list
//! is made of parts that shards answer one by one; a page of it has a bound, and a cursor that leads to the next one.
//! What is wrong with a request is said in one sentence, and nothing is half done then.

use std::time::{Duration, Instant};

use mqtt::{QoS, ReasonCode};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};
use transport::clock::monotonic_ns;
use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use super::operation_request::{OperationRequest, levels};
use super::state::ApiState;
use super::trace_operations;
use crate::limits;
use crate::logic::operator::{
    Answer, ListPart, ListPlace, Listed, Question, RetainedEntry, SessionEntry, SubscriptionEntry,
};
use crate::logic::owner_shard;
use crate::time::Timestamp;

/// The methods and paths of all operations, below `/api/v1`.
pub(super) const ROUTES: [(&str, &str); 15] = [
    ("GET", "/clients"),
    ("GET", "/sessions"),
    ("GET", "/sessions/{id}"),
    ("DELETE", "/sessions/{id}"),
    ("POST", "/clients/{id}/disconnect"),
    ("GET", "/subscriptions"),
    ("GET", "/retained"),
    ("DELETE", "/retained"),
    ("GET", "/events"),
    ("POST", "/publish"),
    ("POST", "/reload"),
    ("GET", "/traces"),
    ("POST", "/traces"),
    ("DELETE", "/traces/{trace}"),
    ("GET", "/openapi.json"),
];

/// The description of the API for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// Whether the path is that of an operation: then `Origin` asks who it is.
pub(super) fn is_operation(page: &Page) -> bool {
    let path = levels(page);
    let first = path.first().map(String::as_str).unwrap_or_default();
    ROUTES
        .iter()
        .any(|(_, route)| route.split('/').nth(1) == Some(first))
}

/// Does what is asked for; `None` if no operation has that path.
pub(super) fn operate(state: &ApiState, page: &Page, body: &[u8], is_control: bool) -> Option<ApiAnswer> {
    let request = OperationRequest::new(page, body, is_control);
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let answer = match (request.method, path.as_slice()) {
        ("GET", ["openapi.json"]) => Ok(ApiAnswer::json(OPENAPI.to_owned())),
        ("GET", ["clients"]) => request.sessions(state, true),
        ("GET", ["sessions"]) => request.sessions(state, false),
        ("GET", ["sessions", client]) => session(state, client),
        ("DELETE", ["sessions", client]) => {
            done(of_client(state, client, Question::EndSession((*client).into())))
        }
        ("POST", ["clients", client, "disconnect"]) => request.disconnect(state, client),
        ("GET", ["subscriptions"]) => request.subscriptions(state),
        ("GET", ["retained"]) => request.retained(state),
        ("DELETE", ["retained"]) => request.delete_retained(state),
        ("GET", ["events"]) => request.events(state),
        ("POST", ["publish"]) => request.publish(state),
        ("POST", ["reload"]) => reload(),
        ("GET", ["traces"]) => Ok(trace_operations::list(state)),
        ("POST", ["traces"]) => trace_operations::start(state, &request),
        ("DELETE", ["traces", number]) => trace_operations::stop(state, number),
        (_, path) if is_known(path) => Err(ApiAnswer::refused(
            "405 Method Not Allowed",
            "the path has other methods: see /api/v1/openapi.json",
        )),
        _ => return None,
    };
    Some(answer.unwrap_or_else(|refused| refused))
}

type Operated = Result<ApiAnswer, ApiAnswer>;

impl OperationRequest<'_> {
    fn sessions(&self, state: &ApiState, connected_only: bool) -> Operated {
        let searched = self.value("search").unwrap_or_default();
        let wanted = |entry: &SessionEntry| {
            (!connected_only || entry.connection.is_some()) && entry.client_identifier.contains(searched)
        };
        self.list(
            state,
            Question::Sessions,
            |answer| match answer {
                Answer::Sessions(listed) => Some(listed),
                _ => None,
            },
            |entry| wanted(entry).then(|| of_session(state, entry)),
        )
    }

    fn subscriptions(&self, state: &ApiState) -> Operated {
        let client = self.value("client");
        let filter = self.value("filter");
        let take = |answer| match answer {
            Answer::Subscriptions(listed) => Some(listed),
            _ => None,
        };
        let ask = |part| Question::Subscriptions {
            part,
            client: client.map(Into::into),
        };
        let show = |entry: &SubscriptionEntry| {
            let is_wanted = filter.is_none_or(|filter| *filter == *entry.filter);
            is_wanted.then(|| {
                json!({
                    "client_id": entry.client_identifier,
                    "filter": entry.filter,
                    "qos": entry.qos.map(|qos| qos as u8),
                })
            })
        };
        self.list(state, ask, take, show)
    }

    fn retained(&self, state: &ApiState) -> Operated {
        let filter = self.value("filter").unwrap_or("#");
        if let Err(error) = mqtt::topic::check_filter(filter) {
            return Err(ApiAnswer::refused("400 Bad Request", &format!("filter: {error}")));
        }
        let take = |answer| match answer {
            Answer::Retained(listed) => Some(listed),
            _ => None,
        };
        let show = |entry: &RetainedEntry| {
            mqtt::topic::matches(filter, &entry.topic).then(|| {
                json!({
                    "topic": entry.topic,
                    "qos": entry.qos as u8,
                    "payload_bytes": entry.payload_bytes,
                })
            })
        };
        self.list(state, Question::Retained, take, show)
    }

    /// A page of a list: asks one shard after the other for one part after the other, from the cursor on.
    fn list<T>(
        &self,
        state: &ApiState,
        ask: impl Fn(ListPart) -> Question,
        take: impl Fn(Answer) -> Option<Listed<T>>,
        show: impl Fn(&T) -> Option<Value>,
    ) -> Operated {
        let limit = self.limit()?;
        let (mut shard, mut from) = self.cursor()?;
        let until = Instant::now() + Duration::from_nanos(limits::QUESTION_NS_MAX);
        let mut items = Vec::new();
        while shard < state.questions.shards() && items.len() < limit && Instant::now() < until {
            let entries_max = limit - items.len();
            let answer = state.questions.ask(shard, ask(ListPart { from, entries_max }));
            let listed = answer.and_then(&take).ok_or_else(ApiAnswer::no_answer)?;
            items.extend(listed.entries.iter().filter_map(&show));
            (shard, from) = match listed.next {
                Some(next) => (shard, next),
                None => (shard + 1, ListPlace::default()),
            };
        }
        let has_more = shard < state.questions.shards();
        let next = has_more.then(|| format!("{shard}.{}.{}", from.slot, from.entry));
        Ok(ApiAnswer::of(&json!({ "items": items, "next": next })))
    }

    fn disconnect(&self, state: &ApiState, client: &str) -> Operated {
        let object = self.object()?;
        let code = object.get("reason").map_or(Some(0x98), Value::as_u64);
        let reason = code
            .and_then(|code| ReasonCode::from_u8(u8::try_from(code).ok()?))
            .filter(|reason| reason.belongs_to(mqtt::frame::PacketType::Disconnect));
        let Some(reason) = reason else {
            return Err(ApiAnswer::refused(
                "400 Bad Request",
                "reason: must be the number of a reason code that a server may send in DISCONNECT, such as 152",
            ));
        };
        let client_identifier = client.into();
        done(of_client(
            state,
            client,
            Question::Disconnect {
                client: client_identifier,
                reason,
            },
        ))
    }

    /// What was refused, dropped and ended last, the newest first.
    fn events(&self, state: &ApiState) -> Operated {
        let limit = self.limit()?;
        let (kind, client) = (self.value("kind"), self.value("client"));
        let shards = state.counters.iter();
        let mut events: Vec<_> = shards.flat_map(|counters| counters.events.all()).collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        let wanted = events.iter().filter(|event| {
            kind.is_none_or(|kind| kind == event.kind.name())
                && client.is_none_or(|client| *client == *event.client)
        });
        let (now, wall) = (Timestamp(monotonic_ns()), chrono::Utc::now());
        let items: Vec<_> = wanted
            .take(limit)
            .map(|event| {
                let ago = chrono::TimeDelta::nanoseconds(now.since_ns(event.at).cast_signed());
                json!({
                    "time": (wall - ago).to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                    "kind": event.kind.name(),
                    "reason": event.reason,
                    "client_id": event.client,
                    "topic": event.topic,
                })
            })
            .collect();
        Ok(ApiAnswer::of(&json!({ "items": items, "next": null })))
    }

    fn publish(&self, state: &ApiState) -> Operated {
        let object = self.object()?;
        let wrong = |what: &str| ApiAnswer::refused("400 Bad Request", what);
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let topic = text("topic").ok_or_else(|| wrong("topic: a Topic Name is missing"))?;
        mqtt::topic::check_name(topic).map_err(|error| wrong(&format!("topic: {error}")))?;
        let payload = object.get("payload").map_or(Some(""), Value::as_str);
        let payload = payload.ok_or_else(|| wrong("payload: must be a text"))?;
        let qos = match object.get("qos").map_or(Some(0), Value::as_u64) {
            Some(0) => QoS::AtMostOnce,
            Some(1) => QoS::AtLeastOnce,
            Some(2) => QoS::ExactlyOnce,
            _ => return Err(wrong("qos: must be 0, 1 or 2")),
        };
        let retain = object.get("retain").map_or(Some(false), Value::as_bool);
        let retain = retain.ok_or_else(|| wrong("retain: must be true or false"))?;
        publish(state, topic, payload, qos, retain)
    }

    fn delete_retained(&self, state: &ApiState) -> Operated {
        let wrong = |what: &str| ApiAnswer::refused("400 Bad Request", what);
        let topic = self
            .value("topic")
            .ok_or_else(|| wrong("topic: the Topic Name is missing in the query"))?;
        mqtt::topic::check_name(topic).map_err(|error| wrong(&format!("topic: {error}")))?;
        publish(state, topic, "", QoS::AtMostOnce, true)
    }
}

fn publish(state: &ApiState, topic: &str, payload: &str, qos: QoS, retain: bool) -> Operated {
    let question = Question::Publish {
        topic: topic.into(),
        payload: payload.as_bytes().into(),
        qos,
        retain,
    };
    match state.questions.ask(0, question) {
        Some(Answer::Done(true)) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Some(_) => Err(ApiAnswer::refused(
            "409 Conflict",
            "the message was not published: the topic is the broker's own, or there is no room to retain it",
        )),
        None => Err(ApiAnswer::no_answer()),
    }
}

/// Asks the shard that owns the session of a client.
fn of_client(state: &ApiState, client: &str, question: Question) -> Option<Answer> {
    let owner = owner_shard(client, state.questions.shards());
    state.questions.ask(owner, question)
}

fn done(answer: Option<Answer>) -> Operated {
    match answer {
        Some(Answer::Done(true)) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Some(_) => Err(ApiAnswer::refused("404 Not Found", "there is no such client")),
        None => Err(ApiAnswer::no_answer()),
    }
}

fn session(state: &ApiState, client: &str) -> Operated {
    match of_client(state, client, Question::Session(client.into())) {
        Some(Answer::Sessions(listed)) => match listed.entries.first() {
            Some(entry) => Ok(ApiAnswer::of(&of_session(state, entry))),
            None => Err(ApiAnswer::refused("404 Not Found", "there is no such client")),
        },
        _ => Err(ApiAnswer::no_answer()),
    }
}

fn of_session(state: &ApiState, entry: &SessionEntry) -> Value {
    let connection = entry.connection.as_ref();
    json!({
        "client_id": entry.client_identifier,
        "user": entry.user,
        "connected": connection.is_some(),
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

/// The thread of the signals reads the configuration again; how it went is in the log.
fn reload() -> Operated {
    match kill_process(getpid(), Signal::HUP) {
        Ok(()) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Err(error) => Err(ApiAnswer::refused(
            "500 Internal Server Error",
            &error.to_string(),
        )),
    }
}

/// Whether a route has this path, with whatever method.
fn is_known(path: &[&str]) -> bool {
    ROUTES.iter().any(|(_, route)| {
        let levels: Vec<_> = route.split('/').skip(1).collect();
        levels.len() == path.len()
            && levels
                .iter()
                .zip(path)
                .all(|(level, given)| level.starts_with('{') || level == given)
    })
}

#[cfg(test)]
mod tests;
