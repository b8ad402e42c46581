//! Completes the server's chain from `cafile` and `capath` where the certificate file has the server's own certificate
//! alone, as servers with OpenSSL do: clients that know only the root need what lies between.
//!
//! Invariants: what is added has signed what stands before it. A root is not added, because a client has it or does not
//! trust it. Where the file has more than one certificate nothing is added.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::files::Authorities;
use super::identity;
use super::version1::is_signed_by;

/// Completes the chain; the text is a warning if it cannot be.
pub(super) fn complete(
    chain: &mut Vec<CertificateDer<'static>>,
    authorities: &Authorities,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<String> {
    let [own] = chain.as_slice() else {
        return None;
    };
    // One that cannot be looked into has its warning already.
    let mut last = Certificate::parse(own).ok()?;
    for _ in 0..INTERMEDIATES_MAX {
        if last.is_self_issued() {
            return None;
        }
        let Some(issuer) = issuer_of(&last, authorities, algorithms) else {
            return Some(format!(
                "the issuer of {last} ({}) is neither in this file nor in {}, so clients that know only the root \
                 refuse the server; fix: append the issuer's certificate to this file",
                identity::shown(last.issuer()),
                authorities.source
            ));
        };
        if issuer.is_self_issued() {
            return None;
        }
        chain.push(issuer.der().clone());
        last = issuer.clone();
    }
    None
}

fn issuer_of<'a>(
    certificate: &Certificate,
    authorities: &'a Authorities,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<&'a Certificate> {
    let signed = certificate.signed()?;
    authorities.certificates.iter().find(|authority| {
        authority.subject() == certificate.issuer()
            && authority.may_sign_certificates()
            && authority
                .public_key()
                .is_some_and(|key| is_signed_by(&signed, &key, algorithms))
    })
}

/// Longer chains are refused by clients.
const INTERMEDIATES_MAX: usize = 8;
