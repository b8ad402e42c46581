//! Who may connect, and who may read and write which topics.
//!
//! The path of a CONNECT: the accepting shard calls [`Authentication::check`] before the connection moves to the owner
//! of its session, so no session is changed by a client that is refused. The threads of `password_checks.rs` compute
//! what takes long (`password_check.rs` is one check), and the shard fetches the answer with
//! [`Authentication::next_answer`]. The owner then takes the client's [`acl::Access`] from the [`Policy`]. A CONNECT
//! with an Authentication Method uses [`Authentication::begin_exchange`] instead, and is also decided before it moves.
//!
//! The files: `access_file.rs` reads them, `password_file.rs` and `acl/` know what is in them, `policy.rs` has those of
//! all listeners. The checks: `password.rs` knows the hashes (`hash_text.rs` their texts), `back_off.rs` makes who
//! guesses wait, `wrong_answers.rs` has the answers to wrong passwords until their time comes, `enhanced.rs` leads
//! exchanges of AUTH packets, `scram/` is their one method. `token/` has JSON Web Tokens, `login.rs` passwords by HTTP.
//! `dynamic/` has users that commands change, `control.rs` takes the commands.
//!
//! Invariants: a password is neither kept nor logged. The time of the answer to a wrong password does not depend on
//! whether the user exists. A reload replaces or keeps each file as a whole.

mod access_file;
pub mod acl;
mod back_off;
mod control;
pub mod dynamic;
pub mod enhanced;
mod hash_text;
mod login;
pub mod password;
mod password_check;
mod password_checks;
pub mod password_file;
mod policy;
pub mod scram;
pub mod token;
mod wrong_answers;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam::queue::SegQueue;
use mqtt::ReasonCode;
use transport::clock::monotonic_ns;

use self::back_off::BackOff;
pub use self::control::{ControlAnswer, ControlMessage};
use self::enhanced::Refusal;
pub use self::login::Login;
use self::password_check::PasswordCheck;
use self::password_checks::{NotQueued, PasswordChecks};
pub use self::policy::{AccessFiles, Policy};
pub(crate) use self::policy::{KeptFile, create_missing, warn_of_world_readable, world_readable_warnings};
use self::token::{TakeVerdict, TokenAsker, TokenGrant, TokenUsers, looks_like_token};

use crate::limits;
use crate::settings::{ListenerId, Settings};
use crate::time::Timestamp;

/// What is known of a client that wants to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// There was no password to check. Whether the client is accepted depends on its certificate, if that names the
    /// user, or on the listener's `allow_anonymous`.
    #[default]
    Unproved,
    /// The password is right.
    Proved,
    /// The password is a token, which says who the client is.
    Granted(Arc<TokenGrant>),
    /// The client is not let in.
    Refused(ReasonCode),
    /// The exchange of enhanced authentication failed.
    Failed(Refusal),
}

/// What a client sent in CONNECT, and its address.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The listener of the connection.
    pub listener: ListenerId,
    /// The address that the client connects from.
    pub address: IpAddr,
    /// The client identifier, to which a user may be bound; empty if the broker assigns one.
    pub client_identifier: &'a str,
    /// User Name of the CONNECT.
    pub user_name: Option<&'a str>,
    /// Password of the CONNECT.
    pub password: Option<&'a [u8]>,
    /// How long the client waits for the result.
    pub deadline: Timestamp,
}

/// What [`Authentication::check`] comes to.
#[derive(Debug)]
pub enum Check {
    /// There is a result already.
    Decided(Verdict),
    /// A [`CheckOutcome`] with the ticket follows, unless this is dropped.
    Pending(Awaited),
}

/// Exists as long as somebody waits for the answer of a check. An answer for which nobody waits is not computed.
#[derive(Debug)]
pub struct Awaited(#[expect(dead_code, reason = "it is held, and counted by others")] Arc<()>);

/// What a check of a password has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOutcome {
    /// The ticket of the check.
    pub ticket: u64,
    /// The result; `None` if the files were reloaded in the meantime, and the check must be repeated.
    pub verdict: Option<Verdict>,
}

/// Decides which clients are accepted; shared by all shards.
#[derive(Debug)]
pub struct Authentication {
    shared: Arc<AuthenticationState>,
    checks: PasswordChecks,
    token_answer: TakeVerdict,
}

#[derive(Debug)]
struct AuthenticationState {
    policy: RwLock<Arc<Policy>>,
    /// The settings that belong to the policy.
    settings: RwLock<Arc<Settings>>,
    generation: AtomicU64,
    back_off: Arc<BackOff>,
    /// The queue of answers of each shard.
    answers: Vec<SegQueue<CheckOutcome>>,
}

impl Authentication {
    /// Starts with a policy that was made from `files`, one entry for each listener. `wake` is called, on another
    /// thread, with a shard for which there is an answer.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(
        settings: Arc<Settings>,
        files: &[AccessFiles],
        policy: Policy,
        shards: u16,
        wake: impl Fn(u16) + Send + Sync + 'static,
    ) -> std::io::Result<Authentication> {
        let threads = if files.iter().any(|files| files.password_file.is_some()) {
            std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2)
        } else {
            1
        };
        let shared = Arc::new(AuthenticationState {
            settings: RwLock::new(settings),
            generation: AtomicU64::new(policy.generation()),
            policy: RwLock::new(Arc::new(policy)),
            back_off: Arc::default(),
            answers: (0..shards).map(|_| SegQueue::new()).collect(),
        });
        let answering = Arc::clone(&shared);
        let wake = Arc::new(wake);
        let (of_tokens, wakes) = (Arc::clone(&shared), Arc::clone(&wake));
        let token_answer = TakeVerdict(Arc::new(move |asker: &TokenAsker, verdict| {
            of_tokens.put_answer(asker.shard, asker.ticket, Some(verdict));
            wakes(asker.shard);
        }));
        let answer = move |job: PasswordCheck, right: bool| {
            answering.answer(&job, right);
            wake(job.shard);
        };
        let threads = threads.min(limits::PASSWORD_THREADS_MAX);
        let checks = PasswordChecks::start(threads, now, Arc::clone(&shared.back_off), answer)?;
        shared.start_tokens();
        Ok(Authentication {
            shared,
            checks,
            token_answer,
        })
    }

    /// Decides what can be decided at once; otherwise the answer with this ticket comes from [`Self::next_answer`] of
    /// the shard.
    #[must_use]
    pub fn check(&self, now: Timestamp, request: &Credentials<'_>, shard: u16, ticket: u64) -> Check {
        if self.certificate_names_user(request.listener) {
            return Check::Decided(Verdict::Unproved);
        }
        let policy = self.policy();
        if let Some(tokens) = policy.tokens(request.listener) {
            let token = request.password.filter(|password| looks_like_token(password));
            if let Some(token) = token {
                return self.check_token(tokens, token, request, TokenAsker { shard, ticket });
            }
            if policy.passwords(request.listener).is_none()
                && (request.user_name.is_some() || request.password.is_some())
            {
                return Check::Decided(Verdict::Failed(NO_TOKEN));
            }
        }
        let (Some(file), Some(user)) = (policy.passwords(request.listener), request.user_name) else {
            return Check::Decided(Verdict::Unproved);
        };
        let Some(password) = request
            .password
            .filter(|password| password.len() <= limits::PASSWORD_BYTES_MAX)
        else {
            return Check::Decided(Verdict::Refused(ReasonCode::BadUserNameOrPassword));
        };
        let is_refused = !policy.takes_identifier(request.listener, user, request.client_identifier);
        let mut candidate = file.find(user);
        if is_refused {
            candidate = candidate.refused();
        }
        if file.remembers(candidate, password) {
            return Check::Decided(Verdict::Proved);
        }
        let back_off = &self.shared.back_off;
        let claimant = back_off.claimant(request.address, user);
        // A password that is wrong for one file, or with one client identifier, may be right with another.
        let digest = back_off.digest((
            Arc::as_ptr(file) as usize,
            policy.generation(),
            is_refused,
            password,
        ));
        if back_off.knows_wrong(now, claimant, digest) {
            return Check::Decided(Verdict::Refused(ReasonCode::BadUserNameOrPassword));
        }
        let awaited = Arc::new(());
        let check = PasswordCheck {
            file: Arc::clone(file),
            candidate,
            password: password.into(),
            claimant,
            digest,
            asked: now,
            deadline: request.deadline,
            awaited: Arc::downgrade(&awaited),
            has_begun: false,
            shard,
            ticket,
            generation: policy.generation(),
            listener: request.listener,
            user: user.into(),
        };
        match self.checks.submit(now, check) {
            Ok(()) => Check::Pending(Awaited(awaited)),
            Err(NotQueued::Full) => Check::Decided(Verdict::Refused(ReasonCode::ServerBusy)),
            Err(NotQueued::TooManyTries) => {
                Check::Decided(Verdict::Refused(ReasonCode::ConnectionRateExceeded))
            }
        }
    }

    fn check_token(
        &self,
        tokens: &TokenUsers,
        token: &[u8],
        request: &Credentials<'_>,
        asker: TokenAsker,
    ) -> Check {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Check::Decided(Verdict::Failed(TOKEN_TOO_LONG));
        }
        match tokens.submit(token, asker, request.deadline, &self.token_answer) {
            Some(awaited) => Check::Pending(awaited),
            None => Check::Decided(Verdict::Refused(ReasonCode::ServerBusy)),
        }
    }

    /// The next answer for a shard.
    #[must_use]
    pub fn next_answer(&self, shard: u16) -> Option<CheckOutcome> {
        self.shared.answers.get(usize::from(shard))?.pop()
    }

    /// The policy that is in effect.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.shared.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the current policy: another number than before means that there is another policy.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Reads files, one pair for each listener, for [`Self::replace`]. Also returns the files that could not be used,
    /// for which the previous ones stay in effect.
    pub(crate) fn reload(&self, files: &[AccessFiles]) -> (Policy, Vec<KeptFile>) {
        Policy::reload(files, &self.policy())
    }

    /// Puts a policy of [`Self::reload`] into effect, with the settings that belong to it. The caller wakes the
    /// shards.
    pub fn replace(&self, settings: Arc<Settings>, policy: Policy) {
        let shared = &self.shared;
        *shared.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        // Commands may have changed users since the policy was made.
        shared.put(|before| policy.with_dynamic_of_now(before.generation() + 1, None));
        shared.start_tokens();
    }

    fn certificate_names_user(&self, listener: ListenerId) -> bool {
        let settings = self
            .shared
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        settings.listener(listener).certificate_names_user
    }
}

impl AuthenticationState {
    /// Replaces the policy by the result of the function. One call at a time, so that no change is lost.
    fn put(&self, make: impl FnOnce(&Policy) -> Policy) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let made = make(&policy);
        let generation = made.generation();
        *policy = Arc::new(made);
        self.generation.store(generation, Ordering::Release);
    }

    /// Whether what has changed since a check began is not about its user: if commands change users all the time, all
    /// others can still connect.
    fn is_still_so(&self, job: &PasswordCheck) -> bool {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        let passwords = policy.passwords(job.listener);
        policy.is_dynamic(job.listener)
            && passwords.is_some_and(|passwords| passwords.has_same(&job.file, &job.user))
            && !policy.binds(job.listener, &job.user)
    }

    fn answer(&self, job: &PasswordCheck, right: bool) {
        // Under another policy the same password may be right, or wrong.
        let is_of_now = job.generation == self.generation.load(Ordering::Acquire) || self.is_still_so(job);
        let verdict = is_of_now.then_some(match right {
            true => Verdict::Proved,
            false => Verdict::Refused(ReasonCode::BadUserNameOrPassword),
        });
        self.put_answer(job.shard, job.ticket, verdict);
    }

    fn put_answer(&self, shard: u16, ticket: u64, verdict: Option<Verdict>) {
        if let Some(answers) = self.answers.get(usize::from(shard)) {
            answers.push(CheckOutcome { ticket, verdict });
        }
    }

    fn start_tokens(&self) {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        policy.start_tokens();
    }
}

const NO_TOKEN: Refusal = Refusal {
    reason: ReasonCode::BadUserNameOrPassword,
    why: "the password is no JSON Web Token, and this listener takes nothing else",
};
const TOKEN_TOO_LONG: Refusal = Refusal {
    reason: ReasonCode::BadUserNameOrPassword,
    why: "the token is longer than 16384 bytes",
};

fn now() -> Timestamp {
    Timestamp(monotonic_ns())
}

#[cfg(test)]
mod tests;
