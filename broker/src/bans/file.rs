//! The file of `bans_file`: JSON with one object for each ban.
//!
//! Invariants: those of `bans.rs`.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BanSubject, BanTerms};
use crate::files::{read_bounded, replace};
use crate::limits;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BansFileError {
    /// It is there and cannot be read.
    #[error("the bans_file {} cannot be read: {source}; fix: make it readable for the broker's user", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// It is not what a broker has written.
    #[error("the bans_file {} is none: {why}; fix: make it right, or move it away", path.display())]
    Wrong {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// It cannot be written.
    #[error(
        "the bans_file {} cannot be written: {source}; fix: make its folder writable for the broker's user",
        path.display()
    )]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// What the file has.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptBans {
    bans: Vec<KeptBan>,
}

/// A ban as the file has it: of one of the three.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeptBan {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default)]
    reason: String,
}

/// The bans of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<BanSubject, BanTerms>, BansFileError> {
    let text = match read_bounded(path, "bans_file", limits::BANS_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => {
            let path = path.to_owned();
            return Err(BansFileError::Unreadable { path, source });
        }
    };
    let wrong = |why: String| BansFileError::Wrong {
        path: path.to_owned(),
        why,
    };
    let kept: KeptBans = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if kept.bans.len() > limits::BANS_MAX {
        return Err(wrong(format!("it has more than {} bans", limits::BANS_MAX)));
    }
    let bans = kept.bans.into_iter().map(|ban| {
        let terms = BanTerms {
            until_s: ban.until,
            reason: ban.reason,
            is_automatic: false,
        };
        let subject = match (ban.client_id, ban.user, ban.address) {
            (Some(client), None, None) => BanSubject::Client(client),
            (None, Some(user), None) => BanSubject::User(user),
            (None, None, Some(address)) => BanSubject::Address(address.to_canonical()),
            _ => {
                return Err(wrong(
                    "a ban is not of one of client_id, user and address".to_owned(),
                ));
            }
        };
        Ok((subject, terms))
    });
    bans.collect()
}

/// Writes the bans beside the file, which then takes its place.
pub(super) fn write<'a>(
    path: &Path,
    bans: impl Iterator<Item = (&'a BanSubject, &'a BanTerms)>,
) -> Result<(), BansFileError> {
    let bans = bans.map(|(subject, terms)| {
        let mut kept = KeptBan {
            client_id: None,
            user: None,
            address: None,
            until: terms.until_s,
            reason: terms.reason.clone(),
        };
        match subject.clone() {
            BanSubject::Client(client) => kept.client_id = Some(client),
            BanSubject::User(user) => kept.user = Some(user),
            BanSubject::Address(address) => kept.address = Some(address),
        }
        kept
    });
    let kept = KeptBans { bans: bans.collect() };
    let replaced = serde_json::to_vec_pretty(&kept)
        .map_err(io::Error::from)
        .and_then(|text| replace(path, &text));
    replaced.map_err(|source| BansFileError::Unwritable {
        path: path.to_owned(),
        source,
    })
}
