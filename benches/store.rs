//! Commits of the log on the disk of the temporary folder: messages of 256 bytes for 1,000 sessions, each acknowledged
//! when 10,000 more have come.
//!
//! `TMPDIR=FOLDER cargo bench -p benches --bench store` takes the disk that FOLDER is on.
//!
//! Invariants: none.
#![allow(missing_docs, reason = "a bench has no public items")]
#![allow(clippy::expect_used, reason = "a bench may fail")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use store::{Durability, Log, Options, Record, Reference, ReferenceList, Session, ShardList, ShardLog};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SESSIONS: u64 = 1000;
const BACKLOG: u64 = 10_000;

struct Bench {
    log: Log,
    shard: ShardLog,
    next: u64,
}

impl Bench {
    fn new(folder: &std::path::Path, durability: Durability) -> Self {
        let options = Options {
            durability,
            ..Options::default()
        };
        let (mut log, _) = store::open(folder, &options, Box::new(|_| {})).expect("the folder is new");
        let mut shard = log.shard(0);
        for number in 0..SESSIONS {
            shard.append(&Record::Session(Session {
                number,
                client_identifier: "client",
                user: None,
                expiry_s: 3600,
                away_since_ms: None,
                will: None,
            }));
        }
        shard.submit();
        log.step().expect("the disk has space");
        Self { log, shard, next: 0 }
    }

    fn messages(&mut self, count: u64) {
        let message = [7; 256];
        for _ in 0..count {
            let (id, session) = (self.next, self.next % SESSIONS);
            self.next += 1;
            let order = id / SESSIONS;
            let shards = ShardList::Numbers(&[]);
            self.shard.append(&Record::Publication {
                id,
                shards,
                share: "",
                message: &message,
            });
            let reference = Reference {
                session,
                order,
                qos: 1,
                retain: false,
                via: &[],
            };
            let references = ReferenceList::Slice(std::slice::from_ref(&reference));
            self.shard.append(&Record::References {
                publication: id,
                shard: 0,
                references,
                mark: true,
            });
            let packet_identifier = (order % 65_535) as u16 + 1;
            self.shard.append(&Record::InFlight {
                session,
                order,
                packet_identifier,
                released: false,
            });
            if let Some(order) = order.checked_sub(BACKLOG / SESSIONS) {
                self.shard.append(&Record::Done { session, order });
            }
        }
        self.shard.submit();
    }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for (name, durability) in [("sync", Durability::Sync), ("none", Durability::None)] {
        for count in [1, 64, 512] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut bench = Bench::new(folder.path(), durability);
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    bench.messages(count);
                    black_box(bench.log.step().expect("the disk has space"))
                });
            });
            let found = bench.log.statistics();
            let payload = bench.next * 256;
            eprintln!(
                "{name} {count}: {:.2} bytes written a byte of payload, {} MB live, {} MB on the disk, \
                 sync p50 {} us p99 {} us",
                found.bytes_written as f64 / payload as f64,
                found.bytes_live >> 20,
                found.bytes_total >> 20,
                found.sync_us.value_at_quantile(0.5),
                found.sync_us.value_at_quantile(0.99),
            );
        }
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
