//! Faults of TLS in plain words, with what to do, for errors that do not depend on a certificate's content.
//!
//! Invariant: no sentence contains a name from the TLS library (`tests::no_sentence_has_names_of_a_library`).

use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, Error, InvalidMessage, PeerIncompatible,
};

/// Why a revocation list cannot be used.
pub(super) fn list_fault(error: &CertRevocationListError) -> &'static str {
    use CertRevocationListError as List;
    match error {
        List::BadSignature => "because its authority did not sign it",
        List::IssuerInvalidForCrl => {
            "because the certificate of its authority may not sign lists (keyUsage without cRLSign)"
        }
        List::InvalidCrlNumber => "because its number is not valid",
        List::InvalidRevokedCertSerialNumber => {
            "because it revokes a serial number that no certificate can have"
        }
        List::UnsupportedCrlVersion => "because it is of version 1",
        List::UnsupportedCriticalExtension => "because it has a critical extension that is not supported",
        List::UnsupportedDeltaCrl => "because it lists only changes (a delta list): use a complete list",
        List::UnsupportedIndirectCrl => {
            "because it is from another issuer than the certificates (an indirect list)"
        }
        List::UnsupportedRevocationReason => "because it contains reasons that are not supported",
        List::UnsupportedSignatureAlgorithmContext { .. }
        | List::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "because it is signed with an algorithm that is refused, for example SHA-1"
        }
        _ => "because it does not conform to RFC 5280",
    }
}

/// What is wrong with a certificate, except what [`super::refusal`] finds in it.
pub(super) fn certificate_fault(error: &Error) -> &'static str {
    use CertificateError as Fault;
    match error {
        Error::InvalidCertificate(Fault::UnhandledCriticalExtension) => {
            "it has a critical extension that is not supported"
        }
        Error::InvalidCertificate(Fault::NotValidForName) => "it is for another name",
        Error::InvalidCertificate(
            Fault::UnsupportedSignatureAlgorithmContext { .. }
            | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            | Fault::BadSignature,
        ) => "its signature, or one between it and its authority, is wrong or of a kind that is refused",
        Error::InvalidCertificate(Fault::Other(_)) => {
            "the chain from it to its authority breaks a rule of RFC 5280: the length of the path, the names that an \
             authority may sign, or too many certificates"
        }
        _ => "its contents do not conform to X.509",
    }
}

/// The sentence about an error for which no verifier left one.
pub(crate) fn explain(error: &Error, is_server: bool) -> String {
    if let Some(text) = explained(error, is_server) {
        return text.to_owned();
    }
    match error {
        Error::AlertReceived(alert) => format!(
            "the other side ended the connection with the TLS alert {}: its own log says why",
            u8::from(*alert)
        ),
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
            format!(
                "the other side's certificate is refused: {}",
                certificate_fault(error)
            )
        }
        // This is a text of the program or of the system.
        Error::General(text) => text.clone(),
        error => error.to_string(),
    }
}

fn explained(error: &Error, is_server: bool) -> Option<&'static str> {
    let text = match error {
        Error::NoCertificatesPresented if is_server => {
            "the client sent no certificate and this listener requires one (require_certificate true): give the client \
             its certificate and key, for example mosquitto_pub --cert FILE --key FILE"
        }
        Error::AlertReceived(alert) => return of_alert(*alert, is_server),
        // TLS 1.1 and older have no signature algorithms, which rustls checks first.
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) if is_server => {
            "the client offers no version of TLS that is supported: let it use TLS 1.3, for example mosquitto_pub \
             --tls-version tlsv1.3, or TLS 1.2 (tlsv1.2) if the listener's `tls_version` is not tlsv1.3"
        }
        // A listener that supports TLS 1.2 reports another error.
        Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired) if is_server => {
            "the client offers no TLS later than 1.2, and this listener requires TLS 1.3 (`tls_version tlsv1.3`): \
             let the client use TLS 1.3, for example mosquitto_pub --tls-version tlsv1.3, or set `tls_version tlsv1.2`"
        }
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => NO_SUITE,
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            "client and server have no curve in common for the key exchange: X25519, P-256 and P-384 are supported \
             here, so let the client use one of them (its list of `groups` or `curves`)"
        }
        Error::PeerIncompatible(
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
        ) => {
            "the client accepts no signature of the server's kind of key: a P-256 key or an RSA key with 2048 bits \
             works with nearly all clients"
        }
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            "the other side's TLS 1.2 lacks the extended master secret (RFC 7627), without which it is not safe: \
             update its TLS library, or let it use TLS 1.3"
        }
        Error::PeerIncompatible(_) => {
            "the two sides have no TLS parameters in common: let both use TLS 1.2 or 1.3 with ECDHE and AES-GCM or \
             ChaCha20, as current libraries have by default"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) if is_server => {
            "the client does not speak TLS on this TLS port: give it --cafile, or let it use a plain port"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS on this port: use a TLS port, or connect without TLS"
        }
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the other side sent data that is not valid TLS: look for a program or a middlebox that does not use TLS, \
             and update its TLS library"
        }
        Error::DecryptError => {
            "a record cannot be decrypted with the connection's key: it was damaged on its way, or the other side's \
             TLS library is at fault"
        }
        Error::PeerMisbehaved(_) => "the other side violates the TLS protocol: update its TLS library",
        Error::PeerSentOversizedRecord => {
            "the other side sent a record that is larger than TLS allows: look for a program or a middlebox that does \
             not use TLS, and update its TLS library"
        }
        Error::UnsupportedNameType => "the name of the server is of a kind that certificates cannot contain",
        Error::NoCertificatesPresented => "the server sent no certificate",
        _ => return None,
    };
    Some(text)
}

/// No suite in common. Clients without an ECDHE suite often offer no curve either, which rustls checks first.
pub(super) const NO_SUITE: &str = "client and server have no cipher suite in common: let the client use \
     one of TLS 1.3, or ECDHE with AES-GCM or ChaCha20, as current libraries have by default, and see `ciphers` and \
     `ciphers_tls1.3` in the configuration; suites with ECDSA in their names \
     require a key on a curve, those with RSA an RSA key";

fn of_alert(alert: AlertDescription, is_server: bool) -> Option<&'static str> {
    use AlertDescription as Alert;
    let text = match alert {
        Alert::UnknownCA if is_server => {
            "the client does not trust the authority of this server's certificate: give the client that authority's \
             file, for example --cafile ca.crt"
        }
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::CertificateExpired if is_server => {
            "the client refuses this server's certificate: check that it is valid for the name that the client \
             connects to (openssl x509 -noout -ext subjectAltName -in FILE), its dates, and the client's CA file"
        }
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate
        | Alert::DecryptError => "the server refuses the client's certificate; the server's log says why",
        Alert::CertificateRequired => {
            "the server requires a client's certificate: name one and its key, for example --cert FILE --key FILE"
        }
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            "the other side found no cipher suite, curve or kind of signature in common: let both use TLS 1.2 or 1.3 \
             with ECDHE and AES-GCM or ChaCha20"
        }
        Alert::UnrecognisedName => "the other side serves a different name from the requested one",
        Alert::UserCanceled | Alert::CloseNotify => {
            "the other side ended the connection during the handshake"
        }
        Alert::ProtocolVersion => {
            "the two sides have no version of TLS in common: let both use TLS 1.3, or both TLS 1.2"
        }
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use rustls::PeerMisbehaved;

    use super::*;

    /// Whether some word is the name of a type or variant: it has a capital after a small letter.
    fn has_library_word(text: &str) -> bool {
        let known = [
            "subjectAltName",
            "keyUsage",
            "cRLSign",
            "ChaCha20",
            "RevocationList",
        ];
        let is_name = |word: &str| {
            let mut pairs = word.as_bytes().windows(2);
            pairs.any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
        };
        let words = text.split(|at: char| !at.is_ascii_alphanumeric());
        words.filter(|word| !known.contains(word)).any(is_name)
            || text.contains('_') && text.contains("TLSv1_")
    }

    #[test]
    fn no_sentence_has_names_of_a_library() {
        let alerts = (0..=u8::MAX).map(|alert| Error::AlertReceived(alert.into()));
        let incompatible = [
            PeerIncompatible::NoKxGroupsInCommon,
            PeerIncompatible::NoCipherSuitesInCommon,
            PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            PeerIncompatible::Tls12NotOffered,
            PeerIncompatible::SupportedVersionsExtensionRequired,
            PeerIncompatible::Tls13RequiredForQuic,
            PeerIncompatible::ExtendedMasterSecretExtensionRequired,
            PeerIncompatible::NullCompressionRequired,
        ];
        let certificates = [
            CertificateError::BadEncoding,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::BadSignature,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::NotValidForName,
        ];
        let lists = [
            CertRevocationListError::BadSignature,
            CertRevocationListError::IssuerInvalidForCrl,
            CertRevocationListError::ParseError,
            CertRevocationListError::UnsupportedDeltaCrl,
            CertRevocationListError::UnsupportedRevocationReason,
        ];
        for list in &lists {
            assert!(!has_library_word(list_fault(list)), "{list:?}");
        }
        let others = [
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::InvalidMessage(InvalidMessage::MessageTooLarge),
            Error::PeerMisbehaved(PeerMisbehaved::BadCertChainExtensions),
            Error::PeerSentOversizedRecord,
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
        ];
        let errors = alerts
            .chain(incompatible.map(Error::PeerIncompatible))
            .chain(certificates.map(Error::InvalidCertificate))
            .chain(others);
        for error in errors {
            for is_server in [true, false] {
                let text = explain(&error, is_server);
                assert!(text.len() > 10 && !has_library_word(&text), "{error:?}: {text}");
            }
        }
    }
}
