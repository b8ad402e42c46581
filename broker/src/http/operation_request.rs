//! A request for an operation, taken apart: its path, its query and its body.
//!
//! Invariants: what is wrong is said in one sentence that begins with the name of what is wrong.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use crate::limits;
use crate::logic::operator::ListPlace;

/// A request for an operation, as it is looked at.
pub(super) struct OperationRequest<'a> {
    pub(super) method: &'a str,
    /// The levels of the path below `/api/v1`.
    pub(super) path: Vec<String>,
    query: Vec<(String, String)>,
    body: &'a [u8],
    /// It came by the control socket.
    pub(super) is_control: bool,
}

impl<'a> OperationRequest<'a> {
    /// Takes a request apart.
    pub(super) fn new(page: &'a Page, body: &'a [u8], is_control: bool) -> Self {
        Self {
            method: if page.method == "HEAD" {
                "GET"
            } else {
                &page.method
            },
            path: levels(page),
            query: query(page),
            body,
            is_control,
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn limit(&self) -> Result<usize, ApiAnswer> {
        let limit = self.value("limit").unwrap_or("100").parse::<usize>().ok();
        limit
            .filter(|limit| (1..=limits::API_PAGE_ENTRIES_MAX).contains(limit))
            .ok_or_else(|| {
                let most = limits::API_PAGE_ENTRIES_MAX;
                ApiAnswer::refused(
                    "400 Bad Request",
                    &format!("limit: must be a number from 1 to {most}"),
                )
            })
    }

    pub(super) fn cursor(&self) -> Result<(u16, ListPlace), ApiAnswer> {
        let Some(cursor) = self.value("cursor") else {
            return Ok((0, ListPlace::default()));
        };
        let parse = || {
            let mut numbers = cursor.split('.');
            let shard = numbers.next()?.parse().ok()?;
            let slot = numbers.next()?.parse().ok()?;
            let entry = numbers.next()?.parse().ok()?;
            numbers
                .next()
                .is_none()
                .then_some((shard, ListPlace { slot, entry }))
        };
        parse().ok_or_else(|| {
            ApiAnswer::refused("400 Bad Request", "cursor: must be the `next` of another page")
        })
    }

    /// The body as a JSON object; an empty one is an empty object.
    pub(super) fn object(&self) -> Result<serde_json::Map<String, Value>, ApiAnswer> {
        if self.body.is_empty() {
            return Ok(serde_json::Map::new());
        }
        serde_json::from_slice(self.body).map_err(|error| {
            ApiAnswer::refused(
                "400 Bad Request",
                &format!("the body must be a JSON object: {error}"),
            )
        })
    }
}

/// The decoded levels of the path below `/api/v1`; none if it is not below that.
pub(super) fn levels(page: &Page) -> Vec<String> {
    let path = page.target.split(['?', '#']).next().unwrap_or_default();
    let Some(below) = path.strip_prefix("/api/v1/") else {
        return Vec::new();
    };
    below.split('/').map(decoded).collect()
}

pub(super) fn query(page: &Page) -> Vec<(String, String)> {
    let query = page
        .target
        .split_once('?')
        .map(|(_, query)| query)
        .unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
