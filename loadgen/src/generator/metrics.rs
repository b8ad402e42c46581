//! OpenMetrics over HTTP while a load runs.
//!
//! Invariants: every sample has the label of the run, so that the figures of several runs and generators can be
//! distinguished and added up. The load is not slowed down: the page shows what the coordinator knows anyway, ten
//! times a second, and a client that is slow or silent is dropped after a second. What breaks them: serving more than
//! one client at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use transport::http::open_metrics::{self, OpenMetricsPage};
use transport::http::{ResponseHead, text_response};

use crate::measure::latency::Latency;
use crate::measure::timeline::{Phase, Progress};
use crate::outcome::observer::Observer;
use crate::outcome::series::IntervalReport;
use crate::outcome::validity::{VERDICT_WORDS, Verdict};

/// A server that runs until it is dropped, and observes a run.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    phase: Option<Phase>,
    progress: Progress,
    interval: Option<IntervalReport>,
    latency: Buckets,
    verdict: Option<&'static str>,
}

/// The latencies of the whole run so far, including warm-up, in fixed buckets: those of several generators can be
/// added.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    at_most: [u64; BOUNDS_S.len()],
    count: u64,
    sum_s: f64,
}

impl Buckets {
    fn add(&mut self, latency: &Latency) {
        for (at_most, bound_s) in self.at_most.iter_mut().zip(BOUNDS_S) {
            *at_most += latency.count_at_most((bound_s * 1e9) as u64);
        }
        let summary = latency.summary();
        self.count += latency.count();
        self.sum_s += summary.map_or(0.0, |summary| summary.mean_ns * summary.count as f64 / 1e9);
    }
}

/// Upper bounds of the buckets, seconds.
const BOUNDS_S: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0, 60.0,
];

impl MetricsServer {
    /// Listens on an address and serves it; `run` is the label of all samples.
    ///
    /// # Errors
    /// The error of binding.
    pub fn start(address: SocketAddr, run: &str) -> io::Result<MetricsServer> {
        let listener = TcpListener::bind(address)?;
        let run = run.to_owned();
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (seen, over) = (
            Arc::new(Mutex::new(Seen::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let (shown, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let builder = std::thread::Builder::new().name("metrics".to_owned());
        let thread = builder.spawn(move || serve(&listener, &run, &shown, &ended))?;
        Ok(MetricsServer {
            address,
            seen,
            over,
            thread: Some(thread),
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the verdict with the last figures for this long, or until a signal arrives.
    pub fn conclude(&self, verdict: &Verdict, keep: Duration, interrupted: &AtomicBool) {
        self.change(|seen| seen.verdict = Some(verdict.word()));
        let until = Instant::now() + keep;
        while Instant::now() < until && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observer for MetricsServer {
    fn observe(&mut self, phase: Phase, _: Duration, progress: &Progress) {
        self.change(|seen| (seen.phase, seen.progress) = (Some(phase), *progress));
    }

    fn interval(&mut self, interval: &IntervalReport, latency: &Latency) {
        self.change(|seen| {
            seen.interval = Some(*interval);
            seen.latency.add(latency);
        });
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// Two observers of the same run.
pub struct Both<'a>(pub &'a mut dyn Observer, pub &'a mut dyn Observer);

impl Observer for Both<'_> {
    fn observe(&mut self, phase: Phase, elapsed: Duration, progress: &Progress) {
        self.0.observe(phase, elapsed, progress);
        self.1.observe(phase, elapsed, progress);
    }

    fn interval(&mut self, interval: &IntervalReport, latency: &Latency) {
        self.0.interval(interval, latency);
        self.1.interval(interval, latency);
    }
}

fn serve(listener: &TcpListener, run: &str, seen: &Mutex<Seen>, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((client, _)) => {
                let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                // If the client is gone, nothing is lost.
                let _ = answer(client, run, &seen);
            }
            // No client, or no descriptor: both are temporary.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn answer(mut client: TcpStream, run: &str, seen: &Seen) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(ANSWER_WITHIN))?;
    client.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut request = [0; 1024];
    let bytes = client.read(&mut request)?;
    let request = request.get(..bytes).unwrap_or_default();
    let known = request.starts_with(b"GET /metrics ") || request.starts_with(b"GET / ");
    if !known {
        let refusal = text_response("404 Not Found", &[], "only GET /metrics is supported\n");
        return client.write_all(&refusal);
    }
    let body = text(run, seen);
    let head = ResponseHead {
        status: "200 OK",
        content_type: open_metrics::CONTENT_TYPE,
        body_bytes: body.len() as u64,
        fields: &[],
    };
    write!(client, "{}{body}", head.to_text())
}

fn text(run: &str, seen: &Seen) -> String {
    let Progress {
        ready,
        sent,
        expected,
        received,
        in_flight,
        broken,
        ..
    } = seen.progress;
    let mut page = OpenMetricsPage::with_label("run", run);
    page.gauge("loadgen_connections_ready", "Connections that are ready.", ready);
    page.counter("loadgen_connections_broken", "Connections that broke.", broken);
    page.counter("loadgen_messages_sent", "Messages sent.", sent);
    page.counter(
        "loadgen_deliveries",
        "Deliveries received, without duplicates.",
        received,
    );
    page.gauge(
        "loadgen_backlog",
        "Deliveries that are due but have not arrived.",
        expected.saturating_sub(received),
    );
    page.gauge(
        "loadgen_in_flight",
        "QoS 1 and 2 messages that are not acknowledged.",
        in_flight,
    );
    if let Some(interval) = seen.interval {
        let buckets: Vec<(f64, u64)> = BOUNDS_S.into_iter().zip(seen.latency.at_most).collect();
        page.histogram(
            "loadgen_latency_seconds",
            "seconds",
            "Time from the intended send to the receipt, the whole run so far.",
            &buckets,
            (seen.latency.count, seen.latency.sum_s),
        );
        quantiles(
            &mut page,
            "loadgen_latency_interval_seconds",
            "Time from the intended send to the receipt, last interval.",
            &[
                ("0.5", interval.p50_ns),
                ("0.99", interval.p99_ns),
                ("0.999", interval.p99_9_ns),
                ("1", interval.max_ns),
            ],
        );
        quantiles(
            &mut page,
            "loadgen_lag_seconds",
            "Time from the intended to the actual send, last interval.",
            &[("0.5", interval.lag_p50_ns), ("0.99", interval.lag_p99_ns)],
        );
    }
    if let Some(phase) = seen.phase {
        let name = format!("{phase:?}").to_lowercase();
        page.info("loadgen_phase", "The phase of the run.", "phase", &name);
    }
    if let Some(verdict) = seen.verdict {
        page.labelled_gauges(
            "loadgen_verdict",
            "The verdict on the run: 1 for the one that applies.",
            &["verdict"],
            VERDICT_WORDS.map(|word| ([word], u8::from(word == verdict))),
        );
    }
    page.finish()
}

fn quantiles(page: &mut OpenMetricsPage, name: &str, help: &str, values_ns: &[(&str, u64)]) {
    let values_s: Vec<_> = values_ns
        .iter()
        .map(|&(quantile, value_ns)| (quantile, value_ns as f64 / 1e9))
        .collect();
    page.gauges(name, "seconds", help, "quantile", &values_s);
}

/// Interval of checking for a client.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for a client.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::series::Part;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn what_was_observed_is_served() {
        let mut server = MetricsServer::start("127.0.0.1:0".parse().unwrap(), "a").unwrap();
        let progress = Progress {
            sent: 12,
            expected: 12,
            received: 7,
            ..Progress::default()
        };
        server.observe(Phase::Measuring, Duration::ZERO, &progress);
        let mut latency = Latency::new();
        latency.record(1_500_000);
        latency.record(2_500_000);
        let interval = IntervalReport {
            from_s: 0.0,
            part: Part::Measured,
            sent: 1,
            received: 1,
            backlog: 0,
            p50_ns: 1_500_000,
            p99_ns: 2_000_000,
            p99_9_ns: 2_000_000,
            max_ns: 2_000_000,
            lag_p50_ns: 0,
            lag_p99_ns: 0,
        };
        server.interval(&interval, &latency);
        let verdict = crate::outcome::testing::valid();
        server.conclude(&verdict, Duration::ZERO, &AtomicBool::new(false));
        let answer = get(server.address(), "/metrics");
        for part in [
            "HTTP/1.1 200 OK",
            "application/openmetrics-text",
            "loadgen_messages_sent_total{run=\"a\"} 12\n",
            "loadgen_backlog{run=\"a\"} 5\n",
            "loadgen_latency_interval_seconds{run=\"a\",quantile=\"0.5\"} 0.0015\n",
            "loadgen_latency_seconds_bucket{run=\"a\",le=\"0.001\"} 0\n",
            "loadgen_latency_seconds_bucket{run=\"a\",le=\"0.002\"} 1\n",
            "loadgen_latency_seconds_bucket{run=\"a\",le=\"+Inf\"} 2\n",
            "loadgen_latency_seconds_sum{run=\"a\"} 0.00",
            "loadgen_verdict{run=\"a\",verdict=\"valid\"} 1\n",
            "loadgen_verdict{run=\"a\",verdict=\"invalid\"} 0\n",
            "phase=\"measuring\"",
        ] {
            assert!(answer.contains(part), "{part} in {answer}");
        }
        assert!(answer.ends_with("# EOF\n"));
        assert!(get(server.address(), "/other").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_silent_client_does_not_keep_the_server() {
        let server = MetricsServer::start("127.0.0.1:0".parse().unwrap(), "a").unwrap();
        let _silent = TcpStream::connect(server.address()).unwrap();
        let began = std::time::Instant::now();
        drop(server);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
