//! Pages of lists that the shards answer one by one.
//!
//! Invariants: a page has a bound and takes a bounded time; its cursor leads to the next page.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::{ApiAnswer, Operated};
use super::operation_forms::AskedPage;
use super::state::ApiState;
use crate::limits;
use crate::logic::operator::{Answer, ListPart, ListPlace, Listed, Question};

/// The answer with a page of a list.
pub(super) fn list<T>(
    state: &ApiState,
    asked: AskedPage,
    ask: impl Fn(ListPart) -> Question,
    take: impl Fn(Answer) -> Option<Listed<T>>,
    show: impl Fn(&T) -> Option<Value>,
) -> Operated {
    let (items, next) = list_part(state, asked, ask, take, show)?;
    Ok(ApiAnswer::of(&json!({ "items": items, "next": next })))
}

/// A page of a list: asks one shard after the other for one part after the other, starting at the cursor.
pub(super) fn list_part<T, S>(
    state: &ApiState,
    asked: AskedPage,
    ask: impl Fn(ListPart) -> Question,
    take: impl Fn(Answer) -> Option<Listed<T>>,
    show: impl Fn(&T) -> Option<S>,
) -> Result<(Vec<S>, Option<String>), ApiAnswer> {
    let (limit, mut shard, mut from) = (asked.limit.0, asked.cursor.shard, asked.cursor.from);
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
    Ok((items, next))
}
