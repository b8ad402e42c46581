//! The lines of a password file, for changes to some of them.
//!
//! Invariants: comments and the order of the lines are kept.

use crate::auth::password::{MakeError, PasswordHash};

/// The lines of a password file, in their order.
#[derive(Debug, Default)]
pub(super) struct EditedLines(Vec<EditedLine>);

#[derive(Debug)]
enum EditedLine {
    /// A comment or an empty line.
    Other(String),
    User {
        name: String,
        rest: String,
    },
}

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    /// As in mosquitto_passwd: a file that is not a password file is not changed.
    #[error("line {0} is not user:password, the file is not changed")]
    Corrupt(usize),
    #[error("the user {0} is not in it")]
    NoSuchUser(String),
    #[error("{0}")]
    Hash(#[from] MakeError),
}

impl EditedLines {
    pub(super) fn parse(text: &str) -> Result<Self, EditError> {
        let read = |(index, line): (usize, &str)| match line.trim() {
            trimmed if trimmed.is_empty() || trimmed.starts_with('#') => {
                Ok(EditedLine::Other(line.to_owned()))
            }
            trimmed => match trimmed.split_once(':') {
                Some((name, rest)) if !name.trim().is_empty() => Ok(EditedLine::User {
                    name: name.trim().to_owned(),
                    rest: rest.trim().to_owned(),
                }),
                _ => Err(EditError::Corrupt(index + 1)),
            },
        };
        text.lines()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn to_text(&self) -> String {
        let line = |line: &EditedLine| match line {
            EditedLine::Other(text) => format!("{text}\n"),
            EditedLine::User { name, rest } => format!("{name}:{rest}\n"),
        };
        self.0.iter().map(line).collect()
    }

    /// Adds the user, or changes its password.
    pub(super) fn set(&mut self, user: &str, hash: &PasswordHash) {
        let new = hash.to_string();
        let known = self.0.iter_mut().find_map(|line| match line {
            EditedLine::User { name, rest } if name == user => Some(rest),
            _ => None,
        });
        match known {
            Some(rest) => *rest = new,
            None => self.0.push(EditedLine::User {
                name: user.to_owned(),
                rest: new,
            }),
        }
    }

    pub(super) fn delete(&mut self, user: &str) -> Result<(), EditError> {
        let before = self.0.len();
        self.0
            .retain(|line| !matches!(line, EditedLine::User { name, .. } if name == user));
        if self.0.len() == before {
            Err(EditError::NoSuchUser(user.to_owned()))
        } else {
            Ok(())
        }
    }

    /// Hashes the passwords that are not hashed yet.
    pub(super) fn hash_all(
        &mut self,
        hash: impl Fn(&[u8]) -> Result<PasswordHash, MakeError>,
    ) -> Result<(), EditError> {
        for line in &mut self.0 {
            if let EditedLine::User { rest, .. } = line
                && PasswordHash::parse(rest).is_err()
            {
                *rest = hash(rest.as_bytes())?.to_string();
            }
        }
        Ok(())
    }
}
