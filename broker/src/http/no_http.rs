//! Those who speak something else to a listener of `http_api`.
//!
//! Invariants: none.

/// What somebody speaks who does not speak HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHttp {
    /// It has sent a CONNECT.
    Mqtt,
    /// It has begun a TLS handshake, on a listener without TLS.
    Tls,
    /// It is neither of both.
    Other,
}

impl NoHttp {
    /// What somebody speaks whose first bytes are these.
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
                "it speaks MQTT, and the listener has `protocol http_api`; fix: connect it to a listener with \
                 `protocol mqtt`"
            }
            Self::Tls => {
                "it begins TLS, and the listener has none; fix: ask by http://, or give the listener certfile and \
                 keyfile"
            }
            Self::Other => {
                "it does not speak HTTP, and the listener has `protocol http_api`; fix: ask by HTTP/1.1"
            }
        }
    }
}
