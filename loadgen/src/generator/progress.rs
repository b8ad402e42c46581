//! The progress line of a run.
//!
//! Invariant: if standard error is not a terminal, nothing is drawn; a line of text every ten seconds shows that the
//! run is in progress.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::measure::timeline::{Phase, Progress};
use crate::outcome::observer::Observer;
use crate::scenario::Scenario;
use crate::system::output::show_progress;

/// The progress line; a line of text from time to time if standard error is not a terminal.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    connections: u64,
    whole: Duration,
    before: Option<(Duration, u64)>,
    /// When the last line of text was written; `None` on a terminal.
    written_at: Option<Instant>,
}

impl ProgressLine {
    /// A progress line for a run of this scenario.
    pub fn new(scenario: &Scenario) -> ProgressLine {
        let connections = scenario.connections();
        let bar = ProgressBar::new(100);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>10} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        ProgressLine {
            bar,
            connections,
            whole: scenario.warmup + scenario.duration,
            before: None,
            written_at: (!std::io::stderr().is_terminal()).then(Instant::now),
        }
    }

    /// Removes the line from the terminal.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn per_second(&mut self, elapsed: Duration, received: u64) -> f64 {
        let (then, before) = self
            .before
            .replace((elapsed, received))
            .unwrap_or((elapsed, received));
        let seconds = elapsed.saturating_sub(then).as_secs_f64();
        if seconds > 0.0 {
            (received - before) as f64 / seconds
        } else {
            0.0
        }
    }
}

impl Observer for ProgressLine {
    fn observe(&mut self, phase: Phase, elapsed: Duration, progress: &Progress) {
        let (name, share) = match phase {
            Phase::Connecting => (
                "connecting",
                progress.ready as f64 / self.connections.max(1) as f64,
            ),
            Phase::WarmUp => ("warm-up", elapsed.as_secs_f64() / self.whole.as_secs_f64()),
            Phase::Measuring => ("measuring", elapsed.as_secs_f64() / self.whole.as_secs_f64()),
            Phase::Draining => ("draining", 1.0),
        };
        self.bar.set_prefix(name);
        self.bar.set_position((share * 100.0).min(100.0) as u64);
        let message = if phase == Phase::Connecting {
            format!("{} of {}", progress.ready, self.connections)
        } else {
            let delivered_per_s = self.per_second(elapsed, progress.received);
            let behind = progress.expected.saturating_sub(progress.received);
            format!("{delivered_per_s:.0}/s delivered, {behind} under way")
        };
        if self.written_at.is_some_and(|at| at.elapsed() >= LINE_EACH) {
            self.written_at = Some(Instant::now());
            show_progress(&format!("{name}, {:.0} s: {message}", elapsed.as_secs_f64()));
        }
        self.bar.set_message(message);
    }
}

/// Interval between two lines of text without a terminal.
const LINE_EACH: Duration = Duration::from_secs(10);
