//! `loadgen compare`: Midge and other brokers on the same work, in turns.
//!
//! [`plan`] says what is measured and with whom, [`peers`] how each broker is started; the outcomes lie in a [`folder`],
//! from which [`summary`] and [`statistics`] make the [`table`].
//!
//! Invariants: each run has a broker of its own, in a process of its own, on its cores alone; the rounds go A B B A; a
//! run that fails is kept as such and the rest goes on.

pub mod args;
pub mod folder;
pub mod peers;
pub mod plan;
pub mod statistics;
pub mod summary;
pub mod table;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::{self, ServerCertificates, ServerKey};
use crate::error::{EXIT_GENERATOR, EXIT_INTERRUPTED, EXIT_MISSED, EXIT_OK, Failure};
use crate::machine::{self, Machine};
use crate::phase::{ClientConfigs, Endpoint};
use crate::process::{BrokerProcess, FreeAddress};
use crate::run::{Silent, Subject};
use crate::target::client_tls;
use crate::{retained, run, storm};
use args::CompareRequest;
use folder::{Folder, Version};
use peers::{Configured, Setting};
use plan::{Contender, Kind, Row, Work};

/// Runs a comparison; gives the exit code.
///
/// # Errors
/// When the results cannot be written, or the certificates not be made.
pub fn run(request: &CompareRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    for peer in &request.missing {
        eprintln!(
            "loadgen: {} is not installed and left out ({})",
            peer.name, peer.from
        );
    }
    let certificates = Certificates::make()?;
    let folder = Folder::make(request).map_err(Failure::system("cannot make the folder of the results"))?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let versions = versions(&request.contenders);
    let begun = write_frame(&folder, request, &versions);
    let tally = begun.and_then(|()| measure_all(request, &certificates, &folder, interrupted));
    let tally = tally.map_err(written)?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let summary = folder.sum_up(request, &versions).map_err(written)?;
    print!("{}", table::terminal(&summary));
    println!("\n{}", folder.path().display());
    Ok(tally.exit_code(interrupted))
}

/// What became of the runs.
#[derive(Debug, Default)]
struct Tally {
    runs: u32,
    failed: u32,
    ours_wrong: u32,
    invalid: u32,
}

impl Tally {
    fn count(&mut self, contender: &Contender, outcome: &Value) {
        let code = outcome.pointer("/verdict/exit_code").and_then(Value::as_u64);
        self.runs += 1;
        self.failed += u32::from(code.is_none());
        self.invalid += u32::from(code == Some(u64::from(EXIT_GENERATOR)));
        let wrong = code.is_none_or(|code| code != 0 && code != u64::from(EXIT_GENERATOR));
        self.ours_wrong += u32::from(matches!(contender.kind, Kind::Midge) && wrong);
    }

    /// Ours has to be right; of the others a run that fails is a result.
    fn exit_code(&self, interrupted: &AtomicBool) -> u8 {
        match () {
            () if interrupted.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
            () if self.ours_wrong > 0 || self.failed == self.runs => EXIT_MISSED,
            () if self.invalid * 2 > self.runs => EXIT_GENERATOR,
            () => EXIT_OK,
        }
    }
}

fn write_frame(folder: &Folder, request: &CompareRequest, versions: &[Version]) -> io::Result<()> {
    folder.write("command", format!("{}\n", request.line).as_bytes())?;
    folder.write_json("machine.json", &Machine::look())?;
    folder.write_json("versions.json", &versions)
}

fn measure_all(
    request: &CompareRequest,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let whole: usize = request
        .rows
        .iter()
        .map(|row| row.contenders(&request.contenders).len())
        .sum();
    let whole = whole * request.rounds as usize;
    let began = Instant::now();
    for row in &request.rows {
        let contenders = row.contenders(&request.contenders);
        for round in 1..=request.rounds {
            for contender in in_turn(&contenders, round) {
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(tally);
                }
                let outcome = measure(request, row, contender, certificates, folder, interrupted);
                let outcome = outcome.unwrap_or_else(|failure| json!({ "error": failure.to_string() }));
                tally.count(contender, &outcome);
                folder.keep_outcome(&row.name, &contender.label, round, &outcome)?;
                tell(row, contender, round, &outcome, (tally.runs, whole), began);
            }
        }
    }
    Ok(tally)
}

/// A B B A: every second round goes the other way round.
fn in_turn<'a>(contenders: &[&'a Contender], round: u32) -> Vec<&'a Contender> {
    let mut turn = contenders.to_vec();
    if round.is_multiple_of(2) {
        turn.reverse();
    }
    turn
}

fn tell(
    row: &Row,
    contender: &Contender,
    round: u32,
    outcome: &Value,
    (done, whole): (u32, usize),
    began: Instant,
) {
    let cost = [
        ("/broker/usage/cpu_ns_per_delivery", "a message"),
        ("/broker/usage/cpu_ns_per_connection", "a connection"),
        ("/broker/cpu_ns_per_insert", "an insert"),
    ];
    let cost = cost.iter().find_map(|(pointer, each)| {
        let us = summary::number(outcome, pointer)? / 1e3;
        Some(format!("{} µs CPU {each}", table::digits(us)))
    });
    let error = outcome.get("error").and_then(Value::as_str);
    let said = error.map(str::to_owned).or(cost).unwrap_or_default();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    eprintln!(
        "[{done}/{whole}, {minutes:.1} min] {} {} {round}: {said}",
        row.name, contender.label
    );
}

/// One run with a broker of its own.
fn measure(
    request: &CompareRequest,
    row: &Row,
    contender: &Contender,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> Result<Value, Failure> {
    let started = Started::new(request, row.tls, contender, certificates, interrupted)?;
    folder
        .keep_configuration(contender, row.tls.is_some(), &started.configuration)
        .map_err(Failure::system("cannot keep a configuration"))?;
    let subject = &started.subject;
    let value = match &row.work {
        Work::Load(scenario) => to_value(&run::run(scenario, subject, interrupted, &mut Silent)?),
        Work::Storm(storm) => to_value(&storm::run(storm, subject, interrupted, &mut Silent)?),
        Work::Retained(retained) => to_value(&retained::run(retained, subject, interrupted)?),
    };
    let mut started = started;
    started.process.check_alive()?;
    value
}

fn to_value<T: serde::Serialize>(outcome: &T) -> Result<Value, Failure> {
    serde_json::to_value(outcome).map_err(|error| Failure::System {
        what: "cannot write an outcome".to_owned(),
        source: error.into(),
    })
}

/// A broker that takes connections.
struct Started {
    subject: Subject,
    process: BrokerProcess,
    configuration: String,
    _folder: TempDir,
}

impl Started {
    fn new(
        request: &CompareRequest,
        tls: Option<ServerKey>,
        contender: &Contender,
        certificates: &Certificates,
        interrupted: &AtomicBool,
    ) -> Result<Started, Failure> {
        let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
        let folder = folder.map_err(Failure::system("cannot make a folder for a broker"))?;
        // A broker may give its privileges up, and then has to get at its own files.
        open_to_all(folder.path())?;
        let free = FreeAddress::find()?;
        let address = free.address;
        let files = tls.map(|key| certificates.of(key));
        let setting = Setting {
            port: address.port(),
            tls: files,
            folder: folder.path(),
            nodelay: contender.nodelay,
            threads: request.cores.count(),
        };
        let (mut process, configured) = start(contender, &setting, request)?;
        process.wait_until_it_listens(address, interrupted)?;
        let tls = tls.map(|key| certificates.clients(key)).transpose()?;
        let subject = Subject {
            endpoint: Endpoint {
                address,
                server_name: "localhost".to_owned(),
                tls,
            },
            pid: Some(process.pid()),
            name: contender.label.clone(),
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

fn start(
    contender: &Contender,
    setting: &Setting<'_>,
    request: &CompareRequest,
) -> Result<(BrokerProcess, Configured), Failure> {
    let cores = Some(&request.cores);
    let cannot = |error: io::Error| Failure::System {
        what: "cannot write a broker's configuration".to_owned(),
        source: error,
    };
    match &contender.kind {
        Kind::Peer(peer, program) => {
            let configured = peer.configure(setting).map_err(cannot)?;
            let process = BrokerProcess::peer(peer.command(program, &configured.file), cores)?;
            Ok((process, configured))
        }
        Kind::Midge => {
            let text = peers::mosquitto(setting);
            let file = setting.folder.join("midge.conf");
            std::fs::write(&file, &text).map_err(cannot)?;
            let shards = request.cores.count().to_string();
            let words = [
                "-c".into(),
                file.clone().into_os_string(),
                "--shards".into(),
                shards.into(),
            ];
            let process = BrokerProcess::own(words as [OsString; 4], cores)?;
            Ok((process, Configured { text, file }))
        }
    }
}

fn versions(contenders: &[Contender]) -> Vec<Version> {
    let version = |contender: &Contender| {
        let (version, program): (String, Option<PathBuf>) = match &contender.kind {
            Kind::Midge => (
                format!("Midge {}", env!("CARGO_PKG_VERSION")),
                std::env::current_exe().ok(),
            ),
            Kind::Peer(peer, program) => (peer.version(program), Some(program.clone())),
        };
        Version {
            broker: contender.label.clone(),
            version,
            sha256: program.and_then(|program| machine::sha256_of(&program)),
        }
    };
    contenders.iter().map(version).collect()
}

/// The certificates of one comparison: one set for each kind of key.
struct Certificates {
    _folder: TempDir,
    p256: ServerCertificates,
    rsa2048: ServerCertificates,
}

impl Certificates {
    fn make() -> Result<Certificates, Failure> {
        let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
        let folder = folder.map_err(Failure::system("cannot make a folder for certificates"))?;
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

/// The keys are of this comparison alone and gone with it: brokers that give up their privileges must read them.
fn readable(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn open_to_all(folder: &Path) -> Result<(), Failure> {
    readable(folder, 0o755).map_err(Failure::system("cannot open a folder to the brokers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(label: &str) -> Contender {
        Contender {
            label: label.to_owned(),
            kind: Kind::Midge,
            nodelay: true,
        }
    }

    #[test]
    fn rounds_go_there_and_back() {
        let (a, b) = (contender("a"), contender("b"));
        let order: String = (1..=4)
            .flat_map(|round| in_turn(&[&a, &b], round))
            .map(|contender| contender.label.as_str())
            .collect();
        assert_eq!(order, "abbaabba");
    }

    #[test]
    fn ours_has_to_be_right() {
        let code = |outcomes: &[(bool, Value)]| {
            let mut tally = Tally::default();
            for (ours, outcome) in outcomes {
                let mut contender = contender("x");
                if !ours {
                    let peer = peers::Peer::of("mosquitto").unwrap();
                    contender.kind = Kind::Peer(peer, PathBuf::new());
                }
                tally.count(&contender, outcome);
            }
            tally.exit_code(&AtomicBool::new(false))
        };
        let verdict = |code: u8| json!({"verdict": {"exit_code": code}});
        let error = json!({"error": "it does not start"});
        assert_eq!(code(&[(true, verdict(0)), (false, verdict(1))]), 0);
        assert_eq!(code(&[(true, verdict(0)), (false, error.clone())]), 0);
        assert_eq!(code(&[(true, verdict(1)), (false, verdict(0))]), 1);
        assert_eq!(code(&[(true, error), (false, verdict(0))]), 1);
        assert_eq!(code(&[(true, verdict(4)), (false, verdict(4))]), 4);
    }
}
