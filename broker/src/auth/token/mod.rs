//! JSON Web Tokens: a client proves who it is by a token in the password field, signed by whom the operator trusts.
//!
//! `keys.rs` has the keys (JWKS) and where they come from, `claims.rs` what a token says.
//!
//! Invariants: signatures are checked on a thread that is no shard's, and keys are read and fetched on another one.
//! Only algorithms with public keys are taken, and only with a key of their kind: neither `none` nor HMAC ever is. A
//! token without `exp` is refused, and a connection ends with its token. No token is logged.

mod claims;
mod keys;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use mqtt::ReasonCode;
use transport::clock::monotonic_ns;

pub use self::claims::TokenGrant;
use self::keys::{KeySet, KeySource};
use super::enhanced::Refusal;
use super::{Awaited, Verdict};
use crate::files::FileError;
use crate::limits;
use crate::time::Timestamp;

/// The keys of the configuration about tokens, for one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// `jwt_keys`: a file or a URL with a JWKS.
    pub keys: KeyLocation,
    /// `jwt_user_claim`: the claim that names the user.
    pub user_claim: String,
    /// `jwt_acl_claim`: the claim that has the access rules.
    pub acl_claim: String,
    /// `jwt_issuer`: what `iss` must be.
    pub issuer: Option<String>,
    /// `jwt_audience`: what `aud` must be, or have.
    pub audience: Option<String>,
    /// `jwt_leeway`: seconds that clocks may differ.
    pub leeway_s: u32,
    /// `jwt_refresh`: seconds between two looks at the keys.
    pub refresh_s: u32,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// A file of this machine.
    File(PathBuf),
    /// A URL of a server.
    Url {
        /// With `https://`, or `http://`.
        url: String,
        /// `jwt_cafile`: certificate authorities for it; else those of the system.
        ca: Option<PathBuf>,
    },
}

/// Who checks the tokens of the listeners that have the same settings.
#[derive(Debug)]
pub(super) struct TokenUsers {
    settings: TokenSettings,
    keys: Arc<CurrentKeys>,
    /// None until it is started.
    started: OnceLock<Started>,
}

#[derive(Debug)]
struct Started {
    checks: SyncSender<TokenCheck>,
    refresh: SyncSender<()>,
}

/// The keys that hold now.
#[derive(Debug, Default)]
struct CurrentKeys {
    keys: RwLock<Arc<KeySet>>,
    /// Why they could not be read or fetched last, so that it is logged once.
    failure: Mutex<Option<String>>,
}

/// Takes the verdict of a check.
#[derive(Clone)]
pub(super) struct TakeVerdict(pub(super) Arc<VerdictTaker>);

/// What is called with a verdict, on another thread.
type VerdictTaker = dyn Fn(&TokenAsker, Verdict) + Send + Sync;

impl std::fmt::Debug for TakeVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TakeVerdict").finish_non_exhaustive()
    }
}

/// Who waits for a verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenAsker {
    pub(super) shard: u16,
    pub(super) ticket: u64,
}

/// A token that is to be checked.
struct TokenCheck {
    token: Box<[u8]>,
    asker: TokenAsker,
    deadline: Timestamp,
    awaited: Weak<()>,
    answer: TakeVerdict,
}

impl TokenUsers {
    /// Reads the keys, if they are in a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no JWKS with a key that can be used.
    pub(super) fn load(settings: &TokenSettings) -> Result<TokenUsers, FileError> {
        let users = TokenUsers {
            settings: settings.clone(),
            keys: Arc::default(),
            started: OnceLock::new(),
        };
        if let KeyLocation::File(path) = &settings.keys {
            users.keys.set(KeySet::read(path)?);
        }
        Ok(users)
    }

    pub(super) fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// Reads the keys again: at once from a file, soon from a URL.
    ///
    /// # Errors
    /// As [`Self::load`]; the keys of before hold.
    pub(super) fn reload(&self) -> Result<(), FileError> {
        match &self.settings.keys {
            KeyLocation::File(path) => self.keys.set(KeySet::read(path)?),
            KeyLocation::Url { .. } => {
                if let Some(started) = self.started.get() {
                    let _is_asked_already = started.refresh.try_send(());
                }
            }
        }
        Ok(())
    }

    /// Starts the threads, if they do not run.
    pub(super) fn start(&self) {
        self.started.get_or_init(|| {
            let (checks, to_check) = sync_channel(limits::TOKEN_CHECKS_MAX);
            let (refresh, asked) = sync_channel(1);
            let (settings, keys) = (self.settings.clone(), Arc::clone(&self.keys));
            let asks = refresh.clone();
            spawn("tokens", move || check_all(&settings, &keys, &to_check, &asks));
            let (settings, keys) = (self.settings.clone(), Arc::downgrade(&self.keys));
            spawn("token-keys", move || refresh_keys(&settings, &keys, &asked));
            Started { checks, refresh }
        });
    }

    /// Has a token checked; `None` if too many wait.
    pub(super) fn submit(
        &self,
        token: &[u8],
        asker: TokenAsker,
        deadline: Timestamp,
        answer: &TakeVerdict,
    ) -> Option<Awaited> {
        let awaited = Arc::new(());
        let check = TokenCheck {
            token: token.into(),
            asker,
            deadline,
            awaited: Arc::downgrade(&awaited),
            answer: answer.clone(),
        };
        match self.started.get()?.checks.try_send(check) {
            Ok(()) => Some(Awaited(awaited)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

impl CurrentKeys {
    fn get(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, keys: KeySet) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Logs a failure, if it is another one than the last.
    fn note(&self, failure: Option<String>) {
        let mut last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != failure {
            match &failure {
                Some(failure) => tracing::warn!("{failure}; the keys of before hold, if there are any"),
                None => tracing::info!("The keys of tokens are there again."),
            }
            *last = failure;
        }
    }
}

/// Whether a password is meant to be a token: three parts, the first one a JSON object in base64.
pub(super) fn looks_like_token(password: &[u8]) -> bool {
    password.starts_with(b"eyJ") && password.iter().filter(|byte| **byte == b'.').count() == 2
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        // What it was to receive is refused then.
        tracing::error!("A thread for tokens cannot be started: {error}.");
    }
}

fn check_all(
    settings: &TokenSettings,
    keys: &CurrentKeys,
    checks: &Receiver<TokenCheck>,
    refresh: &SyncSender<()>,
) {
    while let Ok(check) = checks.recv() {
        let now = Timestamp(monotonic_ns());
        if check.deadline <= now || check.awaited.strong_count() == 0 {
            continue;
        }
        let verdict = match claims::check(settings, &keys.get(), &check.token, SystemTime::now(), now) {
            Ok(grant) => Verdict::Granted(Arc::new(grant)),
            Err(refused) => {
                if refused == claims::UNKNOWN_KEY {
                    let _is_asked_already = refresh.try_send(());
                }
                Verdict::Failed(Refusal {
                    reason: ReasonCode::BadUserNameOrPassword,
                    why: refused,
                })
            }
        };
        (check.answer.0)(&check.asker, verdict);
    }
}

/// Reads or fetches the keys now and then, and when somebody asks; ends with those who use them.
fn refresh_keys(settings: &TokenSettings, keys: &Weak<CurrentKeys>, asked: &Receiver<()>) {
    let source = KeySource::new(&settings.keys);
    let mut wait = match &settings.keys {
        KeyLocation::File(_) => Duration::from_secs(u64::from(settings.refresh_s)),
        KeyLocation::Url { .. } => Duration::ZERO,
    };
    loop {
        match asked.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => return,
            // A token of a key that nobody knows costs no more than that.
            Ok(()) if !wait.is_zero() => std::thread::sleep(Duration::from_secs(limits::TOKEN_KEYS_PAUSE_S)),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        let Some(keys) = keys.upgrade() else {
            return;
        };
        wait = Duration::from_secs(u64::from(settings.refresh_s));
        match source.get() {
            Ok(found) => {
                keys.set(found);
                keys.note(None);
            }
            Err(failure) => {
                keys.note(Some(failure));
                wait = wait.min(Duration::from_secs(limits::TOKEN_KEYS_RETRY_S));
            }
        }
    }
}

#[cfg(test)]
mod tests;
