//! Clients that use another protocol on an `http_api` listener.
//!
//! Invariants: none.

/// The protocol of a client that does not use HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHttp {
    /// It has sent a CONNECT.
    Mqtt,
    /// It has begun a TLS handshake, on a listener without TLS.
    Tls,
    /// Neither of the two.
    Other,
}

impl NoHttp {
    /// The protocol with these first bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x10, ..] => Self::Mqtt,
            [0x16, 3, ..] | [0x16] => Self::Tls,
            _ => Self::Other,
        }
    }

    /// What is wrong, and what to do.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Mqtt => {
                "it speaks MQTT, but the listener has `protocol http_api`; fix: connect it to a listener \
                with `protocol mqtt`"
            }
            Self::Tls => {
                "it begins TLS, but the listener has none; fix: use http://, or give the listener certfile \
                and keyfile"
            }
            Self::Other => {
                "it does not speak HTTP, but the listener has `protocol http_api`; fix: use HTTP/1.1"
            }
        }
    }
}
