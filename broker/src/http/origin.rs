//! Who sends a request, and whether the request is allowed.
//!
//! Invariants: lists and actions are only for authenticated operators: by a password of the listener's password file,
//! by a certificate, by the control socket, or by being on this machine if the listener requires nothing. In addition
//! the listener's `acl_file` applies, in which a path is a topic: viewing is reading, changing is writing. A page of
//! another site that runs in an operator's browser may do nothing, even if the browser sends the password.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use transport::websocket::handshake::Page;

use super::answer::ApiAnswer;
use super::client::HttpClient;
use super::clocks::now;
use super::state::ApiState;
use crate::auth::Login;
use crate::in_effect::ListenerInEffect;
use crate::settings::ListenerId;

/// The origin of a request.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The control socket, which only root and the broker's user may open; the user at its other end, if known.
    Control(Option<u32>),
    /// A listener of `http_api`.
    Listener(ListenerOrigin),
}

/// A client of a listener of `http_api`.
#[derive(Clone, Debug)]
pub(super) struct ListenerOrigin {
    pub(super) address: SocketAddr,
    pub(super) listener: ListenerId,
    pub(super) certificate: ClientCertificate,
    /// Whether its password was found to be right, if that had to be computed.
    pub(super) is_proved: Option<bool>,
}

/// The meaning of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// The listener requests none.
    NotAsked,
    /// The client has one.
    Present,
    /// It names the user, who needs no password.
    User(String),
    /// It should name the user, but does not.
    NamesNobody,
}

impl ClientCertificate {
    /// The meaning of the certificate of a client of this listener.
    pub(super) fn of(kind: &ListenerInEffect, client: &HttpClient, address: SocketAddr) -> Self {
        let Some(identity) = kind.identity else {
            return match kind.requires_certificate {
                true => Self::Present,
                false => Self::NotAsked,
            };
        };
        match client.identity(identity) {
            Ok(user) => Self::User(user),
            Err(error) => {
                tracing::warn!("Client {address} of the http_api has no user name: {error}.");
                Self::NamesNobody
            }
        }
    }
}

/// An authenticated operator, for the log and for restricted operations.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// Root or the broker's user, at the control socket; the number of that user, if known.
    AtControlSocket(Option<u32>),
    /// A user of a listener, or a client that it accepts without a user.
    AtListener(Option<String>, SocketAddr),
}

impl Operator {
    /// Whether the operator was authenticated by the operating system.
    pub(super) fn is_at_control_socket(&self) -> bool {
        matches!(self, Self::AtControlSocket(_))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtControlSocket(Some(uid)) => write!(f, "Operator with uid {uid} at the control socket"),
            Self::AtControlSocket(None) => f.write_str("Operator at the control socket"),
            Self::AtListener(Some(user), address) => write!(f, "Operator {user} at {address}"),
            Self::AtListener(None, address) => write!(f, "Operator without a user at {address}"),
        }
    }
}

impl Origin {
    /// The operator of the request, or the answer that refuses it. Without a password file, pages that are not
    /// operations are available to every client that the listener accepts.
    pub(super) fn check(
        &self,
        state: &ApiState,
        page: &Page,
        is_operation: bool,
    ) -> Result<Operator, ApiAnswer> {
        match self {
            Self::Control(uid) => Ok(Operator::AtControlSocket(*uid)),
            Self::Listener(origin) => {
                let checked = origin.check(state, page, is_operation);
                if let Err(refused) = &checked {
                    origin.remember_refusal(state, page, refused);
                }
                checked
            }
        }
    }
}

impl ListenerOrigin {
    /// Whether a password must be computed before the request can be answered.
    pub(super) fn must_compute(&self, state: &ApiState, page: &Page) -> bool {
        self.asks_for_password(state)
            && self.with_login(page, |login| state.authentication.knows(now(), &login)) == Some(None)
    }

    /// Computes whether the password is right.
    pub(super) fn compute(&mut self, state: &ApiState, page: &Page) {
        self.is_proved = self.with_login(page, |login| state.authentication.proves(now(), &login));
    }

    /// Whether the client may send the body of its request.
    pub(super) fn is_let_in(&self, state: &ApiState, page: &Page) -> bool {
        self.check(state, page, true).is_ok()
    }

    /// Records a refusal. A browser that has not asked its operator for the password yet is not a failed login.
    fn remember_refusal(&self, state: &ApiState, page: &Page, refused: &ApiAnswer) {
        let user = self.with_login(page, |login| login.user.to_owned());
        let is_login = refused.is_unauthorized();
        if is_login && page.field("Authorization").is_none() {
            return;
        }
        let reason = if is_login {
            "http_api_login"
        } else {
            "http_api_access"
        };
        let detail = match &user {
            Some(user) => format!("user '{user}', {} {}", page.method, path(page)),
            None => format!("{} {}", page.method, path(page)),
        };
        state.refuse(reason, self.address, Some(&detail));
        let Some(others) = state.refusals_logged.due(now()) else {
            return;
        };
        let what = if is_login {
            "failed to log in"
        } else {
            "was refused"
        };
        let address = self.address;
        tracing::warn!(
            "Client {address} of the http_api {what}: {detail}; {others} others since this was last logged."
        );
    }

    fn check(&self, state: &ApiState, page: &Page, is_operation: bool) -> Result<Operator, ApiAnswer> {
        let reads = page.method == "GET" || page.method == "HEAD";
        if !reads && is_of_another_site(page) {
            return Err(forbidden(
                "the request comes from a page of another site (Origin): open the dashboard under the same \
                host, or send the request without Origin",
            ));
        }
        let user = self.user(state, page)?;
        let is_known = user.is_some() || self.certificate == ClientCertificate::Present;
        let is_here = self.address.ip().is_loopback() && names_this_machine(page);
        if is_operation && !is_known && !is_here {
            return Err(forbidden(
                "lists and actions are available from this machine only, because the listener has no \
                password_file and no require_certificate: configure one of them, or use localhost on this \
                machine",
            ));
        }
        let policy = state.authentication.policy();
        let access = policy.access(self.listener, ACL_CLIENT, user.as_deref());
        let topic = percent_decode_str(path(page)).decode_utf8_lossy();
        match reads {
            true if !access.is_given_to_read(&topic) => Err(forbidden(
                "the acl_file does not let you read this path: it needs a line `topic read PATH` for your user",
            )),
            false if !access.may_write(&topic) => Err(forbidden(
                "the acl_file does not let you write to this path: it needs a line `topic write PATH` for your user",
            )),
            _ => Ok(Operator::AtListener(user, self.address)),
        }
    }

    /// The user of the request; `None` if the listener requires no user.
    fn user(&self, state: &ApiState, page: &Page) -> Result<Option<String>, ApiAnswer> {
        match &self.certificate {
            ClientCertificate::User(user) => return Ok(Some(user.clone())),
            ClientCertificate::NamesNobody => {
                return Err(forbidden(
                    "the certificate does not name a user: see the log for the reason",
                ));
            }
            ClientCertificate::NotAsked | ClientCertificate::Present => {}
        }
        if !self.asks_for_password(state) {
            return Ok(None);
        }
        let is_proved = |login: Login<'_>| {
            let known = self
                .is_proved
                .or_else(|| state.authentication.knows(now(), &login));
            (known == Some(true)).then(|| login.user.to_owned())
        };
        match self.with_login(page, is_proved).flatten() {
            Some(user) => Ok(Some(user)),
            None => Err(ApiAnswer::unauthorized()),
        }
    }

    fn asks_for_password(&self, state: &ApiState) -> bool {
        let names_user = matches!(
            self.certificate,
            ClientCertificate::User(_) | ClientCertificate::NamesNobody
        );
        !names_user && state.authentication.policy().passwords(self.listener).is_some()
    }

    fn with_login<T>(&self, page: &Page, use_it: impl FnOnce(Login<'_>) -> T) -> Option<T> {
        let (user, password) = page.field("Authorization").and_then(basic)?;
        Some(use_it(Login {
            listener: self.listener,
            address: self.address.ip(),
            user: &user,
            password: password.as_bytes(),
        }))
    }
}

/// The value of `%c` in a pattern of the `acl_file`, as in mosquitto.
const ACL_CLIENT: &str = "http-api";

fn path(page: &Page) -> &str {
    page.target.split(['?', '#']).next().unwrap_or_default()
}

fn forbidden(what: &str) -> ApiAnswer {
    ApiAnswer::refused("403 Forbidden", what)
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

/// Whether the request names this machine as its host: another name that resolves to it does not count.
fn names_this_machine(page: &Page) -> bool {
    let host = page.field("Host").unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a browser reports that the request comes from a page of another site.
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
