//! Traces of clients, which operators start and stop while the broker runs: the packets of clients are shown in the
//! log or in a file of the trace.
//!
//! Invariants: traces are bounded in number and replaced as a whole; a shard compares one number per turn, and takes
//! the new ones if it has changed.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::log::{LogError, TRACE, TraceFile};
use crate::named_paths::{NamedPath, NamedPaths};

/// Whose packets are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TraceSubject {
    /// The client with this identifier.
    Client(String),
    /// The clients of this authenticated user.
    User(String),
    /// The clients that connect from this address.
    Address(IpAddr),
}

/// A trace that is active.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) number: u64,
    pub(crate) subject: TraceSubject,
    /// The path of its file; `None` if it goes to the log.
    pub(crate) path: Option<PathBuf>,
    file: Option<TraceFile>,
}

/// Why a trace is not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    /// The largest number of traces is active.
    #[error(
        "{} traces are active, and more are not possible: stop one",
        limits::TRACES_MAX
    )]
    TooMany,
    /// Its file cannot be opened.
    #[error("{0}")]
    File(#[from] LogError),
    /// Its file is in use by the configuration.
    #[error("{} {named}: choose another file", .path.display())]
    Named {
        /// The file of the trace.
        path: PathBuf,
        /// How the configuration names it.
        named: NamedPath,
    },
}

impl Trace {
    /// Whether the packets of a client are shown.
    pub(crate) fn is_of(&self, client: &str, user: Option<&str>, address: IpAddr) -> bool {
        match &self.subject {
            TraceSubject::Client(traced) => traced == client,
            TraceSubject::User(traced) => user == Some(traced.as_str()),
            TraceSubject::Address(traced) => *traced == address,
        }
    }

    /// Whether the packets of a client may be shown, regardless of its address.
    pub(crate) fn may_be_of(&self, client: &str, user: Option<&str>) -> bool {
        match &self.subject {
            TraceSubject::Client(traced) => traced == client,
            TraceSubject::User(traced) => user == Some(traced.as_str()),
            TraceSubject::Address(_) => true,
        }
    }

    /// Whether it applies to clients that connect from an address.
    pub(crate) fn is_of_address(&self) -> bool {
        matches!(self.subject, TraceSubject::Address(_))
    }

    /// Writes a line to the destination of the trace.
    pub(crate) fn show(&self, text: fmt::Arguments<'_>) {
        match &self.file {
            Some(file) => file.write(text),
            None => tracing::info!(target: TRACE, "Trace {}: {text}", self.number),
        }
    }
}

/// The traces of a broker.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// How often they have changed.
    changes: AtomicU64,
    state: Mutex<TraceState>,
}

#[derive(Debug, Default)]
struct TraceState {
    last_number: u64,
    traces: Vec<Arc<Trace>>,
}

impl Traces {
    /// Starts a trace; returns its number.
    ///
    /// # Errors
    /// There are too many, or its file belongs to the configuration or cannot be opened.
    pub(crate) fn start(
        &self,
        subject: TraceSubject,
        path: Option<&Path>,
        named: &NamedPaths,
    ) -> Result<u64, TraceError> {
        // Shards wait for the lock, so no file is opened while it is held.
        let file = path.map(|path| open(path, named)).transpose()?;
        let mut state = self.lock();
        if state.traces.len() >= limits::TRACES_MAX {
            return Err(TraceError::TooMany);
        }
        state.last_number += 1;
        let number = state.last_number;
        state.traces.push(Arc::new(Trace {
            number,
            subject,
            path: path.map(Path::to_owned),
            file,
        }));
        self.changes.fetch_add(1, Ordering::Release);
        Ok(number)
    }

    /// Reopens the files of traces, because they may have been moved away; returns the number of each, and its result.
    pub(crate) fn reopen(&self, named: &NamedPaths) -> Vec<(u64, Result<(), TraceError>)> {
        let all = self.all();
        let files = all
            .iter()
            .filter_map(|trace| Some((trace.number, trace.file.as_ref()?, trace.path.as_ref()?)));
        files
            .map(|(number, file, path)| {
                let reopened = check(path, named).and_then(|()| Ok(file.reopen(path)?));
                (number, reopened)
            })
            .collect()
    }

    /// Stops a trace; returns whether it was active.
    pub(crate) fn stop(&self, number: u64) -> bool {
        let mut state = self.lock();
        let before = state.traces.len();
        state.traces.retain(|trace| trace.number != number);
        self.changes.fetch_add(1, Ordering::Release);
        state.traces.len() < before
    }

    /// The traces that are active.
    pub(crate) fn all(&self) -> Vec<Arc<Trace>> {
        self.lock().traces.clone()
    }

    /// How often they have changed.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, TraceState> {
        // The state is consistent even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path, named: &NamedPaths) -> Result<TraceFile, TraceError> {
    check(path, named)?;
    Ok(TraceFile::open(path)?)
}

/// An empty file of the configuration looks like one for a trace.
fn check(path: &Path, named: &NamedPaths) -> Result<(), TraceError> {
    match named.naming(path) {
        Some(named) => Err(TraceError::Named {
            path: path.to_owned(),
            named,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_bounded_and_end() {
        let traces = Traces::default();
        let named = NamedPaths::default();
        let start = || traces.start(TraceSubject::User("u".to_owned()), None, &named);
        let numbers: Vec<_> = (0..limits::TRACES_MAX).map(|_| start().unwrap()).collect();
        assert!(matches!(start(), Err(TraceError::TooMany)));
        let changes = traces.changes();
        assert!(traces.stop(numbers[3]) && !traces.stop(numbers[3]));
        assert!(traces.changes() > changes);
        assert!(!traces.all().iter().any(|trace| trace.number == numbers[3]));
        let missing = traces.start(
            TraceSubject::Client("c".to_owned()),
            Some(Path::new("/nonexistent/x")),
            &named,
        );
        assert!(matches!(missing, Err(TraceError::File(_))));
    }

    #[test]
    fn a_trace_is_of_its_subject_alone() {
        let of = |subject| {
            let traces = Traces::default();
            traces.start(subject, None, &NamedPaths::default()).unwrap();
            let trace = Arc::clone(&traces.all()[0]);
            move |client: &str, user: Option<&str>, address: &str| {
                trace.is_of(client, user, address.parse().unwrap())
            }
        };
        let client = of(TraceSubject::Client("c".to_owned()));
        assert!(client("c", None, "::1") && !client("d", Some("c"), "::1"));
        let user = of(TraceSubject::User("u".to_owned()));
        assert!(user("c", Some("u"), "::1") && !user("u", None, "::1"));
        let address = of(TraceSubject::Address("10.0.0.1".parse().unwrap()));
        assert!(address("c", None, "10.0.0.1") && !address("c", None, "10.0.0.2"));
    }
}
