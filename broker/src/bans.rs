//! Who may not connect: client identifiers, users and addresses that operators have banned, each for a while or for
//! good, and clients that come and go too often.
//!
//! Invariants: where nobody is banned, a shard looks at one flag. A ban whose time is over counts no more, also before
//! it is removed. What is in the file is what operators have banned: it is written whole beside the file and then takes
//! its place. A ban for coming and going ends with the process, as no shard waits for a file.

mod file;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::file::BansFileError;
use crate::limits;

/// Whom a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BanSubject {
    /// The client of this identifier.
    Client(String),
    /// The clients that name this user, or are it by a certificate.
    User(String),
    /// The clients that connect from this address.
    Address(IpAddr),
}

/// How long somebody is banned, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BanTerms {
    /// When it ends, in seconds since 1970; never, if that is not said.
    pub(crate) until_s: Option<u64>,
    /// The reason that the operator gave.
    pub(crate) reason: String,
    /// The client came and went too often: no operator has banned it.
    pub(crate) is_automatic: bool,
}

/// Why somebody is not banned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BanError {
    /// So many are that more would cost too much.
    #[error("{} are banned, and more are not possible: `unban` some", limits::BANS_MAX)]
    TooMany,
    /// It is in effect, and would be forgotten by a restart.
    #[error("it is in effect, but not kept over a restart: {0}")]
    NotKept(#[from] BansFileError),
}

/// All who are banned.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    any: AtomicBool,
    state: Mutex<BTreeMap<BanSubject, BanTerms>>,
    /// The file of `bans_file`.
    path: Option<PathBuf>,
    /// Held while the file is written, so that the newest state is what is in it last.
    writing: Mutex<()>,
}

impl Bans {
    /// Those of a file, if there is one; without it they end with the process.
    ///
    /// # Errors
    /// The file cannot be read, or is none of bans.
    pub(crate) fn load(path: Option<PathBuf>) -> Result<Self, BansFileError> {
        let state = match &path {
            Some(path) => file::read(path)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            any: AtomicBool::new(!state.is_empty()),
            state: Mutex::new(state),
            path,
            writing: Mutex::default(),
        })
    }

    /// Whether anybody is banned.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Whether a client may not connect; `address` is that of its machine, if it came by the network.
    pub(crate) fn has(&self, client: &str, user: Option<&str>, address: Option<IpAddr>) -> bool {
        self.are_any() && {
            let subjects = [
                Some(BanSubject::Client(client.to_owned())),
                user.map(|user| BanSubject::User(user.to_owned())),
                address.map(|address| BanSubject::Address(address.to_canonical())),
            ];
            let (state, now_s) = (self.lock(), now_s());
            let mut subjects = subjects.into_iter().flatten();
            subjects.any(|subject| state.get(&subject).is_some_and(|terms| !terms.are_over(now_s)))
        }
    }

    /// Whether nobody may connect from there.
    #[inline]
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        self.are_any() && {
            let state = self.lock();
            let terms = state.get(&BanSubject::Address(address.to_canonical()));
            terms.is_some_and(|terms| !terms.are_over(now_s()))
        }
    }

    /// Bans somebody, instead of an older ban.
    ///
    /// # Errors
    /// There are too many, or the file cannot be written.
    pub(crate) fn ban(&self, subject: BanSubject, terms: BanTerms) -> Result<(), BanError> {
        self.ban_until_restart(subject, terms)?;
        Ok(self.keep()?)
    }

    /// The same without the file.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn ban_until_restart(&self, subject: BanSubject, terms: BanTerms) -> Result<(), BanError> {
        let mut state = self.lock();
        if state.len() >= limits::BANS_MAX && !state.contains_key(&subject) {
            let now_s = now_s();
            state.retain(|_, terms| !terms.are_over(now_s));
            if state.len() >= limits::BANS_MAX {
                return Err(BanError::TooMany);
            }
        }
        state.insert(canonical(subject), terms);
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Lets somebody in again; whether that one was banned.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn unban(&self, subject: BanSubject) -> Result<bool, BanError> {
        let mut state = self.lock();
        let was_banned = state
            .remove(&canonical(subject))
            .is_some_and(|terms| !terms.are_over(now_s()));
        self.any.store(!state.is_empty(), Ordering::Release);
        drop(state);
        self.keep()?;
        Ok(was_banned)
    }

    /// Those that are in effect, behind one of them or from the first one on.
    pub(crate) fn list(&self, behind: usize, count: usize) -> Vec<(BanSubject, BanTerms)> {
        let mut state = self.lock();
        let now_s = now_s();
        state.retain(|_, terms| !terms.are_over(now_s));
        self.any.store(!state.is_empty(), Ordering::Release);
        let page = state.iter().skip(behind).take(count);
        page.map(|(subject, terms)| (subject.clone(), terms.clone()))
            .collect()
    }

    /// Writes the file, if there is one.
    fn keep(&self) -> Result<(), BansFileError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.lock().clone();
        let now_s = now_s();
        let kept = state
            .iter()
            .filter(|(_, terms)| !terms.is_automatic && !terms.are_over(now_s));
        file::write(path, kept)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BanSubject, BanTerms>> {
        // Whoever panicked with it left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BanTerms {
    fn are_over(&self, now_s: u64) -> bool {
        self.until_s.is_some_and(|until_s| until_s <= now_s)
    }
}

fn canonical(subject: BanSubject) -> BanSubject {
    match subject {
        BanSubject::Address(address) => BanSubject::Address(address.to_canonical()),
        other => other,
    }
}

/// The time in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_good() -> BanTerms {
        BanTerms {
            until_s: None,
            reason: "noise".to_owned(),
            is_automatic: false,
        }
    }

    fn until(until_s: u64) -> BanTerms {
        BanTerms {
            until_s: Some(until_s),
            ..for_good()
        }
    }

    #[test]
    fn a_ban_is_of_its_subject_and_ends() {
        let bans = Bans::default();
        assert!(!bans.are_any() && !bans.has("c", Some("u"), None));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        bans.ban(BanSubject::Client("c".to_owned()), for_good()).unwrap();
        bans.ban(BanSubject::User("u".to_owned()), until(now_s() + 1000))
            .unwrap();
        bans.ban(BanSubject::Address(mapped), for_good()).unwrap();
        assert!(bans.has("c", None, None) && bans.has("d", Some("u"), None));
        assert!(bans.has("d", None, Some(address)) && bans.has_address(mapped));
        assert!(!bans.has("u", Some("c"), Some("192.0.2.2".parse().unwrap())));
        assert_eq!(bans.list(0, 10).len(), 3);
        assert_eq!(bans.list(1, 1).len(), 1);
        bans.ban(BanSubject::User("u".to_owned()), until(now_s()))
            .unwrap();
        assert!(!bans.has("d", Some("u"), None), "its time is over");
        assert_eq!(bans.list(0, 10).len(), 2);
        assert!(bans.unban(BanSubject::Client("c".to_owned())).unwrap());
        assert!(!bans.unban(BanSubject::Client("c".to_owned())).unwrap());
        assert!(bans.unban(BanSubject::Address(address)).unwrap());
        assert!(!bans.are_any());
    }

    #[test]
    fn bans_of_operators_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bans");
        let load = || Bans::load(Some(path.clone()));
        let bans = load().unwrap();
        let client = BanSubject::Client("a \"b\"".to_owned());
        bans.ban(client.clone(), until(now_s() + 1000)).unwrap();
        bans.ban(BanSubject::Address("::1".parse().unwrap()), for_good())
            .unwrap();
        bans.ban(BanSubject::User("over".to_owned()), until(1)).unwrap();
        let automatic = BanTerms {
            is_automatic: true,
            ..for_good()
        };
        bans.ban_until_restart(BanSubject::Client("f".to_owned()), automatic)
            .unwrap();
        bans.unban(BanSubject::User("nobody".to_owned())).unwrap();
        let again = load().unwrap();
        assert!(again.has("a \"b\"", None, None) && again.has_address("::1".parse().unwrap()));
        assert!(!again.has("f", Some("over"), None));
        assert_eq!(again.list(0, 10).len(), 2);
        std::fs::write(&path, "[]").unwrap();
        assert!(load().is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(bans.ban(client, for_good()), Err(BanError::NotKept(_))));
        assert!(bans.has("a \"b\"", None, None), "it is in effect all the same");
    }
}
