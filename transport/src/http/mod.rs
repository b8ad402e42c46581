//! Writes HTTP/1.1 responses and pages in the OpenMetrics format, for the broker and the load generator.
//!
//! Requests are parsed in [`crate::websocket::handshake`]. No crate among the dependencies writes responses without
//! being a whole server. `open_metrics.rs` writes the pages.
//!
//! Invariants: a response states the length of its body, and that the connection ends after it.

pub mod open_metrics;

/// What precedes the body of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Code and reason, such as `200 OK`.
    pub status: &'a str,
    /// The media type of the body.
    pub content_type: &'a str,
    /// Bytes of the body, even if only the head is sent.
    pub body_bytes: u64,
    /// Further header fields; one named `Connection` replaces `Connection: close`.
    pub fields: &'a [(&'a str, &'a str)],
}

impl ResponseHead<'_> {
    /// The head as it is sent, including its empty line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("HTTP/1.1 {}\r\n", self.status);
        push_field(&mut text, "Content-Type", self.content_type);
        push_field(&mut text, "Content-Length", &self.body_bytes.to_string());
        push_field(&mut text, "X-Content-Type-Options", "nosniff");
        if !self.fields.iter().any(|(name, _)| *name == "Connection") {
            push_field(&mut text, "Connection", "close");
        }
        for (name, value) in self.fields {
            push_field(&mut text, name, value);
        }
        text.push_str("\r\n");
        text
    }
}

/// A whole response whose body is text for people.
#[must_use]
pub fn text_response(status: &str, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let head = ResponseHead {
        status,
        content_type: PLAIN_TEXT,
        body_bytes: body.len() as u64,
        fields,
    };
    let mut response = head.to_text();
    response.push_str(body);
    response.into_bytes()
}

fn push_field(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str(": ");
    text.push_str(value);
    text.push_str("\r\n");
}

/// The media type of text for people.
pub const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_back() {
        let response = text_response("404 Not Found", &[("Allow", "GET, HEAD")], "no\n");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = parsed.parse(&response).unwrap().unwrap();
        assert_eq!((parsed.code, parsed.reason), (Some(404), Some("Not Found")));
        assert_eq!(&response[length..], b"no\n");
        let fields: Vec<_> = parsed
            .headers
            .iter()
            .map(|field| (field.name, std::str::from_utf8(field.value).unwrap()))
            .collect();
        assert_eq!(
            fields,
            [
                ("Content-Type", PLAIN_TEXT),
                ("Content-Length", "3"),
                ("X-Content-Type-Options", "nosniff"),
                ("Connection", "close"),
                ("Allow", "GET, HEAD"),
            ]
        );
    }

    #[test]
    fn a_connection_field_of_the_caller_stands_alone() {
        let response = text_response("426 Upgrade Required", &[("Connection", "close, Upgrade")], "");
        let text = String::from_utf8(response).unwrap();
        assert_eq!(text.matches("Connection:").count(), 1, "{text}");
    }
}
