//! `broker passwd`: creates and changes password files, with the options of mosquitto_passwd.
//!
//! Invariants: a file is replaced as a whole, by one that only its owner may read, or stays as it was; lines of other
//! users and comments are kept. A password is asked for twice and is only in memory; one on the command line is
//! overwritten there before anything else is done.

mod edit;
mod prompt;

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Parser, ValueEnum};

use self::edit::{EditError, EditedLines};
use self::prompt::PromptError;
use crate::auth::password::{self, Algorithm, MakeError, PasswordHash};
use crate::files;
use crate::limits;

/// Create and change password files, in the format of mosquitto_passwd.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    after_help = "Without -b the password is asked for, or read from standard input if that is not a terminal."
)]
pub struct PasswdArgs {
    /// Create the file; one that exists is overwritten
    #[arg(short = 'c', action = ArgAction::SetTrue, conflicts_with_all = ["delete", "update"])]
    create: bool,

    /// Take the password from the command line, where other users of the machine can see it for a moment
    #[arg(short = 'b', action = ArgAction::SetTrue, conflicts_with_all = ["delete", "update"])]
    batch: bool,

    /// Delete the user from the file
    #[arg(short = 'D', action = ArgAction::SetTrue, conflicts_with = "update")]
    delete: bool,

    /// Hash all passwords of a file that has them in plain text; hashed ones are kept
    #[arg(short = 'U', action = ArgAction::SetTrue)]
    update: bool,

    /// The hash algorithm [default: argon2id, with -I sha512-pbkdf2]
    #[arg(short = 'H', value_name = "HASH")]
    hash: Option<Hash>,

    /// Iterations of sha512-pbkdf2 [default: 210000] and scram-sha-256 [default: 10000], which its clients compute too
    #[arg(
        short = 'I',
        value_name = "ITERATIONS",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::PBKDF2_ITERATIONS_MAX))
    )]
    iterations: Option<u32>,

    /// The password file to create or change
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The name of the user
    #[arg(
        value_name = "USER",
        required_unless_present = "update",
        conflicts_with = "update"
    )]
    user: Option<String>,

    /// The password, with -b
    #[arg(value_name = "PASSWORD", requires = "batch", required_if_eq("batch", "true"))]
    password: Option<String>,
}

/// The values of `-H`: how a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// One round of SHA-512, for mosquitto 1.6 and earlier
    Sha512,
    /// PBKDF2, for mosquitto 2.0 and later
    #[value(name = "sha512-pbkdf2")]
    Sha512Pbkdf2,
    /// For mosquitto 2.1 and later
    #[value(name = "argon2id")]
    Argon2id,
    /// For MQTT 5.0 clients that prove the password without sending it (SCRAM-SHA-256); clients may also send it. In
    /// PostgreSQL's format; mosquitto does not read it
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

/// Why a password file was not changed.
#[derive(Debug, thiserror::Error)]
enum PasswdError {
    #[error("{}: cannot be {what}: {source}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    #[error("{}: {error}", path.display())]
    Content { path: PathBuf, error: EditError },
    #[error("the user name must not contain a colon")]
    Colon,
    #[error(
        "the user name must not be empty, begin with #, begin or end with a blank, or contain control characters"
    )]
    UserName,
    #[error("the user name is longer than 65535 bytes")]
    UserTooLong,
    #[error("the password is empty")]
    EmptyPassword,
    #[error(
        "scram-sha-256 needs at least {} iterations, because clients refuse fewer",
        password::SCRAM_ITERATIONS_MIN
    )]
    TooFewIterations,
    #[error("{0}")]
    Prompt(#[from] PromptError),
    #[error("{0}")]
    Hash(#[from] MakeError),
}

/// Runs the command; the exit code is 0 or 1, as that of mosquitto_passwd.
#[must_use]
pub fn run(args: &PasswdArgs) -> ExitCode {
    if let Some(password) = &args.password {
        hide(password);
    }
    match args.act(&mut prompt::ask_twice) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If it cannot be written, there is still the exit code.
            let _failed = writeln!(io::stderr(), "Error: {error}.");
            ExitCode::FAILURE
        }
    }
}

/// Overwrites the password among the arguments of this process.
fn hide(password: &str) {
    if let Err(error) = transport::command_line::hide(password.as_ref()) {
        // If it cannot be written, there is still the exit code.
        let _failed = writeln!(
            io::stderr(),
            "Warning: other users can see the password in the command line ({error}); without -b it is asked for."
        );
    }
}

type Ask<'a> = &'a mut dyn FnMut() -> Result<String, PromptError>;

impl PasswdArgs {
    fn act(&self, ask: Ask<'_>) -> Result<(), PasswdError> {
        let few = self
            .iterations
            .is_some_and(|iterations| iterations < password::SCRAM_ITERATIONS_MIN);
        if few && self.hash() == Hash::ScramSha256 {
            return Err(PasswdError::TooFewIterations);
        }
        if self.update {
            return self.change(|lines| lines.hash_all(|plain| self.hashed(plain)));
        }
        let user = self.user.as_deref().unwrap_or_default();
        check_user(user)?;
        if self.delete {
            return self.change(|lines| lines.delete(user));
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => ask()?,
        };
        if password.is_empty() {
            return Err(PasswdError::EmptyPassword);
        }
        let hash = self.hashed(password.as_bytes())?;
        if self.create {
            let mut lines = EditedLines::default();
            lines.set(user, &hash);
            return replaced(&self.file, &lines.to_text());
        }
        self.change(|lines| {
            lines.set(user, &hash);
            Ok(())
        })
    }

    /// Reads the file, changes it with `edit`, and replaces it by the result.
    fn change(
        &self,
        edit: impl FnOnce(&mut EditedLines) -> Result<(), EditError>,
    ) -> Result<(), PasswdError> {
        let path = &self.file;
        let text = fs::read_to_string(path).map_err(|source| failed(path, "read", source))?;
        let content = |error| PasswdError::Content {
            path: path.clone(),
            error,
        };
        let mut lines = EditedLines::parse(&text).map_err(content)?;
        edit(&mut lines).map_err(content)?;
        replaced(path, &lines.to_text())
    }

    /// The requested hash; if only iterations are given, it is the one for which mosquitto_passwd has them.
    fn hash(&self) -> Hash {
        let default = match self.iterations {
            Some(_) => Hash::Sha512Pbkdf2,
            None => Hash::Argon2id,
        };
        self.hash.unwrap_or(default)
    }

    fn hashed(&self, password: &[u8]) -> Result<PasswordHash, MakeError> {
        let default = match self.hash() {
            Hash::ScramSha256 => password::SCRAM_ITERATIONS_DEFAULT,
            _ => password::ITERATIONS_DEFAULT,
        };
        let iterations = self.iterations.unwrap_or(default);
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let algorithm = match self.hash() {
            Hash::Sha512 => Algorithm::Sha512,
            Hash::Sha512Pbkdf2 => Algorithm::Sha512Pbkdf2 { iterations },
            Hash::Argon2id => Algorithm::Argon2id,
            Hash::ScramSha256 => Algorithm::ScramSha256 { iterations },
        };
        PasswordHash::make(password, algorithm)
    }
}

fn check_user(user: &str) -> Result<(), PasswdError> {
    if user.contains(':') {
        return Err(PasswdError::Colon);
    }
    if user.len() > 65_535 {
        return Err(PasswdError::UserTooLong);
    }
    if user.is_empty() || user.starts_with('#') || user.trim() != user || user.contains(char::is_control) {
        return Err(PasswdError::UserName);
    }
    Ok(())
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> PasswdError {
    PasswdError::File {
        path: path.to_owned(),
        what,
        source,
    }
}

fn replaced(path: &Path, text: &str) -> Result<(), PasswdError> {
    files::replace(path, text.as_bytes()).map_err(|source| failed(path, "written", source))
}

#[cfg(test)]
mod tests;
