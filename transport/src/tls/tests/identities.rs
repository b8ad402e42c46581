//! The identity of a client from its certificate.

use super::pki::pki;
use super::{Paths, VERSIONS, careless_client, demanding, meet};
use crate::stream::SecureStream;
use crate::tls::{IdentityError, IdentityKind, TlsVersion, client_identity, identity, server_config};

/// File name, subject as `openssl req -subj` takes it.
pub(super) const SUBJECTS: [(&str, &str); 8] = [
    (
        "id_long",
        "/C=DE/ST=Berlin/L=Mitte/O=Fleet,Inc./OU=a;b/CN=sensor-1/emailAddress=a@example.org",
    ),
    ("id_umlaut", "/O=Käse\\+x/CN=Müller"),
    ("id_two", "/DC=org/DC=example/UID=7/CN=first/CN=second"),
    ("id_plus", "/CN=a\\+b"),
    ("id_hash", "/CN=a#"),
    ("id_slash", "/CN=a\\/b"),
    ("id_none", "/O=nobody"),
    ("id_multi", "/O=x/CN=name"),
];

fn identity_of(client: &str, kind: IdentityKind, version: TlsVersion) -> Result<String, IdentityError> {
    let pki = pki().unwrap();
    let paths = Paths::of(pki, "server");
    let with = |rustls_records| {
        let tls = crate::tls::ServerTls {
            rustls_records,
            ..demanding(&paths)
        };
        let server = server_config(&tls).unwrap();
        let met = meet(&server, &careless_client(pki, client, version), "localhost");
        assert_eq!(met.server_error, None);
        client_identity(&met.server, kind)
    };
    let identity = with(false);
    assert_eq!(format!("{identity:?}"), format!("{:?}", with(true)));
    identity
}

#[test]
fn common_names() {
    let Some(_) = pki() else { return };
    for version in VERSIONS {
        for (client, name) in [
            ("id_long", "sensor-1"),
            ("id_umlaut", "Müller"),
            ("id_two", "first"),
            ("old", "old"),
            ("publisher", "publisher"),
        ] {
            assert_eq!(
                identity_of(client, IdentityKind::CommonName, version).as_deref(),
                Ok(name)
            );
        }
    }
}

#[test]
fn subjects_are_written_as_openssl_does() {
    let Some(pki) = pki() else { return };
    for client in [
        "id_long",
        "id_umlaut",
        "id_two",
        "id_plus",
        "id_hash",
        "id_slash",
        "id_none",
        "id_multi",
        "good",
    ] {
        let subject = identity::rfc2253(super::certificate(pki, client).subject()).unwrap();
        let text = pki.openssl_text(&format!("x509 -noout -subject -nameopt RFC2253 -in {client}.crt"));
        assert_eq!(text.trim().strip_prefix("subject=").unwrap().trim(), subject);
    }
    let subject = identity_of("id_two", IdentityKind::Subject, TlsVersion::V1_3);
    assert_eq!(
        subject.as_deref(),
        Ok("CN=second,CN=first,UID=7,DC=example,DC=org")
    );
}

/// V27 of the operators' table.
#[test]
fn v27_names_with_a_meaning_in_topics_are_refused() {
    let Some(_) = pki() else { return };
    for client in ["id_plus", "id_hash", "id_slash"] {
        for kind in [IdentityKind::CommonName, IdentityKind::Subject] {
            let error = identity_of(client, kind, TlsVersion::V1_3).unwrap_err();
            assert!(
                matches!(error, IdentityError::Unusable { .. }),
                "{client}: {error}"
            );
        }
    }
    assert_eq!(
        identity_of("id_none", IdentityKind::CommonName, TlsVersion::V1_2),
        Err(IdentityError::NoName)
    );
}

/// V27: OpenSSL creates no such names, so they are created here.
#[test]
fn v27_names_that_are_no_text_are_refused() {
    use x509_cert::attr::AttributeTypeAndValue;
    use x509_cert::der::{Any, Tag, asn1::ObjectIdentifier, asn1::SetOfVec};
    use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
    let name = |tag, bytes: &[u8]| {
        let attribute = AttributeTypeAndValue {
            oid: ObjectIdentifier::new_unwrap("2.5.4.3"),
            value: Any::new(tag, bytes).unwrap(),
        };
        let part = RelativeDistinguishedName::from(SetOfVec::try_from(vec![attribute]).unwrap());
        Name::hazmat_from_rdn_sequence(RdnSequence::from(vec![part]))
    };
    let common_name = |tag, bytes: &[u8]| {
        let found = identity::common_name(&name(tag, bytes))?;
        found.map(identity::checked).transpose()
    };
    for bytes in [&b"a\xff"[..], b"a\xed\xa0\x80", b"a\0b", b"a\x1b[2J", b""] {
        assert!(common_name(Tag::Utf8String, bytes).is_err(), "{bytes:?}");
    }
    assert!(common_name(Tag::BmpString, b"\xd8\x00").is_err());
    assert!(common_name(Tag::BmpString, b"\0").is_err());
    assert!(common_name(Tag::TeletexString, b"M\xfcller").is_err());
    assert_eq!(
        common_name(Tag::BmpString, b"\0a\0b").unwrap().as_deref(),
        Some("ab")
    );
}

#[test]
fn without_a_certificate_there_is_no_identity() {
    let Some(pki) = pki() else { return };
    let paths = Paths::of(pki, "server");
    let server = server_config(&crate::tls::ServerTls::new(&paths.certificate, &paths.key)).unwrap();
    let met = meet(
        &server,
        &careless_client(pki, "good", TlsVersion::V1_3),
        "localhost",
    );
    for stream in [&met.server, &SecureStream::Plain] {
        assert_eq!(
            client_identity(stream, IdentityKind::CommonName),
            Err(IdentityError::NoCertificate)
        );
    }
}
