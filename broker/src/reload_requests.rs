//! Operators' requests for a reload, and the answers: what was applied, and what was kept and why.
//!
//! Invariants: whoever asks gets the report of a reload that began after the request, and waits for a bounded time.
//! The signal thread reloads, one at a time.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::limits;

/// What a reload has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReloadReport {
    /// What is in effect as it was read.
    pub(crate) taken: Vec<String>,
    /// What stays in effect as it was before.
    pub(crate) kept: Vec<KeptPart>,
    /// Warnings about what was read.
    pub(crate) warnings: Vec<String>,
}

/// A part that a reload has left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptPart {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) needs: Need,
}

/// What is needed to put a kept part into effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A mistake has to be corrected first.
    Correction,
    /// It cannot change while the broker runs.
    Restart,
}

impl Need {
    /// Its name in answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Correction => "correction",
            Self::Restart => "restart",
        }
    }
}

impl ReloadReport {
    /// Records a part that could not be used and stays as it was.
    pub(crate) fn refuse(&mut self, what: String, why: String) {
        let needs = Need::Correction;
        self.kept.push(KeptPart { what, why, needs });
    }

    /// Records a part that has changed but needs a restart.
    pub(crate) fn keep_until_restart(&mut self, what: String, why: &str) {
        let (why, needs) = (why.to_owned(), Need::Restart);
        self.kept.push(KeptPart { what, why, needs });
    }

    /// A sentence about what was refused; `None` if nothing was.
    pub(crate) fn refusal(&self) -> Option<String> {
        let refused = self.kept.iter().filter(|kept| kept.needs == Need::Correction);
        match refused.collect::<Vec<_>>().as_slice() {
            [] => None,
            [kept] => Some(format!("{} stays in effect as it was: {}", kept.what, kept.why)),
            several => {
                let names: Vec<_> = several.iter().map(|kept| kept.what.as_str()).collect();
                let names = names.join(", ");
                Some(format!(
                    "{names} stay in effect as they were: `kept` has the reasons"
                ))
            }
        }
    }
}

/// The requests that wait for a reload.
#[derive(Debug, Default)]
pub(crate) struct ReloadRequests(Mutex<Vec<SyncSender<ReloadReport>>>);

impl ReloadRequests {
    /// Requests a reload, as SIGHUP does, and waits for its report; `None` if that takes too long.
    pub(crate) fn ask(&self) -> Option<ReloadReport> {
        let (report, reported) = sync_channel(1);
        self.waiting().push(report);
        // A process may always signal itself; otherwise there would be no answer.
        kill_process(getpid(), Signal::HUP).ok()?;
        let most = Duration::from_nanos(limits::RELOAD_NS_MAX);
        reported.recv_timeout(most).ok()
    }

    /// The requests so far; to be called before the files are read.
    pub(crate) fn take(&self) -> Vec<SyncSender<ReloadReport>> {
        std::mem::take(&mut *self.waiting())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<SyncSender<ReloadReport>>> {
        // The state is consistent even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refusals_and_restarts_are_not() {
        let mut report = ReloadReport::default();
        report.keep_until_restart("user".to_owned(), "has changed");
        assert_eq!(report.refusal(), None);
        report.refuse(
            "the acl_file of listener 1883".to_owned(),
            "acl:1: wrong".to_owned(),
        );
        assert_eq!(
            report.refusal().unwrap(),
            "the acl_file of listener 1883 stays in effect as it was: acl:1: wrong"
        );
        report.refuse("the TLS of listener 8883".to_owned(), "no key".to_owned());
        assert_eq!(
            report.refusal().unwrap(),
            "the acl_file of listener 1883, the TLS of listener 8883 stay in effect as they were: `kept` has the \
             reasons"
        );
    }
}
