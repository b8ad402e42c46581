//! Operations on messages: listing and deleting retained messages, and publishing.
//!
//! Invariants: payloads are only shown on request, and a part of a list has a bounded number of payload bytes. A
//! payload that is not text is shown in base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::answer::{ApiAnswer, Operated};
use super::list_pages::{list, list_part};
use super::operation_forms::{DeletedQuery, PublishBody, RetainedQuery};
use super::operation_values::AskedFilter;
use super::state::ApiState;
use crate::logic::operator::{Answer, ListPart, Listed, NotPublished, Question, RetainedEntry};
use crate::logic::{Unpublishable, is_own_to_broker, owner_shard};

/// Lists the retained messages that a filter matches.
pub(super) fn retained(state: &ApiState, query: &RetainedQuery) -> Operated {
    let (payloads, filter) = (query.payloads, &query.filter.0);
    let ask = |part| Question::Retained { part, payloads };
    let show = |entry: &RetainedEntry| mqtt::topic::matches(filter, &entry.topic).then(|| of_retained(entry));
    list(state, query.page(), ask, take_retained, show)
}

/// Publishes a message of the operator.
pub(super) fn publish(state: &ApiState, body: &PublishBody) -> Operated {
    let topic = &*body.topic.0;
    let question = Question::Publish {
        topic: topic.into(),
        payload: body.payload.as_slice().into(),
        qos: body.qos,
        retain: body.retain,
    };
    // The shard that has the retained message: a later question sees it in its new state.
    match state
        .questions
        .ask(owner_shard(topic, state.questions.shards()), question)
    {
        Some(Answer::Published(Ok(()))) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Some(Answer::Published(Err(error))) => Err(not_published(error)),
        _ => Err(ApiAnswer::no_answer()),
    }
}

/// Deletes the message of one topic, or those of a page that a filter matches.
pub(super) fn delete_retained(state: &ApiState, query: DeletedQuery) -> Operated {
    let (AskedFilter(filter), asked) = match query {
        DeletedQuery::Topic(topic) => {
            return match delete(state, &topic.0)? {
                true => Ok(ApiAnswer::of(&json!({ "done": true }))),
                false => Err(ApiAnswer::not_found(
                    "there is no retained message of this topic",
                    "retained",
                )),
            };
        }
        // The filter matches only topics below `$SYS`.
        DeletedQuery::Filter(AskedFilter(filter), _) if is_own_to_broker(&filter) => {
            return Err(not_published(NotPublished::OwnToBroker));
        }
        DeletedQuery::Filter(filter, asked) => (filter, asked),
    };
    let ask = |part: ListPart| Question::Retained {
        part,
        payloads: false,
    };
    let topic_of = |entry: &RetainedEntry| {
        let is_wanted = mqtt::topic::matches(&filter, &entry.topic) && !is_own_to_broker(&entry.topic);
        is_wanted.then(|| entry.topic.clone())
    };
    let (topics, next) = list_part(state, asked, ask, take_retained, topic_of)?;
    let mut deleted = Vec::new();
    for topic in topics {
        // Another operator may have deleted it in the meantime.
        if delete(state, &topic)? {
            deleted.push(json!({ "topic": topic }));
        }
    }
    Ok(ApiAnswer::of(&json!({ "items": deleted, "next": next })))
}

/// Whether there was a message to delete.
fn delete(state: &ApiState, topic: &str) -> Result<bool, ApiAnswer> {
    if is_own_to_broker(topic) {
        return Err(not_published(NotPublished::OwnToBroker));
    }
    let owner = owner_shard(topic, state.questions.shards());
    match state.questions.ask(owner, Question::DeleteRetained(topic.into())) {
        Some(Answer::Done(was_there)) => Ok(was_there),
        _ => Err(ApiAnswer::no_answer()),
    }
}

fn not_published(error: NotPublished) -> ApiAnswer {
    match error {
        NotPublished::TooDeep
        | NotPublished::NoRetained
        | NotPublished::Unpublishable(Unpublishable::TooLarge { .. } | Unpublishable::NotUtf8 { .. }) => {
            ApiAnswer::wrong(&error.to_string())
        }
        NotPublished::OwnToBroker | NotPublished::Unpublishable(_) | NotPublished::NoSpace => {
            ApiAnswer::refused("409 Conflict", &error.to_string())
        }
    }
}

fn take_retained(answer: Answer) -> Option<Listed<RetainedEntry>> {
    match answer {
        Answer::Retained(listed) => Some(listed),
        _ => None,
    }
}

fn of_retained(entry: &RetainedEntry) -> Value {
    let mut shown = json!({
        "topic": entry.topic,
        "qos": entry.qos as u8,
        "payload_bytes": entry.payload_bytes,
    });
    if let (Some(payload), Some(shown)) = (&entry.payload, shown.as_object_mut()) {
        let (name, text) = match std::str::from_utf8(payload) {
            Ok(text) => ("payload", text.to_owned()),
            Err(_) => ("payload_base64", BASE64_STANDARD.encode(payload)),
        };
        shown.insert(name.to_owned(), Value::from(text));
    }
    shown
}
