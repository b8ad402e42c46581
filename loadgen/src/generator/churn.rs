//! Connections that come and go beside a load: a storm in a thread of its own.
//!
//! Invariant: it begins and ends with the load; what it costs the broker is in the load's figures, because that is what
//! is asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connect::worker::{self, StormCounts, StormResult};
use crate::connect::{Storm, StormPace, StormState};
use crate::generator::state::Run;
use crate::measure::timeline::Timeline;
use crate::outcome::churn::ChurnReport;
use crate::system::error::Failure;
use crate::target::subject::Subject;

/// A storm that runs beside a load.
pub(crate) struct Churn {
    state: Arc<StormState>,
    thread: JoinHandle<Result<StormResult, Failure>>,
}

impl Churn {
    /// Starts it with the load; `None` where the scenario has none.
    pub(crate) fn start(run: &Run, subject: &Subject) -> Result<Option<Churn>, Failure> {
        let scenario = &run.scenario;
        let Some(times) = run.timeline.times().filter(|_| scenario.churn_per_s > 0.0) else {
            return Ok(None);
        };
        let storm = Storm {
            origin: None,
            pace: StormPace::Open {
                rate_per_s: scenario.churn_per_s,
            },
            version: scenario.version,
            warmup: scenario.warmup,
            duration: scenario.duration,
            connect_timeout: scenario.connect_timeout,
            threads: 1,
            cpus: scenario.cpus.clone(),
            bind: scenario.bind.clone(),
            slo_p99: None,
            properties: scenario.properties.clone(),
            seed: scenario.seed,
            credentials: scenario.credentials.clone(),
        };
        let state = Arc::new(StormState {
            storm,
            subject: subject.clone(),
            number: run.number,
            timeline: Timeline::new(),
            counts: StormCounts::default(),
        });
        state
            .timeline
            .begin(times.start_ns, scenario.warmup, scenario.duration);
        let shared = Arc::clone(&state);
        let builder = std::thread::Builder::new().name("churn".to_owned());
        let thread = builder.spawn(move || {
            // Until the load begins there is nothing to do.
            let wait_ns = times.start_ns.saturating_sub(transport::clock::monotonic_ns());
            std::thread::sleep(Duration::from_nanos(wait_ns));
            worker::work(&shared, 0)
        });
        let thread = thread.map_err(Failure::system("cannot start a thread"))?;
        Ok(Some(Churn { state, thread }))
    }

    /// Ends it with the load and says what it did.
    pub(crate) fn finish(self, now_ns: u64) -> Result<ChurnReport, Failure> {
        self.state.timeline.stop_load(now_ns);
        let result = self.thread.join().map_err(|_| Failure::Thread)??;
        let counts = &self.state.counts;
        Ok(ChurnReport {
            made: counts.made.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            whole: result.whole.summary(),
            causes: result.causes,
        })
    }
}
