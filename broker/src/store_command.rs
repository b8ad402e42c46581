//! `broker store`: inspects the folder of a store, and copies it.
//!
//! Invariants: the folder is only read, so a broker may be using it. The exit code is 1 if anything in it is damaged.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use store::{Inspection, RecoveredSession};

/// The arguments of `broker store`.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Read everything in it and report damage
    Check {
        /// Folder of the store
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print how much it contains
    Stat {
        /// Folder of the store
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print sessions, subscriptions, messages and retained messages, one per line
    Dump {
        /// Folder of the store
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Copy it, even while a broker is using it; the copy is checked
    Backup {
        /// Folder of the store
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Folder for the copy; it must not exist yet
        #[arg(value_name = "TARGET")]
        target: PathBuf,
    },
}

/// Performs the action and prints the result.
pub fn run(args: &StoreArgs) -> ExitCode {
    let result = match &args.action {
        Action::Check { folder } | Action::Stat { folder } | Action::Dump { folder } => {
            store::inspect(folder)
        }
        Action::Backup { folder, target } => store::backup(folder, target),
    };
    let inspection = match result {
        Ok(inspection) => inspection,
        Err(error) => {
            // A standard error that cannot be written must not change the exit code.
            let _failed = writeln!(io::stderr(), "Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::stdout().lock();
    // The reader may close its end early.
    let _read = match &args.action {
        Action::Check { .. } | Action::Backup { .. } => print_check(&mut out, &inspection),
        Action::Stat { .. } => print_statistics(&mut out, &inspection),
        Action::Dump { .. } => print_all(&mut out, &inspection),
    };
    if inspection.recovered.damage.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_check(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let damage = &inspection.recovered.damage;
    for finding in &damage.findings {
        writeln!(out, "{finding}")?;
    }
    let (first, last) = (inspection.segments.first(), inspection.segments.last());
    let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
    let commits = inspection.commit_last.saturating_sub(inspection.commit_reclaimed);
    writeln!(
        out,
        "{commits} commits in the segments {first} to {last} were read"
    )?;
    if damage.is_none() {
        writeln!(out, "nothing is damaged")
    } else {
        writeln!(out, "{damage}")
    }
}

fn print_statistics(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let recovered = &inspection.recovered;
    let sum = |count: fn(&RecoveredSession) -> usize| recovered.sessions.iter().map(count).sum::<usize>();
    let in_flight = |session: &RecoveredSession| {
        let sent = session
            .references
            .iter()
            .filter(|reference| reference.packet_identifier.is_some());
        sent.count()
    };
    let lines: [(&str, u64); 14] = [
        ("starts", recovered.epoch),
        ("shards", recovered.shards.into()),
        ("sessions", recovered.sessions.len() as u64),
        ("subscriptions", sum(|session| session.subscriptions.len()) as u64),
        (
            "messages for sessions",
            sum(|session| session.references.len()) as u64,
        ),
        ("of these in flight", sum(in_flight) as u64),
        ("messages on the disk", recovered.publications.len() as u64),
        ("retained messages", recovered.retained.len() as u64),
        ("segments in use", inspection.segments.len() as u64),
        ("free segments", inspection.segments_free as u64),
        ("bytes on the disk", inspection.bytes_total),
        ("live bytes", inspection.bytes_live),
        ("last commit", inspection.commit_last),
        ("last commit marked durable", inspection.commit_durable),
    ];
    for (name, number) in lines {
        writeln!(out, "{name:26} {number}")?;
    }
    Ok(())
}

fn print_all(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    for session in &inspection.recovered.sessions {
        print_session(out, session)?;
    }
    for publication in &inspection.recovered.publications {
        let store::RecoveredPublication {
            id,
            share,
            unmarked,
            message,
        } = publication;
        write!(out, "message {id:#x} bytes {}", message.len())?;
        if !share.is_empty() {
            write!(out, " share {share:?}")?;
        }
        if !unmarked.is_empty() {
            write!(out, " shards-missing {unmarked:?}")?;
        }
        writeln!(out)?;
    }
    for retained in &inspection.recovered.retained {
        let store::RecoveredRetained {
            ticket,
            topic,
            message,
        } = retained;
        writeln!(
            out,
            "retained {topic:?} ticket {ticket:#x} bytes {}",
            message.len()
        )?;
    }
    Ok(())
}

fn print_session(out: &mut impl Write, session: &RecoveredSession) -> io::Result<()> {
    let number = session.number;
    let client_identifier = &session.client_identifier;
    write!(
        out,
        "session {number:#x} client {client_identifier:?} expiry_s {}",
        session.expiry_s
    )?;
    if let Some(user) = &session.user {
        write!(out, " user {user:?}")?;
    }
    if let Some(away_since_ms) = session.away_since_ms {
        write!(out, " away_since_ms {away_since_ms}")?;
    }
    if let Some(will) = &session.will {
        write!(
            out,
            " will_delay_s {} will_bytes {}",
            will.delay_s,
            will.message.len()
        )?;
    }
    writeln!(out)?;
    for subscription in &session.subscriptions {
        let store::RecoveredSubscription {
            filter,
            options,
            identifier,
        } = subscription;
        writeln!(
            out,
            "subscription {number:#x} {filter:?} options {options:#04x} identifier {identifier}"
        )?;
    }
    for reference in &session.references {
        let (order, publication) = (reference.order, reference.publication);
        write!(
            out,
            "queued {number:#x} order {order} message {publication:#x} qos {}",
            reference.qos
        )?;
        if let Some(packet_identifier) = reference.packet_identifier {
            write!(out, " packet_identifier {packet_identifier}")?;
        }
        writeln!(out, "{}", if reference.released { " released" } else { "" })?;
    }
    for packet_identifier in &session.received {
        writeln!(out, "received {number:#x} packet_identifier {packet_identifier}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::{Options, Record, Session};

    use super::*;

    fn filled(folder: &std::path::Path) {
        let (mut log, _) = store::open(folder, &Options::default(), Box::new(|_| {})).unwrap();
        let mut shard = log.shard(0);
        shard.append(&Record::Session(Session {
            number: 7,
            client_identifier: "a\nb",
            user: Some("user"),
            expiry_s: 60,
            away_since_ms: None,
            will: None,
        }));
        shard.append(&Record::Subscribed {
            session: 7,
            filter: "a/#",
            options: 1,
            identifier: 0,
        });
        shard.append(&Record::Retained {
            ticket: 1,
            topic: "t",
            message: b"kept",
        });
        shard.submit();
        log.step().unwrap();
    }

    fn text(print: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_store_is_printed_and_what_clients_named_is_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("store");
        filled(&folder);
        let inspection = store::inspect(&folder).unwrap();
        let all = text(|out| print_all(out, &inspection));
        assert_eq!(
            all,
            "session 0x7 client \"a\\nb\" expiry_s 60 user \"user\"\n\
             subscription 0x7 \"a/#\" options 0x01 identifier 0\n\
             retained \"t\" ticket 0x1 bytes 4\n"
        );
        let statistics = text(|out| print_statistics(out, &inspection));
        assert!(
            statistics.contains("sessions                   1\n"),
            "{statistics}"
        );
        let check = text(|out| print_check(out, &inspection));
        assert!(check.ends_with("nothing is damaged\n"), "{check}");
    }

    #[test]
    fn damage_is_an_exit_code_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("store");
        let check = |folder: &std::path::Path| {
            let action = Action::Check {
                folder: folder.to_owned(),
            };
            format!("{:?}", run(&StoreArgs { action }))
        };
        assert_eq!(check(&folder), format!("{:?}", ExitCode::FAILURE));
        filled(&folder);
        assert_eq!(check(&folder), format!("{:?}", ExitCode::SUCCESS));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(folder.join("00000001.segment"))
            .unwrap();
        file.set_len(8192).unwrap();
        assert_eq!(check(&folder), format!("{:?}", ExitCode::FAILURE));
    }
}
