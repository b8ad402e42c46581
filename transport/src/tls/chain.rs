//! Completes the server's chain from `cafile` and `capath` if the certificate file contains only the server's
//! certificate, as servers with OpenSSL do: clients that know only the root need the intermediates.
//!
//! Invariants: each added certificate has signed the one before it. A root is not added, because a client has it or
//! does not trust it. If the file has more than one certificate, nothing is added.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::files::Authorities;
use super::identity;
use super::version1::is_signed_by;

/// Completes the chain; the text is a warning if it cannot be.
pub(super) fn complete(
    chain: &mut Vec<CertificateDer<'static>>,
    authorities: Option<&Authorities>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<String> {
    let [own] = chain.as_slice() else {
        return None;
    };
    // A certificate that cannot be parsed has a warning already.
    let mut last = Certificate::parse(own).ok()?;
    for _ in 0..INTERMEDIATES_MAX {
        if last.is_self_issued() {
            return None;
        }
        let issuer = authorities.and_then(|authorities| issuer_of(&last, authorities, algorithms));
        let Some(issuer) = issuer else {
            return Some(without_issuer(&last, authorities));
        };
        if issuer.is_self_issued() {
            return None;
        }
        chain.push(issuer.der().clone());
        last = issuer.clone();
    }
    None
}

/// A certificate does not show whether its issuer is a root, which clients have and servers need not send.
fn without_issuer(last: &Certificate, authorities: Option<&Authorities>) -> String {
    let place = match authorities {
        Some(authorities) => format!("neither in this file nor in {}", authorities.source),
        None => "not in this file, and there is neither cafile nor capath".to_owned(),
    };
    format!(
        "the issuer of {last} ({}) is {place}, so clients that do not have its certificate refuse the server; nothing \
         is missing if it is a root that all of them have; fix: append the issuer's certificate to this file",
        identity::shown(last.issuer())
    )
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

/// Largest number of intermediates: clients refuse longer chains.
const INTERMEDIATES_MAX: usize = 8;
