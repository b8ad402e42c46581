//! A server's configuration, created from files.
//!
//! Invariant: a configuration is created completely from files or not at all, and contains nothing of an earlier one:
//! neither its authorities nor the keys of its tickets. So a reload only needs to use a new one, and sessions of the
//! old one cannot be resumed past a new revocation list.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CertRevocationListError, CipherSuite, ServerConfig};

use super::certificate::Purpose;
use super::client_verifier::ClientVerifier;
use super::fault::{NO_SUITE, list_fault};
use super::own_certificate::{own_certificate, warnings_about_authorities};
use super::passphrase::{KeyPassphrase, NoPassphrase};
use super::peer_check::PeerCheck;
use super::refusal;
use super::revocation::Revocations;
use super::{TlsConfigError, TlsVersion, chain, ciphers, files, provider};

/// The settings of a TLS listener.
#[derive(Clone, Copy, Debug)]
pub struct ServerTls<'a> {
    /// PEM file: the server's certificate, then its intermediates. If the file contains only the server's certificate,
    /// the intermediates are taken from the authorities.
    pub certificate_chain: &'a Path,
    /// PEM file: the private key.
    pub private_key: &'a Path,
    /// PEM file of the CAs whose client certificates are trusted.
    pub client_ca: Option<&'a Path>,
    /// Folder of such files, named as `openssl rehash` does.
    pub client_ca_folder: Option<&'a Path>,
    /// PEM file: lists of revoked client certificates.
    pub revocation_list: Option<&'a Path>,
    /// Whether a client without a certificate is refused. If not, no certificate is requested, as with mosquitto.
    pub require_client_certificate: bool,
    /// Whether clients' certificates of X.509 version 1 are accepted, with a warning.
    pub accept_version_1: bool,
    /// Whether clients' certificates are accepted outside their period of validity.
    pub ignore_client_dates: bool,
    /// The lowest version that is accepted.
    pub version_min: TlsVersion,
    /// Suites of TLS 1.2, in OpenSSL's names.
    pub ciphers: Option<&'a str>,
    /// Suites of TLS 1.3, in OpenSSL's names.
    pub ciphers_tls13: Option<&'a str>,
    /// Whether rustls also seals and opens records after the handshake. Otherwise that is done in the buffers where
    /// the bytes stay, and a connection needs a third of the memory.
    pub rustls_records: bool,
}

impl<'a> ServerTls<'a> {
    /// A server with this certificate chain and private key, which requests no client certificates.
    #[must_use]
    pub fn new(certificate_chain: &'a Path, private_key: &'a Path) -> Self {
        Self {
            certificate_chain,
            private_key,
            client_ca: None,
            client_ca_folder: None,
            revocation_list: None,
            require_client_certificate: false,
            accept_version_1: true,
            ignore_client_dates: false,
            version_min: TlsVersion::V1_2,
            ciphers: None,
            ciphers_tls13: None,
            rustls_records: false,
        }
    }
}

/// A server's configuration, and warnings for its operator.
#[derive(Clone, Debug)]
pub struct ServerTlsConfig {
    /// The configuration, as [`crate::stream::SecureStream::server`] takes it.
    pub config: Arc<ServerConfig>,
    /// One sentence about each thing that works but that some clients will refuse.
    pub warnings: Vec<String>,
    /// When the server's certificate expires, in seconds since 1970, if that can be read.
    pub not_after_s: Option<u64>,
}

/// [`server_config_with`] for callers that have no passphrases and ignore warnings.
///
/// # Errors
/// The file and what is wrong with it.
pub fn server_config(tls: &ServerTls<'_>) -> Result<Arc<ServerConfig>, TlsConfigError> {
    server_config_with(tls, &NoPassphrase).map(|made| made.config)
}

/// Creates a configuration: sessions resume with tickets, one per handshake, and nothing is kept per client.
/// `passphrase` is used if the private key is encrypted.
///
/// # Errors
/// The file and what is wrong with it.
pub fn server_config_with(
    tls: &ServerTls<'_>,
    passphrase: &dyn KeyPassphrase,
) -> Result<ServerTlsConfig, TlsConfigError> {
    let refused = |source| TlsConfigError::Refused {
        certificate: tls.certificate_chain.to_owned(),
        key: tls.private_key.to_owned(),
        source,
    };
    let mut provider = CryptoProvider::clone(&provider());
    let mut warnings =
        ciphers::restrict(&mut provider, tls.ciphers, tls.ciphers_tls13).map_err(TlsConfigError::Ciphers)?;
    let provider = Arc::new(provider);
    let paths = (tls.certificate_chain, tls.private_key);
    let mut own = own_certificate(paths, Purpose::Server, passphrase, &provider)?;
    warnings.extend(own.warnings);
    let authorities = match (tls.client_ca, tls.client_ca_folder) {
        (None, None) => None,
        (file, folder) => Some(files::authorities(file, folder)?),
    };
    let algorithms = provider.signature_verification_algorithms;
    let warning = chain::complete(&mut own.certified.cert, authorities.as_ref(), &algorithms);
    warnings.extend(warning.map(|text| format!("{}: {text}", tls.certificate_chain.display())));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls.version_min.and_newer())
        .map_err(refused)?;
    let builder = match client_verifier(tls, authorities, &provider, &mut warnings)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(OneCertificate {
        certified: Arc::new(own.certified),
        suites: provider.cipher_suites.iter().map(|suite| suite.suite()).collect(),
    }));
    // The order of the suites is the order of preference.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(refused)?;
    config.send_tls13_tickets = 1;
    // For records.rs; no key leaves the process.
    config.enable_secret_extraction = !tls.rustls_records;
    Ok(ServerTlsConfig {
        config: Arc::new(config),
        warnings,
        not_after_s: own.not_after_s,
    })
}

/// The same certificate for all clients. It checks what a client offers, and leaves a text if the handshake must fail.
#[derive(Debug)]
struct OneCertificate {
    certified: Arc<CertifiedKey>,
    suites: Vec<CipherSuite>,
}

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = client.cipher_suites().iter();
        if !offered.any(|suite| self.suites.contains(suite)) {
            refusal::leave_reason(NO_SUITE.to_owned());
        }
        Some(Arc::clone(&self.certified))
    }
}

/// `None` if clients are not asked for certificates. The files are read all the same, so that mistakes in them are
/// reported.
fn client_verifier(
    tls: &ServerTls<'_>,
    authorities: Option<files::Authorities>,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsConfigError> {
    let Some(authorities) = authorities else {
        return Ok(None);
    };
    let algorithms = provider.signature_verification_algorithms;
    warnings.extend(warnings_about_authorities(&authorities));
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities.roots), Arc::clone(provider));
    let mut revocations = None;
    if let Some(path) = tls.revocation_list {
        let lists = files::revocation_lists(path)?;
        let read = Revocations::read(path, &lists, &authorities.certificates, &algorithms)?;
        revocations = Some((read, path.display().to_string()));
        // As in mosquitto: the client's own certificate is checked, and a list that is out of date does not count.
        builder = builder
            .with_crls(lists)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let webpki = builder.build().map_err(|error| unusable(tls, &error))?;
    if !tls.require_client_certificate {
        return Ok(None);
    }
    Ok(Some(Arc::new(ClientVerifier {
        webpki,
        check: PeerCheck {
            peer: Purpose::Client,
            authorities: authorities.certificates,
            source: authorities.source,
            algorithms,
            accept_version_1: tls.accept_version_1,
        },
        revocations,
        ignore_dates: tls.ignore_client_dates,
        warned: Mutex::new(HashSet::new()),
    })))
}

fn unusable(tls: &ServerTls<'_>, error: &VerifierBuilderError) -> TlsConfigError {
    let path = |path: Option<&Path>| path.map(Path::to_owned).unwrap_or_default();
    match error {
        VerifierBuilderError::InvalidCrl(error) => TlsConfigError::Unusable {
            what: "the revocation list (crlfile)",
            path: path(tls.revocation_list),
            detail: match error {
                CertRevocationListError::UnsupportedCrlVersion => {
                    "it is of version 1: set `crlnumber` in the authority's openssl.cnf, then openssl ca \
                     -gencrl"
                        .to_owned()
                }
                error => format!(
                    "it cannot be used, {}; create it again with the authority's key: openssl ca -gencrl -out crl.pem",
                    list_fault(error)
                ),
            },
        },
        error => TlsConfigError::Authority {
            path: path(tls.client_ca.or(tls.client_ca_folder)),
            detail: error.to_string(),
        },
    }
}
