//! The conclusion of a generator: its exit code, the verdict of its outcome, and its output.
//!
//! Invariants: none.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use serde::Deserialize;

use crate::measure::latency::Summary;
use crate::outcome::Outcome;
use crate::outcome::validity::{LimitedBy, Verdict};

/// The fields that outcomes of every kind of load have.
#[derive(Deserialize)]
struct Concluded {
    verdict: Verdict,
}

/// The conclusion of one run.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The exit code, or 128 and the signal that ended it; -1 if it did not end in time.
    pub exit_code: i32,
    /// The outcome of a load of messages, from this generator.
    pub(super) outcome: Option<Box<Outcome>>,
    /// The verdict of a load of messages or of connections, from this generator.
    pub(super) verdict: Option<Verdict>,
    /// The last line that it wrote.
    pub(super) last_line: String,
}

/// The value of [`Answer::exit_code`] if the generator was ended because its time was over.
pub(super) const NOT_IN_TIME: i32 = -1;

fn ended_with(status: ExitStatus) -> Option<i32> {
    status.code().or(status.signal().map(|signal| 128 + signal))
}

impl Answer {
    /// Reads the results of a run.
    pub(super) fn read(status: Option<ExitStatus>, outcome: &Path, mut output: File) -> Answer {
        let text = std::fs::read_to_string(outcome).unwrap_or_default();
        let mut written = Vec::new();
        // An unreadable output counts as empty.
        let _ = output.rewind().and_then(|()| output.read_to_end(&mut written));
        let written = String::from_utf8_lossy(&written).into_owned();
        let last_line = written.lines().rev().map(str::trim).find(|line| !line.is_empty());
        Answer {
            exit_code: status.and_then(ended_with).unwrap_or(NOT_IN_TIME),
            outcome: serde_json::from_str(&text).ok(),
            verdict: serde_json::from_str(&text)
                .ok()
                .map(|Concluded { verdict }| verdict),
            last_line: last_line.unwrap_or_default().to_owned(),
        }
    }

    /// Whether a finding contains these words.
    pub(super) fn found(&self, words: &str) -> bool {
        self.findings().iter().any(|text| text.contains(words))
    }

    /// A figure of the latency, in ns; NaN if there is none.
    pub(super) fn latency_ns(&self, figure: impl Fn(&Summary) -> u64) -> f64 {
        let latency = self.outcome.as_ref().and_then(|outcome| outcome.latency.as_ref());
        latency.map_or(f64::NAN, |latency| figure(latency) as f64)
    }

    /// The p99 of the time from the arrival in the kernel to the read, in ns; NaN if there is none.
    pub(super) fn read_delay_p99_ns(&self) -> f64 {
        let delay = self
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.read_delay.as_ref());
        delay.map_or(f64::NAN, |delay| delay.p99_ns as f64)
    }

    /// Percentage of the messages that never arrived; NaN without an outcome.
    pub(super) fn never_came_percent(&self) -> f64 {
        let outcome = self.outcome.as_ref();
        let never_came = outcome.and_then(|outcome| outcome.never_came.as_ref());
        never_came.map_or(f64::NAN, |never_came| never_came.percent)
    }

    /// Whether the run was limited by that.
    pub(super) fn is_limited_by(&self, limit: LimitedBy) -> bool {
        let verdict = self.verdict.as_ref();
        verdict.is_some_and(|verdict| verdict.limited_by == limit)
    }

    fn findings(&self) -> Vec<&str> {
        let findings = self.verdict.iter().flat_map(|verdict| &verdict.findings);
        findings.map(|finding| finding.text.as_str()).collect()
    }

    /// A text of one or two lines: exit code, percentiles, findings.
    pub(super) fn text(&self) -> String {
        let figures = match self.latency_ns(|latency| latency.p50_ns) / 1e6 {
            p50 if p50.is_nan() => String::new(),
            p50 => {
                let p99 = self.latency_ns(|latency| latency.p99_ns) / 1e6;
                format!(", p50 {p50:.3} ms, p99 {p99:.3} ms")
            }
        };
        let text = if self.verdict.is_none() {
            self.last_line.clone()
        } else {
            self.findings().join("; ")
        };
        format!("exit {}{figures}; {text}", self.exit_code)
    }
}
