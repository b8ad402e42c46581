//! Finds the broker of a run, or starts one as a separate process.
//!
//! Invariant: the key file of a broker that was started is deleted as soon as it listens. The broker itself ends when
//! its [`BrokerProcess`] is dropped.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use broker::auth::password::{Algorithm, PasswordHash};
use rustls::ClientConfig;
use tempfile::TempDir;
use transport::tls::{ClientTls, KeyPassphrase, NoPassphrase};
use transport::websocket::client::Resource;

use super::request::{OwnRequest, TargetRequest, TlsRequest};
use crate::scenario::topics::numbered;
use crate::scenario::{Credentials, Scenario};
use crate::system::error::Failure;
use crate::system::key_passphrase::ClientPassphrase;
use crate::system::output::note;
use crate::target::certificates::{self, write_private};
use crate::target::endpoint::{ClientConfigs, Endpoint, Host};
use crate::target::process::{BrokerProcess, FreeAddress};
use crate::target::subject::Subject;

/// The broker under load.
#[derive(Debug)]
pub struct Target {
    /// Its address and name.
    pub subject: Subject,
    /// The process, if it was started here; it ends when this is dropped.
    own: Option<BrokerProcess>,
}

impl Target {
    /// Starts or finds the broker for the clients of a scenario.
    ///
    /// # Errors
    /// A sentence about what failed: starting, the certificate files, or the name.
    pub fn open(
        request: &TargetRequest,
        scenario: &Scenario,
        interrupted: &AtomicBool,
    ) -> Result<Target, Failure> {
        match request {
            TargetRequest::OwnBroker(own) => {
                let clients = match (own.tls, own.users) {
                    (false, _) => Clients::Plain,
                    (true, false) => Clients::Tls,
                    (true, true) => Clients::Users(scenario),
                };
                start_own(own, clients, interrupted)
            }
            TargetRequest::Running { .. } => Target::open_running(request, scenario.numbers()),
        }
    }

    fn open_running(request: &TargetRequest, numbers: u32) -> Result<Target, Failure> {
        let TargetRequest::Running {
            hosts,
            tls,
            web_socket,
            key_pass_file,
            pid,
        } = request
        else {
            return Err(Failure::Broker("there is no broker to find".to_owned()));
        };
        let passphrase = ClientPassphrase::new(key_pass_file.clone(), None);
        let tls = tls
            .as_ref()
            .map(|tls| client_configs(tls, numbers, &passphrase))
            .transpose()?;
        let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
        let subject = Subject {
            endpoint: endpoint(hosts, web_socket.as_deref(), tls)?,
            pid: *pid,
            name: format!("broker at {}", names.join(", ")),
            configuration: None,
        };
        Ok(Target { subject, own: None })
    }

    /// The same for clients that are all alike: without separate users.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn open_plainly(request: &TargetRequest, interrupted: &AtomicBool) -> Result<Target, Failure> {
        match request {
            TargetRequest::OwnBroker(own) => {
                let clients = if own.tls { Clients::Tls } else { Clients::Plain };
                start_own(own, clients, interrupted)
            }
            TargetRequest::Running { .. } => Target::open_running(request, 1),
        }
    }

    /// Checks that the broker's process, if we started it, still runs; the error contains the end of its log.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match &mut self.own {
            Some(own) => own.check_alive(),
            None => Ok(()),
        }
    }
}

fn endpoint(
    hosts: &[(String, u16)],
    web_socket: Option<&str>,
    tls: Option<ClientConfigs>,
) -> Result<Endpoint, Failure> {
    let found = hosts.iter().map(|(name, port)| find(name, *port, web_socket));
    let mut found = found.collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = found
        .next()
        .ok_or_else(|| Failure::Connect("there is no host to connect to".to_owned()))?;
    Ok(Endpoint::new(first, found.collect(), tls))
}

/// Resolves a host name to an address.
fn find(name: &str, port: u16, web_socket: Option<&str>) -> Result<Host, Failure> {
    let no_address = |why: String| Failure::Connect(format!("{name} has no address: {why}"));
    let found = (name, port)
        .to_socket_addrs()
        .map_err(|error| no_address(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let address =
        first_that_answers(&addresses).ok_or_else(|| no_address("the name is unknown".to_owned()))?;
    let resource = web_socket.map(|path| resource(name, port, path)).transpose()?;
    Ok(Host {
        address,
        server_name: name.to_owned(),
        resource,
    })
}

/// The resource that a WebSocket client requests from a host.
pub(crate) fn resource(host: &str, port: u16, path: &str) -> Result<Resource, Failure> {
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Resource::new(&authority, path).map_err(|why| Failure::Connect(format!("{host}: {why}")))
}

/// The first of several addresses that accepts a connection; the first of all if none does, so that connecting
/// reports the reason.
fn first_that_answers(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, ANSWERS_WITHIN).is_ok();
    match addresses {
        [only] => Some(*only),
        several => several.iter().find(answers).or(several.first()).copied(),
    }
}

/// A client's configuration, or a sentence about what is wrong with its files.
pub(crate) fn client_tls(
    tls: &ClientTls<'_>,
    passphrase: &dyn KeyPassphrase,
) -> Result<Arc<ClientConfig>, Failure> {
    transport::tls::client_config_with(tls, passphrase).map_err(|error| Failure::Connect(error.to_string()))
}

/// One configuration for all clients, or one for each number if the paths contain `%i`.
fn client_configs(
    request: &TlsRequest,
    clients: u32,
    passphrase: &dyn KeyPassphrase,
) -> Result<ClientConfigs, Failure> {
    let is_pattern = |path: &Path| path.to_string_lossy().contains("%i");
    let certificate = request.certificate.as_ref();
    let each = certificate.is_some_and(|(chain, key)| is_pattern(chain) || is_pattern(key));
    let configs = (0..if each { clients } else { 1 }).map(|number| {
        let of_client = |path: &Path| PathBuf::from(numbered(&path.to_string_lossy(), number));
        let mut own = request.clone();
        if each {
            own.certificate = certificate.map(|(chain, key)| (of_client(chain), of_client(key)));
        }
        client_tls(&own.as_client(), passphrase)
    });
    Ok(ClientConfigs::new(configs.collect::<Result<_, _>>()?))
}

/// The clients that a broker we start accepts.
#[derive(Clone, Copy)]
enum Clients<'a> {
    /// Clients without a certificate, over TCP.
    Plain,
    /// Clients without a certificate, over TLS.
    Tls,
    /// The clients of a scenario, with certificate, user name and password.
    Users(&'a Scenario),
}

/// Starts our broker and waits until it listens.
fn start_own(own: &OwnRequest, clients: Clients<'_>, interrupted: &AtomicBool) -> Result<Target, Failure> {
    let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
    let folder = folder.map_err(Failure::system("cannot make a folder for the run"))?;
    let free = FreeAddress::find()?;
    let address = free.address;
    let configuration = configure(folder.path(), address, own, clients)
        .map_err(Failure::system("cannot write the files of the run"))?;
    let tls = own_clients_tls(folder.path(), clients)?;
    let shards = own.shards;
    let words = [
        OsString::from("-c"),
        configuration.file.into_os_string(),
        "--shards".into(),
        shards.to_string().into(),
    ];
    let mut process = BrokerProcess::own(words, own.cpus.as_ref())?;
    process.wait_until_it_listens(address, interrupted)?;
    let path = own.web_socket.as_deref();
    let host = Host {
        address,
        server_name: "localhost".to_owned(),
        resource: path
            .map(|path| resource("localhost", address.port(), path))
            .transpose()?,
    };
    let endpoint = Endpoint::new(host, Vec::new(), tls);
    let name = format!(
        "own broker, {shards} {}",
        if shards == 1 { "shard" } else { "shards" }
    );
    let subject = Subject {
        endpoint,
        pid: Some(process.pid()),
        name,
        configuration: Some(configuration.text),
    };
    remove(folder);
    Ok(Target {
        subject,
        own: Some(process),
    })
}

struct Configuration {
    file: PathBuf,
    text: String,
}

/// Writes the configuration and the files that it names: certificates, and the users with their passwords.
fn configure(
    folder: &Path,
    address: SocketAddr,
    own: &OwnRequest,
    clients: Clients<'_>,
) -> io::Result<Configuration> {
    let mut lines = vec![
        // A process that changes its user no longer ends with its parent.
        "user root".to_owned(),
        format!("listener {} {}", address.port(), address.ip()),
        "persistence false".to_owned(),
        // What a closed loop has in flight may all wait for one subscriber.
        "max_queued_messages 0".to_owned(),
        "log_type error".to_owned(),
        "log_type warning".to_owned(),
    ];
    if own.web_socket.is_some() {
        lines.push("protocol websockets".to_owned());
    }
    let numbers = match clients {
        Clients::Users(scenario) => scenario.numbers(),
        Clients::Plain | Clients::Tls => 0,
    };
    if !matches!(clients, Clients::Plain) {
        let files = certificates::make_with_clients(folder, own.key, numbers)?;
        lines.push(format!("certfile {}", files.certificate.display()));
        lines.push(format!("keyfile {}", files.key.display()));
        lines.push(format!("cafile {}", files.ca.display()));
        if numbers > 0 {
            lines.push("require_certificate true".to_owned());
        }
    }
    if let Clients::Users(scenario) = clients {
        let file = folder.join("passfile");
        write_private(&file, &users(scenario)?)?;
        lines.push(format!("password_file {}", file.display()));
    }
    lines.push(format!("allow_anonymous {}", numbers == 0));
    let file = folder.join("broker.conf");
    let text = lines.join("\n") + "\n";
    write_private(&file, &text)?;
    Ok(Configuration { file, text })
}

/// The lines of a password file as mosquitto_passwd writes them.
fn users(scenario: &Scenario) -> io::Result<String> {
    let Credentials {
        user_name: Some(pattern),
        password: Some(password),
    } = &scenario.credentials
    else {
        return Err(io::Error::other("the scenario has no users"));
    };
    let algorithm = Algorithm::Sha512Pbkdf2 {
        iterations: ITERATIONS,
    };
    let lines = (0..scenario.numbers()).map(|number| {
        let hash = PasswordHash::make(password.as_bytes(), algorithm).map_err(io::Error::other)?;
        Ok(format!("{}:{hash}\n", numbered(pattern, number)))
    });
    lines.collect()
}

/// The TLS configuration of the clients of our broker.
fn own_clients_tls(folder: &Path, clients: Clients<'_>) -> Result<Option<ClientConfigs>, Failure> {
    let (numbers, with_certificates) = match clients {
        Clients::Plain => return Ok(None),
        Clients::Tls => (1, false),
        Clients::Users(scenario) => (scenario.numbers(), true),
    };
    let ca = folder.join("ca.crt");
    let configs = (0..numbers).map(|number| {
        let (certificate, key) = certificates::client_files(folder, number);
        let own = ClientTls {
            ca: Some(&ca),
            certificate: with_certificates.then_some((certificate.as_path(), key.as_path())),
            ..ClientTls::default()
        };
        client_tls(&own, &NoPassphrase)
    });
    Ok(Some(ClientConfigs::new(configs.collect::<Result<_, _>>()?)))
}

/// Deletes the files after the broker has read them, so that nothing is left behind whatever happens later.
fn remove(folder: TempDir) {
    if let Err(error) = folder.close() {
        note(&format!("cannot remove the files of the run: {error}"));
    }
}

/// Iterations of a password's hash, as in mosquitto_passwd.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(100);
/// Time limit for one of several addresses to accept a connection.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::certificates::ServerKey;

    #[test]
    fn an_unknown_name_is_a_sentence() {
        let hosts = ["127.0.0.1", "no-such-host.invalid"].map(|name| (name.to_owned(), 1883));
        let error = endpoint(&hosts, None, None).unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn a_missing_ca_file_is_a_sentence() {
        let tls = TlsRequest {
            ca: Some("/nonexistent/ca.crt".into()),
            ..TlsRequest::default()
        };
        let error = client_configs(&tls, 1, &NoPassphrase).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
    }

    #[test]
    fn the_configuration_names_listener_and_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let address = FreeAddress::find().unwrap().address;
        let own = OwnRequest {
            shards: 1,
            tls: true,
            web_socket: Some("/mqtt".to_owned()),
            key: ServerKey::P256,
            cpus: None,
            users: false,
        };
        let configuration = configure(folder.path(), address, &own, Clients::Tls).unwrap();
        let text = std::fs::read_to_string(configuration.file).unwrap();
        assert!(
            text.contains(&format!("listener {} 127.0.0.1\n", address.port())),
            "{text}"
        );
        assert!(text.contains("protocol websockets\n"), "{text}");
        assert!(text.contains("certfile ") && text.contains("keyfile "), "{text}");
    }
}
