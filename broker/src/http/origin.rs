//! Who asks, and whether he may.
//!
//! Invariants: lists and actions are for those alone who are known: by a password of the listener's password file, by a
//! certificate, by the control socket, or by being on this machine where the listener asks for nothing. A page of
//! another site that runs in an operator's browser may do nothing, also if the browser sends the password.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use transport::clock::monotonic_ns;
use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use super::state::ApiState;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// The control socket, which only root and the broker's user may open.
    Control,
    /// A listener of `http_api`.
    Listener {
        address: SocketAddr,
        listener: ListenerId,
        /// The listener lets only those in who have a certificate.
        has_certificate: bool,
    },
}

impl Origin {
    /// Whether the request is let in, or the answer that refuses it. Without a password file what is no operation is
    /// for everybody whom the listener lets in.
    pub(super) fn check(&self, state: &ApiState, page: &Page, is_operation: bool) -> Result<(), ApiAnswer> {
        let Self::Listener {
            address,
            listener,
            has_certificate,
        } = *self
        else {
            return Ok(());
        };
        if page.method != "GET" && page.method != "HEAD" && is_of_another_site(page) {
            return Err(ApiAnswer::refused(
                "403 Forbidden",
                "the request is of a page of another site",
            ));
        }
        let has_passwords = state.authentication.policy().passwords(listener).is_some();
        if has_passwords {
            return match is_proved(state, page, listener, address.ip()) {
                true => Ok(()),
                false => Err(ApiAnswer::unauthorized()),
            };
        }
        if has_certificate || !is_operation || address.ip().is_loopback() && names_this_machine(page) {
            return Ok(());
        }
        Err(ApiAnswer::refused(
            "403 Forbidden",
            "lists and actions are for this machine alone, as the listener has no password_file and no \
             require_certificate",
        ))
    }
}

/// Whether the request has the name and the password of a user of the listener.
fn is_proved(state: &ApiState, page: &Page, listener: ListenerId, address: IpAddr) -> bool {
    let Some((user, password)) = page.field("Authorization").and_then(basic) else {
        return false;
    };
    let now = Timestamp(monotonic_ns());
    state
        .authentication
        .proves(now, listener, address, &user, password.as_bytes())
}

/// User and password of the scheme Basic (RFC 7617).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether the request names this machine as its host: a name of somebody's own that leads here does not count.
fn names_this_machine(page: &Page) -> bool {
    let host = page.field("Host").unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a browser says that the request is of a page of another site.
fn is_of_another_site(page: &Page) -> bool {
    let (origin, host) = (page.field("Origin"), page.field("Host").unwrap_or_default());
    origin.is_some_and(|origin| origin.split_once("://").map(|(_, name)| name) != Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fields: &[(&str, &str)]) -> Page {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Page {
            method: "POST".to_owned(),
            target: "/".to_owned(),
            fields: fields.collect(),
            header_bytes: 0,
        }
    }

    #[test]
    fn names_of_this_machine() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "LocalHost",
        ] {
            assert!(names_this_machine(&page(&[("Host", host)])), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "10.0.0.1:80",
            "[fe80::1]",
            "[::1",
        ] {
            assert_eq!(
                names_this_machine(&page(&[("Host", host)])),
                host == "[::1",
                "{host}"
            );
        }
        assert!(!names_this_machine(&page(&[])));
    }

    #[test]
    fn pages_of_other_sites() {
        let of = |origin| is_of_another_site(&page(&[("Host", "localhost:8080"), ("Origin", origin)]));
        assert!(!of("http://localhost:8080"));
        assert!(of("http://localhost") && of("https://example.org") && of("null"));
        assert!(!is_of_another_site(&page(&[("Host", "localhost")])), "no browser");
    }

    #[test]
    fn the_scheme_basic() {
        let user = |value: &str| basic(value);
        assert_eq!(user("Basic YTpiOmM="), Some(("a".to_owned(), "b:c".to_owned())));
        for wrong in ["", "Basic", "Bearer YTpi", "Basic YWI=", "Basic !!"] {
            assert_eq!(user(wrong), None, "{wrong}");
        }
    }
}
