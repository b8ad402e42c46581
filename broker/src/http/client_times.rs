//! The clients that use the most CPU time.
//!
//! Invariants: a request starts the measurement for a while; nothing is measured at other times. Answers cover whole
//! seconds that are over, the same ones in all shards.

use serde_json::json;

use super::answer::{ApiAnswer, Operated};
use super::clocks::{TwoClocks, now};
use super::operation_forms::BusiestQuery;
use super::state::ApiState;
use crate::logic::operator::{Answer, BusyClients, MeasuredSeconds, Question};

/// The clients that used the most CPU time in the last seconds; none before the first second is over.
pub(super) fn busiest(state: &ApiState, query: &BusiestQuery) -> Operated {
    let limit = query.limit.0;
    let now = now();
    let since = state.sampling.extend(now);
    let asked = MeasuredSeconds::last(since, now, query.seconds.0);
    let mut all = BusyClients::default();
    for shard in 0..state.questions.shards() {
        let answer = state.questions.ask(shard, Question::Busiest(limit, asked));
        let Some(Answer::Busiest(of_shard)) = answer else {
            return Err(ApiAnswer::no_answer());
        };
        all.clients.extend(of_shard.clients);
        all.cpu_ns += of_shard.cpu_ns;
    }
    all.clients.sort_by_key(|client| std::cmp::Reverse(client.cpu_ns));
    let seconds = |ns: u64| ns as f64 / 1e9;
    let share = |ns: u64| seconds(ns) / asked.count.max(1) as f64;
    let items: Vec<_> = all
        .clients
        .iter()
        .take(limit)
        .map(|client| {
            json!({
                "client_id": client.client_identifier,
                "user": client.user,
                "connected": client.is_connected,
                "cpu_s": seconds(client.cpu_ns),
                "cores": share(client.cpu_ns),
            })
        })
        .collect();
    let wall = TwoClocks::now();
    let is_over = asked.count > 0;
    Ok(ApiAnswer::of(&json!({
        "items": items,
        "next": null,
        "from": is_over.then(|| wall.time_of(asked.begin())),
        "to": is_over.then(|| wall.time_of(asked.end())),
        "measured_s": asked.count,
        "cpu_s": seconds(all.cpu_ns),
    })))
}
