//! Starts one broker of a comparison: its folder, its configuration, its process.
//!
//! Invariants: the private keys are made for one comparison and deleted with it. They are readable by everybody,
//! because a broker that gives up its privileges must still read them.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;

use super::peers::{Configured, MeasuredProcess, Peer, Setting};
use super::plan::{Broker, BrokerKind};
use crate::system::error::Failure;
use crate::system::processes;
use crate::target::certificates::{self, ServerCertificates, ServerKey};
use crate::target::client_tls;
use crate::target::endpoint::{ClientConfigs, Endpoint};
use crate::target::process::{BrokerProcess, FreeAddress, LISTENS_WITHIN};
use crate::target::subject::Subject;

/// A broker that was started and accepts connections.
pub(super) struct Started {
    /// Its address and name, for the clients.
    pub(super) subject: Subject,
    /// The process, which ends with this value.
    pub(super) process: BrokerProcess,
    /// The configuration that it was started with.
    pub(super) configuration: String,
    _folder: TempDir,
}

impl Started {
    /// Starts a broker and waits until it listens.
    pub(super) fn new(
        tls: Option<ServerKey>,
        broker: &Broker,
        certificates: &Certificates,
        interrupted: &AtomicBool,
    ) -> Result<Started, Failure> {
        let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
        let folder = folder.map_err(Failure::system("cannot create a folder for a broker"))?;
        // A broker may give up its privileges, and then needs access to its own files.
        open_to_all(folder.path())?;
        let free = FreeAddress::find()?;
        let address = free.address;
        let files = tls.map(|key| certificates.of(key));
        let setting = Setting {
            port: address.port(),
            tls: files,
            folder: folder.path(),
            nodelay: broker.nodelay,
            threads: broker.cores.count(),
            durable: false,
        };
        let (mut process, configured) = start(broker, &setting)?;
        process.wait_until_it_listens_within(address, ready_within(broker), interrupted)?;
        let tls = tls.map(|key| certificates.clients(key)).transpose()?;
        let subject = Subject {
            endpoint: Endpoint::one(address, "localhost", tls),
            pid: Some(measured(broker, process.pid())),
            name: broker.label.clone(),
            configuration: Some(configured.text.clone()),
        };
        Ok(Started {
            subject,
            process,
            configuration: configured.text,
            _folder: folder,
        })
    }
}

/// Starts the process of a broker with its configuration.
pub(super) fn start(broker: &Broker, setting: &Setting<'_>) -> Result<(BrokerProcess, Configured), Failure> {
    let cores = Some(&broker.cores);
    let cannot = |error: io::Error| Failure::System {
        what: "cannot write a broker's configuration".to_owned(),
        source: error,
    };
    match &broker.kind {
        BrokerKind::Peer(peer, program) => {
            let configured = peer.configure(program, setting).map_err(cannot)?;
            let process = BrokerProcess::peer(configured.words.clone(), cores)?;
            Ok((process, configured))
        }
        BrokerKind::Midge => {
            let midge = Peer::midge().map_err(Failure::Broker)?;
            let configured = midge.configure(Path::new(""), setting).map_err(cannot)?;
            let shards = ["--shards", &broker.cores.count().to_string()].map(OsString::from);
            // The first argument is the program, which is this one.
            let words = configured.words.iter().skip(1).cloned().chain(shards);
            let process = BrokerProcess::own(words, cores)?;
            Ok((process, configured))
        }
    }
}

/// How long a broker may take until it listens.
pub(super) fn ready_within(broker: &Broker) -> Duration {
    match &broker.kind {
        BrokerKind::Peer(peer, _) => peer.ready_within(),
        BrokerKind::Midge => LISTENS_WITHIN,
    }
}

/// The process whose CPU time and memory are those of the broker.
pub(super) fn measured(broker: &Broker, started: u32) -> u32 {
    match &broker.kind {
        BrokerKind::Peer(peer, _) if peer.process == MeasuredProcess::LargestChild => {
            processes::largest_below(started)
        }
        _ => started,
    }
}

/// The certificates of one comparison: one set for each type of key.
pub(super) struct Certificates {
    _folder: TempDir,
    p256: ServerCertificates,
    rsa2048: ServerCertificates,
}

impl Certificates {
    /// Makes a CA, and a certificate with its key for each type of key.
    pub(super) fn make() -> Result<Certificates, Failure> {
        let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
        let folder = folder.map_err(Failure::system("cannot create a folder for certificates"))?;
        open_to_all(folder.path())?;
        let make = |name: &str, key: ServerKey| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path)?;
            let files = certificates::make_with_clients(&path, key, 0)?;
            for file in [&files.ca, &files.certificate, &files.key] {
                readable(file, 0o644)?;
            }
            readable(&path, 0o755)?;
            Ok(files)
        };
        let cannot = |error| Failure::System {
            what: "cannot make certificates".to_owned(),
            source: error,
        };
        let p256 = make("p256", ServerKey::P256).map_err(cannot)?;
        let rsa2048 = make("rsa2048", ServerKey::Rsa2048).map_err(cannot)?;
        Ok(Certificates {
            _folder: folder,
            p256,
            rsa2048,
        })
    }

    fn of(&self, key: ServerKey) -> &ServerCertificates {
        match key {
            ServerKey::P256 => &self.p256,
            ServerKey::Rsa2048 => &self.rsa2048,
        }
    }

    fn clients(&self, key: ServerKey) -> Result<ClientConfigs, Failure> {
        let tls = transport::tls::ClientTls {
            ca: Some(&self.of(key).ca),
            ..transport::tls::ClientTls::default()
        };
        Ok(ClientConfigs::new(vec![client_tls(
            &tls,
            &transport::tls::NoPassphrase,
        )?]))
    }
}

/// The keys belong to this comparison only and are deleted with it: brokers that give up their privileges must read
/// them.
fn readable(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Makes a folder readable for everybody.
pub(super) fn open_to_all(folder: &Path) -> Result<(), Failure> {
    readable(folder, 0o755).map_err(Failure::system("cannot open a folder to the brokers"))
}
