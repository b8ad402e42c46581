//! `--churn`: connections that are made and closed beside a load, in a separate thread.
//!
//! Invariant: the thread begins and ends with the load. Its cost for the broker is part of the load's figures, because
//! that is the purpose of the option.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connect::measurements::{ConnectCounts, ConnectMeasurements, ConnectState};
use crate::connect::worker;
use crate::connect::{ConnectLoad, ConnectScenario};
use crate::generator::state::Run;
use crate::measure::timeline::Timeline;
use crate::outcome::background::BackgroundReport;
use crate::system::error::Failure;
use crate::target::subject::Subject;

/// A connect measurement that runs beside a load.
pub(crate) struct BackgroundConnects {
    state: Arc<ConnectState>,
    thread: JoinHandle<Result<ConnectMeasurements, Failure>>,
}

impl BackgroundConnects {
    /// Starts it with the load; `None` if the scenario has none.
    pub(crate) fn start(run: &Run, subject: &Subject) -> Result<Option<BackgroundConnects>, Failure> {
        let load = &run.scenario;
        let Some(times) = run.timeline.times().filter(|_| load.churn_per_s > 0.0) else {
            return Ok(None);
        };
        let scenario = ConnectScenario {
            origin: None,
            load: ConnectLoad::Open {
                rate_per_s: load.churn_per_s,
            },
            version: load.version,
            warmup: load.warmup,
            duration: load.duration,
            connect_timeout: load.connect_timeout,
            threads: 1,
            cpus: load.cpus.clone(),
            bind: load.bind.clone(),
            slo_p99: None,
            properties: load.properties.clone(),
            seed: load.seed,
            credentials: load.credentials.clone(),
        };
        let state = Arc::new(ConnectState {
            scenario,
            subject: subject.clone(),
            number: run.number,
            timeline: Timeline::new(),
            counts: ConnectCounts::default(),
        });
        state.timeline.begin(times.start_ns, load.warmup, load.duration);
        let shared = Arc::clone(&state);
        let builder = std::thread::Builder::new().name("background".to_owned());
        let thread = builder.spawn(move || {
            // There is nothing to do until the load begins.
            let wait_ns = times.start_ns.saturating_sub(transport::clock::monotonic_ns());
            std::thread::sleep(Duration::from_nanos(wait_ns));
            worker::work(&shared, 0)
        });
        let thread = thread.map_err(Failure::system("cannot start a thread"))?;
        Ok(Some(BackgroundConnects { state, thread }))
    }

    /// Ends it with the load; returns its report.
    pub(crate) fn finish(self, now_ns: u64) -> Result<BackgroundReport, Failure> {
        self.state.timeline.stop_load(now_ns);
        let result = self.thread.join().map_err(|_| Failure::Thread)??;
        let counts = &self.state.counts;
        Ok(BackgroundReport {
            made: counts.made.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            whole: result.whole.summary(),
            causes: result.causes,
        })
    }
}
