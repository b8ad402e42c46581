//! The sentences of a verdict.
//!
//! Invariants: none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Information that casts no doubt on a figure.
    Note,
    /// The figures may be inaccurate.
    Warning,
    /// The run missed its aim.
    Fault,
}

/// One sentence of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Finding {
    /// How severe the finding is.
    pub gravity: Gravity,
    /// What was found, as one sentence.
    pub text: String,
}

/// The sentences of a verdict, in the order in which they are found.
#[derive(Default)]
pub(crate) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, fault: bool, text: String) {
        let gravity = if fault { Gravity::Fault } else { Gravity::Warning };
        self.0.push(Finding { gravity, text });
    }

    pub(crate) fn warn(&mut self, text: String) {
        self.0.push(Finding {
            gravity: Gravity::Warning,
            text,
        });
    }

    pub(crate) fn note(&mut self, text: String) {
        self.0.push(Finding {
            gravity: Gravity::Note,
            text,
        });
    }

    /// The sentences ordered by severity, faults first.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| std::cmp::Reverse(finding.gravity));
        self.0
    }

    pub(crate) fn faults(&self) -> usize {
        self.0
            .iter()
            .filter(|finding| finding.gravity == Gravity::Fault)
            .count()
    }
}
