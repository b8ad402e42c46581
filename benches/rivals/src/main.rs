//! The log of `store` beside redb, heed (LMDB), fjall and SQLite on the same work: messages of 256 bytes come for 1,000
//! sessions in turns, and each is acknowledged when 10,000 more have come. Each commit is on the disk when it returns.
//!
//! `cargo run --release --manifest-path benches/rivals/Cargo.toml -- FOLDER SECONDS` prints a table; the folder decides
//! on which disk. The others have their keys in the order of arrival, which suits them best. Our log writes four
//! records for a message (message, reference, in flight, done); the others put two values and remove two.
//!
//! `stores.rs` has the stores.
//!
//! Invariants: none.

mod stores;

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use stores::{Fjall, Lmdb, OurLog, Redb, Sqlite, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a message.
pub(crate) const MESSAGE: usize = 256;
/// Sessions that get messages in turns.
pub(crate) const SESSIONS: u64 = 1_000;
/// Messages that are not acknowledged.
pub(crate) const BACKLOG: u64 = 10_000;

/// Whatever a store reports.
pub(crate) type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds = arguments.next().map_or(Ok(5.0), |text| text.parse())?;
    println!("| store | messages a commit | messages a second | CPU, µs each | commit p50, µs | p99, µs |");
    println!("|---|---|---|---|---|---|");
    for count in [1, 64, 512] {
        let time = Duration::from_secs_f64(seconds);
        run::<OurLog>(&folder, count, time)?;
        run::<Redb>(&folder, count, time)?;
        run::<Lmdb>(&folder, count, time)?;
        run::<Fjall>(&folder, count, time)?;
        run::<Sqlite>(&folder, count, time)?;
    }
    Ok(())
}

/// Fills the backlog, and measures commits of `count` messages.
fn run<S: Store>(folder: &str, count: u64, time: Duration) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(Path::new(folder))?;
    let mut store = S::open(folder.path())?;
    let mut next = 0;
    while next < BACKLOG {
        store.commit(next, 500)?;
        next += 500;
    }
    let mut commits = Histogram::<u64>::new(3)?;
    let (began, cpu, first) = (Instant::now(), cpu_time()?, next);
    while began.elapsed() < time {
        let commit = Instant::now();
        store.commit(next, count)?;
        next += count;
        commits.record(u64::try_from(commit.elapsed().as_micros())?)?;
    }
    let (elapsed, cpu) = (began.elapsed(), cpu_time()? - cpu);
    let messages = (next - first) as f64;
    println!(
        "| {} | {count} | {:.0} | {:.2} | {} | {} |",
        S::NAME,
        messages / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / messages,
        commits.value_at_quantile(0.5),
        commits.value_at_quantile(0.99),
    );
    Ok(())
}

/// CPU time of all threads of this process.
fn cpu_time() -> Result<Duration, Failure> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let used = text.split_whitespace().next().unwrap_or_default();
        nanoseconds += used.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
