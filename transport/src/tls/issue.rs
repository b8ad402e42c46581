//! The commands that create a certificate to replace one that is refused.
//!
//! Invariant: a command creates a certificate of version 3 with everything that servers and clients check, so that no
//! advice leads to the next error: `tests::issued::each_command_makes_a_certificate_that_is_taken`.

use super::certificate::{Certificate, Purpose};

/// The properties of a new certificate.
pub(super) struct Issue {
    purpose: Purpose,
    /// The common name, or a placeholder.
    name: String,
    extensions: Vec<String>,
}

impl Issue {
    /// A certificate with the names of this one, if it can be parsed.
    pub(super) fn again(purpose: Purpose, certificate: Option<&Certificate>) -> Self {
        let common_name = certificate.and_then(Certificate::common_name);
        let names = certificate.and_then(Certificate::alternative_names);
        let names = names.filter(|names| !names.is_empty());
        let names = names.unwrap_or_else(|| vec![common_name.clone().unwrap_or_default()]);
        Self::new(purpose, common_name.as_deref(), &names)
    }

    /// A server's certificate for this name or address.
    pub(super) fn for_server(name: &str) -> Self {
        Self::new(Purpose::Server, Some(name), &[name.to_owned()])
    }

    fn new(purpose: Purpose, common_name: Option<&str>, names: &[String]) -> Self {
        let mut extensions = vec!["basicConstraints=CA:FALSE".to_owned()];
        if purpose == Purpose::Server {
            let names: Vec<_> = names.iter().map(|name| alternative_name(name)).collect();
            extensions.push(format!("subjectAltName={}", names.join(",")));
        }
        Self {
            purpose,
            name: plain(common_name.unwrap_or_default()).to_owned(),
            extensions,
        }
    }

    /// With this purpose as extended key usage.
    pub(super) fn with_usage(mut self, usage: &str) -> Self {
        self.extensions.push(format!("extendedKeyUsage={usage}"));
        self
    }

    /// The commands that sign the request.
    pub(super) fn sign(&self) -> String {
        let file = self.purpose.word();
        let lines: Vec<_> = self
            .extensions
            .iter()
            .map(|line| format!("echo {line}"))
            .collect();
        format!(
            "({}) >{file}.ext && openssl x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 \
             -sha256 -extfile {file}.ext -out {file}.crt",
            lines.join("; ")
        )
    }

    /// The commands for a new RSA key, its request and the certificate.
    pub(super) fn new_key(&self) -> String {
        let file = self.purpose.word();
        format!(
            "openssl genrsa -out {file}.key 2048 && openssl req -new -key {file}.key -subj /CN={} -out {file}.csr \
             && {}",
            self.name,
            self.sign()
        )
    }
}

/// A name or address, as openssl's configuration writes it in a subjectAltName.
fn alternative_name(name: &str) -> String {
    match name.parse::<std::net::IpAddr>() {
        Ok(_) => format!("IP:{name}"),
        Err(_) => format!("DNS:{}", plain(name)),
    }
}

/// The name, if it has no special meaning for the shell and openssl.
fn plain(name: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    match !name.is_empty() && name.bytes().all(is_plain) {
        true => name,
        false => "NAME",
    }
}
