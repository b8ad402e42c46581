//! What a generator concluded: its exit code, the verdict of its outcome, and what it wrote.
//!
//! Invariants: none.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::ExitStatus;

use serde_json::Value;

/// The conclusion of one run.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The exit code; -1 where there is none.
    pub exit_code: i32,
    /// The outcome as JSON, of our own generator.
    pub outcome: Value,
    /// The last line that it wrote.
    pub(super) last_line: String,
}

impl Answer {
    /// Reads what a run has left.
    pub(super) fn read(status: Option<ExitStatus>, outcome: &Path, mut output: File) -> Answer {
        let text = std::fs::read_to_string(outcome).unwrap_or_default();
        let mut written = Vec::new();
        // What cannot be read is nothing said.
        let _ = output.rewind().and_then(|()| output.read_to_end(&mut written));
        let written = String::from_utf8_lossy(&written).into_owned();
        let last_line = written.lines().rev().map(str::trim).find(|line| !line.is_empty());
        Answer {
            exit_code: status.and_then(|status| status.code()).unwrap_or(-1),
            outcome: serde_json::from_str(&text).unwrap_or_default(),
            last_line: last_line.unwrap_or_default().to_owned(),
        }
    }

    /// Whether a finding has these words.
    pub(super) fn found(&self, words: &str) -> bool {
        self.findings().iter().any(|text| text.contains(words))
    }

    /// A figure of the outcome; not a number where there is none.
    pub(super) fn figure(&self, pointer: &str) -> f64 {
        let value = self.outcome.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or(f64::NAN)
    }

    /// A text of the outcome.
    pub(super) fn word(&self, pointer: &str) -> &str {
        let value = self.outcome.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    }

    fn findings(&self) -> Vec<&str> {
        let findings = self
            .outcome
            .pointer("/verdict/findings")
            .and_then(Value::as_array);
        findings.map_or(Vec::new(), |findings| {
            findings
                .iter()
                .filter_map(|finding| finding.get("text")?.as_str())
                .collect()
        })
    }

    /// In a line or two: exit code, percentiles, findings.
    pub(super) fn text(&self) -> String {
        let ms = |pointer: &str| self.figure(pointer) / 1e6;
        let figures = match ms("/latency/p50_ns") {
            p50 if p50.is_nan() => String::new(),
            p50 => format!(", p50 {p50:.3} ms, p99 {:.3} ms", ms("/latency/p99_ns")),
        };
        let text = if self.outcome.is_null() {
            self.last_line.clone()
        } else {
            self.findings().join("; ")
        };
        format!("exit {}{figures}; {text}", self.exit_code)
    }
}
