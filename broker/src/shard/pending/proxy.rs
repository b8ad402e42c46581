//! The PROXY protocol: a header in which a load balancer describes the client, before the client's own bytes.
//!
//! Invariants: a header is read once, first, and only in the version that the listener expects. At most
//! [`limits::PROXY_HEADER_BYTES_MAX`] bytes of an incomplete header are kept. A listener that expects a header accepts
//! nothing without it, so a client cannot avoid the load balancer's checks by omitting it.

use std::net::SocketAddr;

use ppp::{PartialResult as _, v1, v2};
use transport::tls;

use crate::config::ProxyProtocol;
use crate::limits;

/// A load balancer's description of a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ProxyHeader {
    /// The client's address; `None` if the load balancer connects for itself.
    pub(super) address: Option<SocketAddr>,
    /// Whether the client connected over TLS.
    pub(super) tls: bool,
    /// The user that the client's certificate names.
    pub(super) identity: Option<Box<str>>,
}

/// The result of parsing the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Incomplete,
    /// The header is complete, and this many bytes long.
    Whole(ProxyHeader, usize),
    Refused(&'static str),
}

/// The length of the header at the front of `bytes`; `None` as long as it is incomplete.
///
/// # Errors
/// Why the listener does not accept it as a header.
pub fn proxy_header_bytes(bytes: &[u8], wanted: &ProxyProtocol) -> Result<Option<usize>, &'static str> {
    match parse(bytes, wanted) {
        Parsed::Incomplete => Ok(None),
        Parsed::Whole(_, length) => Ok(Some(length)),
        Parsed::Refused(why) => Err(why),
    }
}

/// Reads the header at the front of `bytes`.
pub(super) fn parse(bytes: &[u8], wanted: &ProxyProtocol) -> Parsed {
    let parsed = match wanted.version {
        1 => parse_text(bytes),
        _ => parse_binary(bytes, wanted),
    };
    match parsed {
        Parsed::Incomplete if bytes.len() >= limits::PROXY_HEADER_BYTES_MAX => {
            Parsed::Refused("its PROXY header is too long")
        }
        parsed => parsed,
    }
}

fn parse_text(bytes: &[u8]) -> Parsed {
    // The end of the line is searched for here: what follows it may be anything.
    let line = bytes.get(..bytes.len().min(TEXT_BYTES_MAX)).unwrap_or_default();
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        let begins = bytes.starts_with(TEXT_PREFIX) || TEXT_PREFIX.starts_with(bytes);
        return if begins && bytes.len() < TEXT_BYTES_MAX {
            Parsed::Incomplete
        } else {
            Parsed::Refused(NO_HEADER)
        };
    };
    let length = end + 2;
    let Ok(header) = v1::Header::try_from(line.get(..length).unwrap_or_default()) else {
        return Parsed::Refused(NO_HEADER);
    };
    let address = match header.addresses {
        v1::Addresses::Tcp4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Tcp6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
        v1::Addresses::Unknown => None,
    };
    let header = ProxyHeader {
        address,
        ..ProxyHeader::default()
    };
    Parsed::Whole(header, length)
}

fn parse_binary(bytes: &[u8], wanted: &ProxyProtocol) -> Parsed {
    let parsed = v2::Header::try_from(bytes);
    if parsed.is_incomplete() {
        return Parsed::Incomplete;
    }
    let Ok(header) = parsed else {
        return Parsed::Refused(NO_HEADER);
    };
    if header.len() > limits::PROXY_HEADER_BYTES_MAX {
        return Parsed::Refused("its PROXY header is too long");
    }
    let tls = Tls::of(&header);
    if wanted.require_tls && !tls.used {
        return Parsed::Refused(
            "the load balancer reports that it connected without TLS (proxy_protocol_v2_require_tls)",
        );
    }
    if wanted.require_certificate && !tls.certificate {
        return Parsed::Refused("the load balancer has verified no certificate of it (require_certificate)");
    }
    let address = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
            Some(SocketAddr::from((ip.source_address, ip.source_port)))
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
            Some(SocketAddr::from((ip.source_address, ip.source_port)))
        }
        _ => None,
    };
    let identity = tls.common_name.filter(|_| wanted.identity && tls.certificate);
    let identity = identity.and_then(|name| tls::checked_identity(name).ok());
    let parsed = ProxyHeader {
        address,
        tls: tls.used,
        identity: identity.map(String::into_boxed_str),
    };
    Parsed::Whole(parsed, header.len())
}

/// The field PP2_TYPE_SSL about the client's TLS.
#[derive(Debug, Default)]
struct Tls {
    used: bool,
    /// The client has presented a certificate, and it was verified.
    certificate: bool,
    common_name: Option<String>,
}

impl Tls {
    fn of(header: &v2::Header<'_>) -> Self {
        let is_ssl = |kind| kind == u8::from(v2::Type::SSL);
        let ssl = header.tlvs().map_while(Result::ok).find(|tlv| is_ssl(tlv.kind));
        let Some(ssl) = ssl else { return Self::default() };
        let Some((&[client, v0, v1, v2, v3], rest)) = ssl.value.split_first_chunk::<5>() else {
            return Self::default();
        };
        let verified = u32::from_be_bytes([v0, v1, v2, v3]) == 0;
        let common_name = v2::TypeLengthValues::from(rest)
            .map_while(Result::ok)
            .find(|tlv| tlv.kind == COMMON_NAME)
            .and_then(|tlv| String::from_utf8(tlv.value.into_owned()).ok());
        Self {
            used: client & CLIENT_SSL != 0,
            certificate: client & CLIENT_SSL != 0 && client & CLIENT_CERTIFICATE != 0 && verified,
            common_name,
        }
    }
}

const NO_HEADER: &str = "the listener expects the PROXY protocol (enable_proxy_protocol), but this is not a \
    header of that version";
const TEXT_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1.
const TEXT_BYTES_MAX: usize = 107;
/// PP2_CLIENT_SSL: the client connected over TLS.
const CLIENT_SSL: u8 = 1;
/// PP2_CLIENT_CERT_CONN or PP2_CLIENT_CERT_SESS: it has presented a certificate.
const CLIENT_CERTIFICATE: u8 = 2 | 4;
/// PP2_SUBTYPE_SSL_CN: the Common Name of the certificate.
const COMMON_NAME: u8 = 0x22;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: ProxyProtocol = ProxyProtocol {
        version: 1,
        require_tls: false,
        require_certificate: false,
        identity: false,
    };
    const BINARY: ProxyProtocol = ProxyProtocol { version: 2, ..TEXT };

    fn binary(command: u8, tlvs: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, 0x11]);
        header.extend(u16::try_from(12 + tlvs.len()).unwrap().to_be_bytes());
        header.extend([192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 7, 91]);
        header.extend(tlvs);
        header
    }

    /// PP2_TYPE_SSL with a common name.
    fn ssl(client: u8, verify: u32, name: &str) -> Vec<u8> {
        let mut value = vec![client];
        value.extend(verify.to_be_bytes());
        value.extend([COMMON_NAME, 0, u8::try_from(name.len()).unwrap()]);
        value.extend(name.bytes());
        let mut tlv = vec![0x20, 0, u8::try_from(value.len()).unwrap()];
        tlv.extend(value);
        tlv
    }

    #[test]
    fn a_line_names_the_client() {
        let text = b"PROXY TCP4 192.0.2.1 192.0.2.2 80 1883\r\n\x10rest";
        let Parsed::Whole(header, length) = parse(text, &TEXT) else {
            panic!()
        };
        assert_eq!(header.address, Some("192.0.2.1:80".parse().unwrap()));
        assert_eq!(&text[length..], b"\x10rest");
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 80 1883\r\n";
        assert!(matches!(parse(six, &TEXT), Parsed::Whole(..)));
        assert_eq!(
            parse(b"PROXY UNKNOWN\r\n", &TEXT),
            Parsed::Whole(ProxyHeader::default(), 15)
        );
    }

    #[test]
    fn every_beginning_is_incomplete() {
        let whole = [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 80 1883\r\n".to_vec(), TEXT),
            (binary(1, &ssl(7, 0, "a")), BINARY),
        ];
        for (bytes, wanted) in whole {
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end], &wanted), Parsed::Incomplete, "{end}");
            }
            assert!(matches!(parse(&bytes, &wanted), Parsed::Whole(..)));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
        assert_eq!(parse(connect, &TEXT), Parsed::Refused(NO_HEADER));
        assert_eq!(parse(connect, &BINARY), Parsed::Refused(NO_HEADER));
        assert_eq!(
            parse(&binary(1, &[]), &TEXT),
            Parsed::Refused(NO_HEADER),
            "the other version"
        );
        assert_eq!(parse(b"PROXY UNKNOWN\r\n", &BINARY), Parsed::Refused(NO_HEADER));
        assert_eq!(
            parse(b"PROXY TCP4 x y 1 2\r\n", &TEXT),
            Parsed::Refused(NO_HEADER)
        );
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(parse(&long, &TEXT), Parsed::Refused(NO_HEADER));
        assert!(matches!(
            parse(&binary(1, &[0; 5000]), &BINARY),
            Parsed::Refused(_)
        ));
    }

    #[test]
    fn tls_and_certificates_are_what_the_load_balancer_verified() {
        let strict = ProxyProtocol {
            require_tls: true,
            require_certificate: true,
            identity: true,
            ..BINARY
        };
        let Parsed::Whole(header, _) = parse(&binary(1, &ssl(7, 0, "user")), &strict) else {
            panic!()
        };
        assert_eq!(header.identity.as_deref(), Some("user"));
        assert!(header.tls);
        for tlv in [
            Vec::new(),
            ssl(0, 0, "user"),
            ssl(1, 0, "user"),
            ssl(7, 1, "user"),
            vec![0x20, 0, 1, 7],
        ] {
            assert!(
                matches!(parse(&binary(1, &tlv), &strict), Parsed::Refused(_)),
                "{tlv:?}"
            );
        }
        let Parsed::Whole(header, _) = parse(&binary(1, &ssl(7, 0, "a/#")), &strict) else {
            panic!()
        };
        assert_eq!(header.identity, None, "no name for a user");
    }

    #[test]
    fn a_load_balancer_may_speak_for_itself() {
        assert!(matches!(
            parse(&binary(0, &[]), &BINARY),
            Parsed::Whole(ProxyHeader { address: None, .. }, 28)
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            prefixed in any::<bool>(),
        ) {
            let mut header = if prefixed { b"\r\n\r\n\0\r\nQUIT\n".to_vec() } else { TEXT_PREFIX.to_vec() };
            header.extend(bytes);
            parse(&header, &TEXT);
            parse(&header, &BINARY);
        }
    }
}
