//! `broker certs`: makes an authority, a server certificate with its names and a certificate for each client, and
//! prints the configuration lines that use them. If the authority and server certificate exist, it makes certificates
//! for more clients.
//!
//! Invariants: no file is replaced; either all files are written or none is left; private keys are readable by their
//! owner only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use crate::exit_code::EXIT_INVALID;

/// The arguments of `broker certs`.
#[derive(Clone, Debug, clap::Args)]
pub struct CertsArgs {
    /// Folder for the files; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// A name or address that clients connect to; may be given several times [default: localhost]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// A client to make a certificate for; with `use_identity_as_username` this is its user name. May be given several
    /// times, and later in the same folder, where ca.crt and ca.key sign the certificates
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,

    /// Number of days for which the server and client certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// The reasons for which `broker certs` makes no certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A name cannot be used.
    #[error("the {what} {name:?} cannot be used: {why}")]
    Name {
        /// The certificate that the name is for.
        what: &'static str,
        /// The name as it was given.
        name: String,
        /// Why the name cannot be used.
        why: &'static str,
    },
    /// A file that would be written exists already.
    #[error("{} exists and is not replaced; fix: choose another folder, or move the file away", .0.display())]
    Exists(PathBuf),
    /// A file or the folder cannot be written.
    #[error("cannot write {}: {source}; fix: make the folder writable", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file of the signing authority cannot be used.
    #[error(
        "{} cannot sign a client certificate: {why}; fix: name a folder that `broker certs` made, with its \
        ca.crt and ca.key unchanged",
        path.display()
    )]
    Authority {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// rcgen could not make a key or a certificate.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes the files and prints the configuration.
pub fn run(args: &CertsArgs) -> ExitCode {
    match make(args) {
        Ok(configuration) => {
            print!("{configuration}");
            ExitCode::SUCCESS
        }
        Err(error @ CertsError::Name { .. }) => {
            eprintln!("Error: {error}");
            ExitCode::from(EXIT_INVALID)
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the files; returns the instructions to print.
///
/// # Errors
/// A name cannot be used, or a file exists or cannot be written. No file is left in this case.
pub fn make(args: &CertsArgs) -> Result<String, CertsError> {
    let names = server_names(&args.names);
    for name in &args.clients {
        check_client(name, &args.clients)?;
    }
    let adds_clients = args.names.is_empty() && !args.clients.is_empty();
    if adds_clients && AUTHORITY_FILES.iter().all(|name| args.folder.join(name).exists()) {
        return add_clients(args);
    }
    let files = generate(&names, &args.clients, args.days)?;
    write_all(&args.folder, &files)?;
    let folder = fs::canonicalize(&args.folder).unwrap_or_else(|_| args.folder.clone());
    Ok(advice(&folder, &names, &args.clients))
}

/// Makes client certificates in a folder that has an authority.
fn add_clients(args: &CertsArgs) -> Result<String, CertsError> {
    let [certificate, key] = AUTHORITY_FILES.map(|name| args.folder.join(name));
    let unusable = |path: &Path, why: String| CertsError::Authority {
        path: path.to_owned(),
        why,
    };
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| unusable(path, error.to_string()));
    let (certificate_text, key_text) = (read(&certificate)?, read(&key)?);
    let ca_key = KeyPair::from_pem(&key_text).map_err(|error| unusable(&key, error.to_string()))?;
    let issuer = Issuer::new(authority(args.days)?, ca_key);
    let mut files = Vec::new();
    for name in &args.clients {
        let made = push_client(&mut files, name, args.days, &issuer)?;
        // The authority may be a different one, with another name or key.
        is_signed_by(&made, &certificate_text).map_err(|why| unusable(&certificate, why))?;
    }
    write_all(&args.folder, &files)?;
    let folder = fs::canonicalize(&args.folder).unwrap_or_else(|_| args.folder.clone());
    Ok(client_advice(&folder, "localhost", &args.clients))
}

/// Whether a broker whose cafile is `authority` accepts clients with this certificate.
fn is_signed_by(certificate: &CertificateDer<'_>, authority: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let der = der.map_err(|error| error.to_string())?;
        roots.add(der).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let verified = verifier.verify_client_cert(certificate, &[], UnixTime::now());
    verified
        .map(|_| ())
        .map_err(|_| "ca.key does not belong to it, or `broker certs` did not make it".to_owned())
}

/// A file that `broker certs` writes.
struct File {
    name: String,
    text: String,
    is_secret: bool,
}

/// The given names; `localhost` includes its addresses.
fn server_names(given: &[String]) -> Vec<String> {
    let mut names = given.to_vec();
    if names.is_empty() {
        names.push("localhost".to_owned());
    }
    if names.iter().any(|name| name == "localhost") {
        for address in ["127.0.0.1", "::1"] {
            if !names.iter().any(|name| name == address) {
                names.push(address.to_owned());
            }
        }
    }
    names
}

/// A client's name becomes a file name, a user name and a level of topics in access rules.
fn check_client(name: &str, all: &[String]) -> Result<(), CertsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    let why = if name.is_empty() || name.len() > 64 {
        "it must have 1 to 64 characters"
    } else if name.starts_with('.') || !name.bytes().all(is_plain) {
        "it may contain letters, digits and - _ . @, and may not begin with a dot"
    } else if matches!(name, "ca" | "server") {
        "the name is reserved for another file"
    } else if all.iter().filter(|other| *other == name).count() > 1 {
        "it is given twice"
    } else {
        return Ok(());
    };
    Err(CertsError::Name {
        what: "client",
        name: name.to_owned(),
        why,
    })
}

fn generate(names: &[String], clients: &[String], days: u32) -> Result<Vec<File>, CertsError> {
    let mut files = Vec::new();
    let ca_key = KeyPair::generate()?;
    let ca = authority(days)?;
    push(&mut files, "ca", &ca.self_signed(&ca_key)?.pem(), &ca_key);
    let issuer = Issuer::new(ca, ca_key);

    let first = names.first().map_or("localhost", String::as_str);
    let mut server = params(names.to_vec(), first, days)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    push(
        &mut files,
        "server",
        &server.signed_by(&key, &issuer)?.pem(),
        &key,
    );

    for name in clients {
        push_client(&mut files, name, days, &issuer)?;
    }
    Ok(files)
}

fn authority(days: u32) -> Result<CertificateParams, CertsError> {
    let mut ca = params(Vec::new(), "Midge CA", CA_DAYS.max(days))?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(ca)
}

fn push_client(
    files: &mut Vec<File>,
    name: &str,
    days: u32,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<CertificateDer<'static>, CertsError> {
    let mut client = params(Vec::new(), name, days)?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let made = client.signed_by(&key, issuer)?;
    push(files, name, &made.pem(), &key);
    Ok(made.der().clone())
}

/// Of X.509 version 3, valid from yesterday because clocks differ.
fn params(names: Vec<String>, common_name: &str, days: u32) -> Result<CertificateParams, CertsError> {
    let unusable = |_| CertsError::Name {
        what: "name",
        name: names.join(", "),
        why: "it is neither a DNS name nor an address",
    };
    let mut params = CertificateParams::new(names.clone()).map_err(unusable)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    params.not_before = now - DAY;
    params.not_after = now + DAY * days;
    Ok(params)
}

fn push(files: &mut Vec<File>, name: &str, certificate: &str, key: &KeyPair) {
    files.push(File {
        name: format!("{name}.crt"),
        text: certificate.to_owned(),
        is_secret: false,
    });
    files.push(File {
        name: format!("{name}.key"),
        text: key.serialize_pem(),
        is_secret: true,
    });
}

fn write_all(folder: &Path, files: &[File]) -> Result<(), CertsError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| CertsError::Write { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(unwritable(folder))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        let result = write(&path, file);
        if result.is_ok() || !is_exists(&result) {
            written.push(path.clone());
        }
        if let Err(source) = result {
            for path in written {
                // A file that cannot be removed was not written.
                let _ = fs::remove_file(path);
            }
            return Err(if source.kind() == io::ErrorKind::AlreadyExists {
                CertsError::Exists(path)
            } else {
                CertsError::Write { path, source }
            });
        }
    }
    Ok(())
}

fn is_exists(result: &io::Result<()>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    let mode = if file.is_secret { 0o600 } else { 0o644 };
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    out.write_all(file.text.as_bytes())?;
    out.sync_all()
}

fn advice(folder: &Path, names: &[String], clients: &[String]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = format!(
        "# In the broker's configuration:\nlistener 8883\ncafile {}\ncertfile {}\nkeyfile {}\n",
        path("ca.crt"),
        path("server.crt"),
        path("server.key")
    );
    text.push_str(match clients {
        [] => "# and to say who may connect: password_file FILE, or allow_anonymous true\n",
        _ => "require_certificate true\nuse_identity_as_username true\n",
    });
    let host = names.first().map_or("localhost", String::as_str);
    let common = format!("-h {host} -p 8883 --cafile {}", path("ca.crt"));
    text.push('\n');
    if clients.is_empty() {
        text.push_str(&format!(
            "# Example of a client:\nmosquitto_sub {common} -t '#'\n"
        ));
    } else {
        text.push_str(&client_advice(folder, host, clients));
    }
    text.push_str(&format!(
        "\n# {} can sign further certificates: do not keep it on the broker's machine.\n",
        path("ca.key")
    ));
    text
}

/// How clients with certificates connect.
fn client_advice(folder: &Path, host: &str, clients: &[String]) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = "# Example of a client:\n".to_owned();
    for client in clients {
        let (certificate, key) = (path(&format!("{client}.crt")), path(&format!("{client}.key")));
        text.push_str(&format!(
            "mosquitto_sub -h {host} -p 8883 --cafile {} --cert {certificate} --key {key} -t '#'\n",
            path("ca.crt")
        ));
    }
    text
}

/// The files that sign client certificates.
const AUTHORITY_FILES: [&str; 2] = ["ca.crt", "ca.key"];
const DAY: Duration = Duration::from_secs(86_400);
/// Number of days for which the authority is valid.
const CA_DAYS: u32 = 3650;

#[cfg(test)]
mod tests;
