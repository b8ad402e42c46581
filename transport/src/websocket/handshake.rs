//! The upgrade from HTTP to WebSocket: RFC 6455, section 4.2.
//!
//! Invariant: a request is parsed when its header is complete, and no more of it than the given limit is kept; nothing
//! is answered before.

use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::http::Uri;
use tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::http::uri::Authority;

use crate::http::text_response;

/// What a listener requires of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Largest number of bytes of a request's header.
    pub header_bytes_max: usize,
    /// Origins of the pages that may connect, as browsers send them; empty: any.
    pub origins: Vec<String>,
    /// Whether upgrades are ignored, as HTTP allows, so that each request is for a page.
    pub pages_alone: bool,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedRequest {
    /// The header has not arrived completely.
    Incomplete,
    /// An upgrade to MQTT: `answer` is to be sent, and frames start after `length` bytes.
    Upgrade {
        /// The response that agrees to it.
        answer: Vec<u8>,
        /// Length of the request in bytes.
        length: usize,
    },
    /// A complete request for something else.
    Page(Page),
    /// The client is refused: `answer` is to be sent, and nothing else.
    Refused {
        /// The status of the response; empty if it was not HTTP.
        status: &'static str,
        /// The response; empty if it was not HTTP.
        answer: Vec<u8>,
        /// The reason, and what to do.
        why: &'static str,
    },
}

/// A request without an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// `GET`, or any other method.
    pub method: String,
    /// The requested target: percent-encoded, with its query, without the host.
    pub target: String,
    /// The fields of its header, in their order.
    pub fields: Vec<(String, String)>,
    /// Bytes of the request line and the header; a body follows them.
    pub header_bytes: usize,
}

impl Page {
    /// The value of a field of the header, the first if there are several.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Parses the request at the start of `bytes`.
#[must_use]
pub fn parse_request(bytes: &[u8], wanted: &Wanted) -> ParsedRequest {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length > wanted.header_bytes_max => too_long(wanted),
        Ok(httparse::Status::Complete(_)) if !wanted.pages_alone && is_upgrade(&request) => {
            upgrade(bytes, wanted)
        }
        Ok(httparse::Status::Complete(length)) => match page(&request, length) {
            Ok(page) => ParsedRequest::Page(page),
            Err(why) => refused("400 Bad Request", &[], why),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= wanted.header_bytes_max => too_long(wanted),
        Ok(httparse::Status::Partial) => ParsedRequest::Incomplete,
        Err(httparse::Error::TooManyHeaders) => refused(
            TOO_LARGE,
            &[],
            "its HTTP request has more than 100 header fields; fix: send fewer",
        ),
        // Most probably an MQTT client.
        Err(_) if bytes.first().is_some_and(|byte| !byte.is_ascii_graphic()) => ParsedRequest::Refused {
            status: "",
            answer: Vec::new(),
            why: "it does not speak HTTP, and the listener has `protocol websockets`",
        },
        Err(_) => refused(
            "400 Bad Request",
            &[],
            "its HTTP request is malformed; fix: use HTTP/1.1",
        ),
    }
}

fn is_upgrade(request: &httparse::Request<'_, '_>) -> bool {
    let mut fields = request.headers.iter();
    fields.any(|field| field.name.eq_ignore_ascii_case("Upgrade"))
}

/// The request as a page. A target that contains the host is split, as if the host were in a Host field (RFC 9112,
/// 3.2.2).
fn page(request: &httparse::Request<'_, '_>, header_bytes: usize) -> Result<Page, &'static str> {
    let is_older = request.version == Some(0);
    let mut fields: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|field| {
            let value = String::from_utf8_lossy(field.value);
            (field.name.to_owned(), value.into_owned())
        })
        .collect();
    if is_older {
        // HTTP/1.0 has no 100 (RFC 9110, 10.1.1).
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("Expect"));
    }
    let mut target = request.path.unwrap_or_default().to_owned();
    check_host(&fields, is_older)?;
    if !target.starts_with('/') && target.contains("://") {
        let uri: Uri = target
            .parse()
            .map_err(|_| "the target of its HTTP request is malformed; fix: request a path")?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("Host"));
        fields.push(("Host".to_owned(), host));
        target = uri
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    Ok(Page {
        method: request.method.unwrap_or_default().to_owned(),
        target,
        fields,
        header_bytes,
    })
}

/// A request of HTTP/1.1 names its host, and no request names two (RFC 9112, 3.2).
fn check_host(fields: &[(String, String)], is_older: bool) -> Result<(), &'static str> {
    let mut hosts = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Host"));
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if is_older => return Ok(()),
        (None, _) => {
            return Err(
                "its HTTP request has no Host field; fix: send one with the server's name or address",
            );
        }
        (Some(_), Some(_)) => return Err("its HTTP request has several Host fields; fix: send one"),
        (Some((_, host)), None) => host,
    };
    let is_host = |host: &str| !host.contains('@') && host.parse::<Authority>().is_ok();
    match host.is_empty() || is_host(host) {
        true => Ok(()),
        false => Err(
            "the Host field of its HTTP request is malformed; fix: send a name or an address, with or without a port",
        ),
    }
}

fn upgrade(bytes: &[u8], wanted: &Wanted) -> ParsedRequest {
    let Ok(Some((length, request))) = Request::try_parse(bytes) else {
        return refused("400 Bad Request", &[], "its upgrade is malformed");
    };
    let headers = request.headers();
    if !wanted.origins.is_empty() && !is_from(headers.get(ORIGIN), &wanted.origins) {
        return refused(
            "403 Forbidden",
            &[],
            "it comes from another origin (websockets_origin)",
        );
    }
    if headers
        .get("Sec-WebSocket-Version")
        .is_none_or(|version| version != "13")
    {
        return refused(
            "426 Upgrade Required",
            &[("Sec-WebSocket-Version", "13")],
            "it requests a WebSocket version other than 13",
        );
    }
    let mut offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let Some(protocol) = subprotocol(&mut offered) else {
        return refused(
            "400 Bad Request",
            &[],
            "it does not offer the WebSocket subprotocol mqtt",
        );
    };
    let Ok(mut response) = create_response(&request) else {
        return refused("400 Bad Request", &[], "its upgrade is malformed");
    };
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    let mut answer = Vec::new();
    // Writing to a Vec cannot fail.
    let _written = write_response(&mut answer, &response);
    ParsedRequest::Upgrade { answer, length }
}

fn is_from(origin: Option<&HeaderValue>, origins: &[String]) -> bool {
    origin.is_some_and(|origin| origins.iter().any(|allowed| origin == allowed.as_str()))
}

/// `mqtt` [MQTT-6.0.0-4], or the name that MQTT 3.1 clients use.
///
/// [MQTT3-6.0.0-4]
fn subprotocol(offered: &mut dyn Iterator<Item = &HeaderValue>) -> Option<&'static str> {
    let names: Vec<_> = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    ["mqtt", "mqttv3.1"]
        .into_iter()
        .find(|known| names.contains(known))
}

fn too_long(wanted: &Wanted) -> ParsedRequest {
    let why = match wanted.pages_alone {
        true => {
            "the header of its HTTP request is too long; fix: send fewer or shorter fields, or a shorter path"
        }
        false => "the header of its HTTP request is too long (websockets_headers_size)",
    };
    refused(TOO_LARGE, &[], why)
}

fn refused(status: &'static str, fields: &[(&str, &str)], why: &'static str) -> ParsedRequest {
    ParsedRequest::Refused {
        status,
        answer: text_response(status, fields, &format!("{why}\n")),
        why,
    }
}

const TOO_LARGE: &str = "431 Request Header Fields Too Large";
/// Largest number of lines of a request's header.
const HEADERS_MAX: usize = 100;
