//! Operations on bans.
//!
//! Invariants: who is banned cannot connect before those who are connected are looked for, so nobody slips through.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{ApiAnswer, Operated};
use super::list_pages::list_part;
use super::operation_forms::{AskedPage, BanBody, BansQuery, UnbanQuery};
use super::operation_values::AskedAddress;
use super::origin::Operator;
use super::state::ApiState;
use crate::bans::{BanError, BanSubject, BanTerms, now_s};
use crate::limits;
use crate::logic::operator::{Answer, Question, SessionEntry};
use crate::logic::owner_shard;
use mqtt::ReasonCode;

/// Lists who is banned.
pub(super) fn bans(state: &ApiState, query: &BansQuery) -> ApiAnswer {
    let behind = usize::try_from(query.cursor.0).unwrap_or(usize::MAX);
    let limit = query.limit.0;
    let mut bans = state.bans.list(behind, limit.saturating_add(1));
    let has_more = bans.len() > limit;
    bans.truncate(limit);
    let next = has_more.then(|| behind.saturating_add(limit).to_string());
    let items: Vec<_> = bans
        .iter()
        .map(|(subject, terms)| described(subject, terms))
        .collect();
    ApiAnswer::of(&json!({ "items": items, "next": next }))
}

/// Bans somebody, and ends the connections of those who are connected.
pub(super) fn ban(state: &ApiState, operator: &Operator, body: &BanBody) -> Operated {
    let subject = subject(&body.client_id, &body.user, body.address)?;
    let terms = BanTerms {
        until_s: body.seconds.map(|seconds| now_s().saturating_add(seconds)),
        reason: body.reason.clone().unwrap_or_default(),
        is_automatic: false,
    };
    let banned = state.bans.ban(subject.clone(), terms);
    if let Err(error @ BanError::TooMany) = banned {
        return Err(ApiAnswer::refused("409 Conflict", &error.to_string()));
    }
    let disconnected = disconnect_all(state, operator, &subject)?;
    match banned {
        Ok(()) => Ok(ApiAnswer::of(
            &json!({ "done": true, "disconnected": disconnected }),
        )),
        Err(error) => Err(ApiAnswer::refused("409 Conflict", &error.to_string())),
    }
}

/// Lets somebody in again.
pub(super) fn unban(state: &ApiState, query: &UnbanQuery) -> Operated {
    let subject = subject(&query.client_id, &query.user, query.address)?;
    match state.bans.unban(subject) {
        Ok(true) => Ok(ApiAnswer::of(&json!({ "done": true }))),
        Ok(false) => Err(ApiAnswer::not_found("this one is not banned", "bans")),
        Err(error) => Err(ApiAnswer::refused("409 Conflict", &error.to_string())),
    }
}

fn subject(
    client: &Option<String>,
    user: &Option<String>,
    address: Option<AskedAddress>,
) -> Result<BanSubject, ApiAnswer> {
    match (client, user, address) {
        (Some(client), None, None) if !client.is_empty() => Ok(BanSubject::Client(client.clone())),
        (None, Some(user), None) if !user.is_empty() => Ok(BanSubject::User(user.clone())),
        (None, None, Some(AskedAddress(address))) => Ok(BanSubject::Address(address)),
        _ => Err(ApiAnswer::wrong(
            "one of client_id, user and address is needed, not empty, and no more: say who is meant",
        )),
    }
}

/// Ends the connections of all whom a ban is about; how many there were.
fn disconnect_all(state: &ApiState, operator: &Operator, subject: &BanSubject) -> Result<u64, ApiAnswer> {
    if let BanSubject::Client(client) = subject {
        return Ok(u64::from(disconnect(state, operator, client)));
    }
    let is_meant = |entry: &SessionEntry| {
        let connection = entry.connection.as_ref()?;
        let is_it = match subject {
            BanSubject::Client(client) => *client == *entry.client_identifier,
            BanSubject::User(user) => entry.user.as_deref() == Some(user.as_str()),
            BanSubject::Address(address) => {
                connection
                    .address
                    .and_then(|it| it.ip())
                    .map(|ip| ip.to_canonical())
                    == Some(address.to_canonical())
            }
        };
        is_it.then(|| entry.client_identifier.clone())
    };
    let take = |answer| match answer {
        Answer::Sessions(listed) => Some(listed),
        _ => None,
    };
    let until = Instant::now() + Duration::from_nanos(limits::QUESTION_NS_MAX);
    let (mut ended, mut page) = (0, AskedPage::default());
    loop {
        let (meant, next) = list_part(state, page, Question::Sessions, take, is_meant)?;
        ended += meant
            .iter()
            .filter(|client| disconnect(state, operator, client))
            .count() as u64;
        let Some(next) = next else {
            return Ok(ended);
        };
        page.cursor = next.try_into().map_err(|_| ApiAnswer::no_answer())?;
        if Instant::now() > until {
            return Err(ApiAnswer::refused(
                "503 Service Unavailable",
                "the ban is in effect, but not all who are connected were looked at in time: ask again",
            ));
        }
    }
}

fn disconnect(state: &ApiState, operator: &Operator, client: &str) -> bool {
    let owner = owner_shard(client, state.questions.shards());
    let question = Question::Disconnect {
        client: client.into(),
        reason: ReasonCode::AdministrativeAction,
        operator: operator.to_string().into(),
    };
    matches!(state.questions.ask(owner, question), Some(Answer::Done(true)))
}

fn described(subject: &BanSubject, terms: &BanTerms) -> Value {
    let (client, user, address) = match subject {
        BanSubject::Client(client) => (Some(client.clone()), None, None),
        BanSubject::User(user) => (None, Some(user.clone()), None),
        BanSubject::Address(address) => (None, None, Some(address.to_string())),
    };
    json!({
        "client_id": client,
        "user": user,
        "address": address,
        "seconds_left": terms.until_s.map(|until_s| until_s.saturating_sub(now_s())),
        "reason": terms.reason,
        "automatic": terms.is_automatic,
    })
}
