//! Topic Filters: the check of one and the match of one filter with one Topic Name.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mqtt::topic;

fn bench_matches(c: &mut Criterion) {
    let mut group = c.benchmark_group("match sensors/17/temperature");
    let name = "sensors/17/temperature";
    for filter in [
        "sensors/17/temperature",
        "sensors/+/temperature",
        "sensors/#",
        "sensors/17/humidity",
        "+/+/+",
    ] {
        group.bench_function(filter, |b| {
            b.iter(|| topic::matches(black_box(filter), black_box(name)))
        });
        if !filter.starts_with('+') {
            group.bench_function(format!("{filter}, mqttbytes"), |b| {
                b.iter(|| mqttbytes::matches(black_box(name), black_box(filter)));
            });
        }
    }
    group.finish();
}

fn bench_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("check");
    group.bench_function("name", |b| {
        b.iter(|| topic::check_name(black_box("sensors/17/temperature")))
    });
    group.bench_function("filter", |b| {
        b.iter(|| topic::check_filter(black_box("sensors/+/temperature/#")))
    });
    group.bench_function("shared filter", |b| {
        b.iter(|| topic::shared(black_box("$share/group/sensors/+/temperature")))
    });
    group.finish();
}

criterion_group!(name = benches; config = benches::quick(); targets = bench_matches, bench_check);
criterion_main!(benches);
