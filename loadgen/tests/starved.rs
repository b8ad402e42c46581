//! A generator that has too little CPU says so, in every kind of load, and calls nothing lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "each test program uses some of it")]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use harness::outcome;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

/// Threads that take a core away from whoever else is on it.
struct BusyCore {
    core: usize,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyCore {
    fn start() -> BusyCore {
        let allowed = sched_getaffinity(None).unwrap();
        let core = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|&core| allowed.is_set(core))
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let busy = |_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut one = CpuSet::new();
                one.set(core);
                sched_setaffinity(None, &one).unwrap();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..3).map(busy).collect();
        BusyCore { core, over, threads }
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_load_whose_core_is_busy_is_invalid_whatever_it_is() {
    let busy = BusyCore::start();
    let on_it = format!("--no-tls --threads 1 --cpus {} --warmup 0.2", busy.core);
    for load in [
        "run --pubs 2 --subs 2 --rate 2000 -q 1 --duration 1",
        "run --pubs 2 --subs 2 --rate max --window 10 --duration 1",
        "run --pubs 2 --subs 2 --rate flood --duration 0.5 --drain 20",
        "conn --concurrency 2 --duration 1",
    ] {
        let outcome = outcome(&format!("{load} {on_it}"), &[4]);
        let verdict = outcome.pointer("/verdict").unwrap();
        assert_eq!(
            verdict["limited_by"],
            Value::from("generator"),
            "{load}: {verdict}"
        );
        assert_eq!(verdict["valid"], Value::from(false), "{load}");
        let findings = verdict["findings"].to_string();
        assert!(findings.contains("had no CPU for"), "{load}: {findings}");
        assert!(!findings.contains("were lost"), "{load}: {findings}");
    }
}
