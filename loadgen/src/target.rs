//! The broker of a run: one that runs already, or one of our own in a process of its own.
//!
//! Invariants: a broker that was started here is ended by its process id when the `OwnBroker` is dropped, and by the
//! kernel if the generator is killed before that; its key file is gone as soon as it listens. What breaks them:
//! starting it from a thread that ends before the process does, because the kernel watches the thread.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::num::NonZeroU32;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::auth::password::{Algorithm, PasswordHash};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustls::ClientConfig;
use tempfile::TempDir;
use transport::socket::reserve_port;
use transport::tls::{ClientTls, KeyPassphrase, NoPassphrase};

use crate::args::{TargetRequest, TlsRequest};
use crate::certificates::{self, write_private};
use crate::conceal::PASSWORD_VARIABLE;
use crate::cpus::Cpus;
use crate::error::Failure;
use crate::key_passphrase::ClientPassphrase;
use crate::phase::{ClientConfigs, Endpoint};
use crate::run::Subject;
use crate::scenario::{Credentials, Scenario};
use crate::topics::numbered;

/// The word that makes this program the broker of a run.
pub const BROKER_WORD: &str = "broker";

/// A broker to load.
#[derive(Debug)]
pub struct Target {
    /// Where and what it is.
    pub subject: Subject,
    /// Ends it when dropped.
    own: Option<OwnBroker>,
}

impl Target {
    /// Starts or finds the broker for the clients of a scenario.
    ///
    /// # Errors
    /// One sentence on what failed: starting, the certificate files, or the name.
    pub fn open(
        request: &TargetRequest,
        scenario: &Scenario,
        interrupted: &AtomicBool,
    ) -> Result<Target, Failure> {
        match request {
            TargetRequest::OwnBroker {
                shards,
                tls,
                cpus,
                users,
            } => {
                let clients = match (tls, users) {
                    (false, _) => Clients::Plain,
                    (true, false) => Clients::Tls,
                    (true, true) => Clients::Users(scenario),
                };
                OwnBroker::start(*shards, clients, cpus.as_ref(), interrupted)
            }
            TargetRequest::Running {
                host,
                port,
                tls,
                key_pass_file,
                pid,
            } => {
                let passphrase = ClientPassphrase::new(key_pass_file.clone(), None);
                let tls = tls
                    .as_ref()
                    .map(|tls| client_configs(tls, scenario.numbers(), &passphrase))
                    .transpose()?;
                let endpoint = endpoint(host, *port, tls)?;
                let subject = Subject {
                    endpoint,
                    pid: *pid,
                    name: format!("broker at {host}"),
                    configuration: None,
                };
                Ok(Target { subject, own: None })
            }
        }
    }

    /// Whether the broker's process, if it is ours, has ended; with what it said.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match &mut self.own {
            Some(own) => own.check_alive(),
            None => Ok(()),
        }
    }
}

fn endpoint(host: &str, port: u16, tls: Option<ClientConfigs>) -> Result<Endpoint, Failure> {
    let no_address = |why: String| Failure::Connect(format!("{host} has no address: {why}"));
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| no_address(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let address =
        first_that_answers(&addresses).ok_or_else(|| no_address("the name is unknown".to_owned()))?;
    Ok(Endpoint {
        address,
        server_name: host.to_owned(),
        tls,
    })
}

/// Of several addresses the first that takes a connection; the first of all if none does, so that connecting tells
/// why.
fn first_that_answers(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, ANSWERS_WITHIN).is_ok();
    match addresses {
        [only] => Some(*only),
        several => several.iter().find(answers).or(several.first()).copied(),
    }
}

/// A client's configuration, or one sentence on what is wrong with its files.
pub(crate) fn client_tls(
    tls: &ClientTls<'_>,
    passphrase: &dyn KeyPassphrase,
) -> Result<Arc<ClientConfig>, Failure> {
    transport::tls::client(tls, passphrase).map_err(|error| Failure::Connect(error.to_string()))
}

/// One configuration for all clients, or one for each number where the paths have `%i`.
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

/// Whom a broker of our own lets in.
#[derive(Clone, Copy)]
enum Clients<'a> {
    /// Anyone.
    Plain,
    /// Anyone, over TLS.
    Tls,
    /// Those of a scenario, by certificate, user name and password.
    Users(&'a Scenario),
}

/// A broker in a process of its own.
#[derive(Debug)]
struct OwnBroker {
    process: Child,
    /// What it writes to its standard error.
    said: File,
}

impl OwnBroker {
    fn start(
        shards: usize,
        clients: Clients<'_>,
        cpus: Option<&Cpus>,
        interrupted: &AtomicBool,
    ) -> Result<Target, Failure> {
        let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
        let folder = folder.map_err(Failure::system("cannot make a folder for the run"))?;
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (reserved, port) =
            reserve_port(localhost).map_err(Failure::system("cannot find a free port on 127.0.0.1"))?;
        let address = SocketAddr::new(localhost, port);
        let configuration = configure(folder.path(), address, clients)
            .map_err(Failure::system("cannot write the files of the run"))?;
        let tls = own_clients_tls(folder.path(), clients)?;
        let mut own = OwnBroker::spawn(&configuration.file, shards, cpus)?;
        own.wait_until_it_listens(address, interrupted)?;
        drop(reserved);
        let endpoint = Endpoint {
            address,
            server_name: "localhost".to_owned(),
            tls,
        };
        let name = format!(
            "own broker, {shards} {}",
            if shards == 1 { "shard" } else { "shards" }
        );
        let subject = Subject {
            endpoint,
            pid: Some(own.process.id()),
            name,
            configuration: Some(configuration.text),
        };
        remove(folder);
        Ok(Target {
            subject,
            own: Some(own),
        })
    }

    fn spawn(configuration: &Path, shards: usize, cpus: Option<&Cpus>) -> Result<OwnBroker, Failure> {
        let program = std::env::current_exe().map_err(Failure::system("cannot find this program's file"))?;
        let said =
            tempfile::tempfile().map_err(Failure::system("cannot make a file for the broker's log"))?;
        let log = said
            .try_clone()
            .map_err(Failure::system("cannot open the broker's log"))?;
        let mut command = Command::new(program);
        command
            .args([BROKER_WORD, &std::process::id().to_string()])
            // It is the clients' affair.
            .env_remove(PASSWORD_VARIABLE)
            .arg(cpus.map_or(ANY_CPU.to_owned(), Cpus::to_string))
            .arg("-c")
            .arg(configuration)
            .args(["--shards", &shards.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A signal from the terminal is for the generator, which ends the broker after its report.
            .process_group(0);
        let process = command
            .spawn()
            .map_err(Failure::system("cannot start the broker"))?;
        Ok(OwnBroker { process, said })
    }

    fn wait_until_it_listens(
        &mut self,
        address: SocketAddr,
        interrupted: &AtomicBool,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < LISTENS_WITHIN {
            self.check_alive()?;
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            if TcpStream::connect_timeout(&address, LISTENS_WITHIN).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        let said = self.last_words();
        Err(Failure::Broker(format!(
            "the broker does not listen on {address} after {LISTENS_WITHIN:?}{said}"
        )))
    }

    fn check_alive(&mut self) -> Result<(), Failure> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::Broker(format!(
                "the broker ended ({status}){}",
                self.last_words()
            ))),
            Err(error) => Err(Failure::Broker(format!("cannot watch the broker: {error}"))),
        }
    }

    /// The end of what the broker wrote to its standard error.
    fn last_words(&mut self) -> String {
        let mut said = Vec::new();
        let read = self.said.rewind().and_then(|()| self.said.read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        match said.trim() {
            "" => String::new(),
            _ if read.is_err() => String::new(),
            said => {
                let lines: Vec<&str> = said.lines().rev().take(LAST_WORDS_LINES).collect();
                format!(
                    "; it said:\n  {}",
                    lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
                )
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let began = Instant::now();
        if let Some(pid) = pid.filter(|_| !self.has_ended()) {
            // It fails only if the process has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        while began.elapsed() < ENDS_WITHIN {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What this process does when its first argument is [`BROKER_WORD`]: the second is the process id of the generator,
/// the third the CPUs to run on, the rest goes to the broker.
pub fn become_broker(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let parent = arguments
        .next()
        .and_then(|word| word.to_str()?.parse::<u32>().ok());
    let cpus = arguments.next().unwrap_or_default();
    let is_child = || parent == Some(std::os::unix::process::parent_id());
    // Asked twice: the parent may end before the kernel watches it.
    if !is_child() || set_parent_process_death_signal(Some(Signal::KILL)).is_err() || !is_child() {
        eprintln!(
            "loadgen {BROKER_WORD} is started by loadgen only; the broker itself is the program `broker`"
        );
        return ExitCode::from(crate::error::EXIT_USAGE);
    }
    let cpus = cpus.to_str().and_then(|list| list.parse::<Cpus>().ok());
    if let Some(Err(error)) = cpus.as_ref().map(Cpus::confine_this_thread) {
        eprintln!("cannot run on the CPUs of --broker-cpus: {error}");
        return ExitCode::FAILURE;
    }
    broker::run(std::iter::once(OsString::from(BROKER_WORD)).chain(arguments))
}

/// In the place of a list of CPUs: all that are allowed. Not a list.
const ANY_CPU: &str = "any";

struct Configuration {
    file: PathBuf,
    text: String,
}

/// Writes the configuration and what it names: certificates, and the users with their passwords.
fn configure(folder: &Path, address: SocketAddr, clients: Clients<'_>) -> io::Result<Configuration> {
    let mut lines = vec![
        format!("listener {} {}", address.port(), address.ip()),
        "persistence false".to_owned(),
        // What a closed loop has under way may wait for one subscriber.
        "max_queued_messages 0".to_owned(),
        "log_type error".to_owned(),
        "log_type warning".to_owned(),
    ];
    let numbers = match clients {
        Clients::Users(scenario) => scenario.numbers(),
        Clients::Plain | Clients::Tls => 0,
    };
    if !matches!(clients, Clients::Plain) {
        let files = certificates::make_with_clients(folder, numbers)?;
        lines.push(format!("certfile {}", files.certificate.display()));
        lines.push(format!("keyfile {}", files.key.display()));
        if numbers > 0 {
            lines.push(format!("cafile {}", files.ca.display()));
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

/// How the clients of our own broker speak TLS.
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

/// The broker has read its files: they go now, so that nothing is left behind whatever happens later.
fn remove(folder: TempDir) {
    if let Err(error) = folder.close() {
        eprintln!("cannot remove the files of the run: {error}");
    }
}

/// Iterations of a password's hash: mosquitto_passwd's.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(100);
/// Time for one of several addresses to take a connection.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Time for the broker to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);
/// Time for the broker to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Pace of looking at it.
const POLL: Duration = Duration::from_millis(20);
/// Lines of its log that are shown.
const LAST_WORDS_LINES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_a_sentence() {
        let error = endpoint("no-such-host.invalid", 1883, None).unwrap_err();
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
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1883));
        let configuration = configure(folder.path(), address, Clients::Tls).unwrap();
        let text = std::fs::read_to_string(configuration.file).unwrap();
        assert!(
            text.contains(&format!("listener {} 127.0.0.1\n", address.port())),
            "{text}"
        );
        assert!(text.contains("certfile ") && text.contains("keyfile "), "{text}");
    }

    #[test]
    fn nobody_becomes_the_broker_of_a_foreign_parent() {
        assert_eq!(
            format!("{:?}", become_broker([OsString::from("x")])),
            format!("{:?}", ExitCode::from(2))
        );
    }
}
