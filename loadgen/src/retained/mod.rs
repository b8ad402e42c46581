//! `loadgen retained`: publishes many retained messages, then one subscriber receives all of them. `args.rs` has the
//! options.
//!
//! Invariants: every message is acknowledged (QoS 1) before the broker's cost is read, and the subscriber counts what
//! it receives, so the figures contain no work that was only handed over. Blocking connections are enough, because the
//! broker's cost is read from its process.

pub mod args;

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mqtt::encode;
use mqtt::frame::{Frame, PacketType};
use mqtt::packet::{Packet, PacketIdentifier, QoS, RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::publish_template::PublishTemplate;
use mqtt::version::ProtocolVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::clock::{process_cpu_ns, process_rss_bytes};

use crate::connection::login::{self, Login};
use crate::connection::{BlockingConnection, Broken};
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::report::security;
use crate::outcome::validity::{Finding, Gravity, LimitedBy, Verdict};
use crate::scenario::{Credentials, Origin, json, payload};
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::machine::{self, Machine};
use crate::target::subject::Subject;

/// The retained messages that are to be measured.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Retained {
    /// Its name and scale, if it has a name.
    pub origin: Option<Origin>,
    /// Number of retained messages, each on a separate topic.
    pub messages: u32,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// Largest number of unacknowledged messages.
    pub inflight: u16,
    /// Protocol version; files from before this option have none.
    #[serde(default = "version_default", with = "json::version")]
    #[schemars(with = "String")]
    pub version: ProtocolVersion,
    /// User name and password for the broker.
    #[serde(skip)]
    pub credentials: Credentials,
}

fn version_default() -> ProtocolVersion {
    ProtocolVersion::V3_1_1
}

/// The outcome of a measurement of retained messages.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RetainedOutcome {
    /// The format, the kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// Wall clock at the beginning, seconds since 1970.
    pub started_unix_s: u64,
    /// The scenario that was measured.
    pub scenario: Retained,
    /// The broker, and the resources that it used.
    pub broker: RetainedBroker,
    /// Messages inserted per second.
    pub inserted_per_s: f64,
    /// Retained messages that the subscriber received.
    pub received: u64,
    /// The same, per second.
    pub received_per_s: f64,
    /// The machine on which it ran.
    pub machine: Machine,
    /// Whether the outcome is valid, and why.
    pub verdict: Verdict,
}

/// The broker and the resources that it used.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct RetainedBroker {
    /// The address and port of the broker.
    pub address: String,
    /// The name and version of the broker, for people.
    pub name: String,
    /// Its configuration, if it is known.
    pub configuration: Option<String>,
    /// Whether MQTT travelled in WebSocket frames.
    #[serde(default)]
    pub web_socket: bool,
    /// TLS version and cipher suite; `None` without TLS.
    #[serde(default)]
    pub tls: Option<String>,
    /// SHA-256 of the broker's program.
    pub sha256: Option<String>,
    /// CPU time for each insert, ns.
    pub cpu_ns_per_insert: Option<f64>,
    /// Resident memory for each message, bytes.
    pub rss_bytes_per_message: Option<f64>,
    /// CPU time for each message to the subscriber, ns.
    pub cpu_ns_per_message: Option<f64>,
}

/// Largest number of messages in one measurement.
pub const MESSAGES_MAX: u32 = 10_000_000;

impl Retained {
    /// Refuses what cannot be run, in one sentence.
    ///
    /// # Errors
    /// A sentence on the first mistake.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Retained { messages, .. } if !(1..=MESSAGES_MAX).contains(messages) => {
                Err(format!("--messages must be from 1 to {MESSAGES_MAX}"))
            }
            Retained { payload_bytes, .. } if !(1..=1 << 20).contains(payload_bytes) => {
                Err("--size must be from 1 to 1048576 bytes".to_owned())
            }
            Retained { inflight: 0, .. } => Err("--inflight must be from 1 to 65535".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Measures a broker.
///
/// # Errors
/// When there is no outcome: no connection, a broker that stops answering, an interruption.
pub fn run(
    retained: &Retained,
    subject: &Subject,
    interrupted: &AtomicBool,
) -> Result<RetainedOutcome, Failure> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    let root = format!("retained/{}", std::process::id());
    let failed = |broken: Broken| Failure::Connect(format!("retained messages: {broken}"));
    let meter = |pid: Option<u32>| RetainedReading {
        cpu_ns: pid.and_then(|pid| process_cpu_ns(pid).ok()),
        rss_bytes: pid.and_then(|pid| process_rss_bytes(pid).ok()),
        at: Instant::now(),
    };
    let before = meter(subject.pid);
    let mut publisher = open(retained, subject, "lgretained-p", interrupted).map_err(failed)?;
    insert(retained, &mut publisher, &root, interrupted).map_err(failed)?;
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let inserted = meter(subject.pid);
    publisher.close(retained.version);
    let subscribing = meter(subject.pid);
    let mut subscriber = open(retained, subject, "lgretained-s", interrupted).map_err(failed)?;
    let received = receive(retained, &mut subscriber, &root, interrupted).map_err(failed)?;
    let delivered = meter(subject.pid);
    let tls = subscriber.negotiated();
    subscriber.close(retained.version);
    let count = f64::from(retained.messages);
    let each = |from: Option<u64>, to: Option<u64>, count: f64| {
        let grown = to?.saturating_sub(from?) as f64;
        (count > 0.0).then(|| grown / count)
    };
    Ok(RetainedOutcome {
        header: Header::new(OutcomeKind::Retained),
        started_unix_s: started.map_or(0, |since| since.as_secs()),
        scenario: retained.clone(),
        broker: RetainedBroker {
            address: subject.endpoint.addresses(),
            web_socket: subject.endpoint.web_socket,
            tls,
            name: subject.name.clone(),
            configuration: subject.configuration.clone(),
            sha256: subject.pid.and_then(machine::sha256_of_process),
            cpu_ns_per_insert: each(before.cpu_ns, inserted.cpu_ns, count),
            rss_bytes_per_message: each(before.rss_bytes, inserted.rss_bytes, count),
            cpu_ns_per_message: each(subscribing.cpu_ns, delivered.cpu_ns, received as f64),
        },
        inserted_per_s: count / (inserted.at - before.at).as_secs_f64().max(1e-9),
        received,
        received_per_s: received as f64 / (delivered.at - subscribing.at).as_secs_f64().max(1e-9),
        machine: Machine::look(),
        verdict: assess(retained, received),
    })
}

struct RetainedReading {
    cpu_ns: Option<u64>,
    rss_bytes: Option<u64>,
    at: Instant,
}

fn assess(retained: &Retained, received: u64) -> Verdict {
    let expected = u64::from(retained.messages);
    let mut findings = Vec::new();
    if received != expected {
        let text = format!("the subscriber of all received {received} of {expected} retained messages");
        findings.push(Finding {
            gravity: Gravity::Fault,
            text,
        });
    }
    Verdict {
        exit_code: if findings.is_empty() { EXIT_OK } else { EXIT_MISSED },
        valid: true,
        limited_by: LimitedBy::Nothing,
        findings,
    }
}

/// Connects one of the two clients: the publisher or the subscriber.
fn open(
    retained: &Retained,
    subject: &Subject,
    client_identifier: &str,
    interrupted: &AtomicBool,
) -> Result<BlockingConnection, Broken> {
    let deadline = Instant::now() + ANSWER;
    let login = Login {
        version: retained.version,
        clean_start: true,
        keep_alive_s: 0,
        client_identifier,
        credentials: &retained.credentials,
        number: Some(0),
        properties: Properties::EMPTY,
        will: None,
    };
    let mut connect = Vec::new();
    login.encode(&mut connect)?;
    let address = subject.endpoint.host(0).address;
    let mut connection = BlockingConnection::open(&address.into(), subject.endpoint.stream(0)?, deadline)?;
    connection.log_in(&connect, retained.version, deadline, interrupted)?;
    Ok(connection)
}

fn insert(
    retained: &Retained,
    publisher: &mut BlockingConnection,
    root: &str,
    interrupted: &AtomicBool,
) -> Result<(), Broken> {
    let filler = payload::filler(retained.payload_bytes, 1);
    let mut template = PublishTemplate::new();
    let (mut next, mut unacknowledged) = (0_u32, 0_u32);
    while (next < retained.messages || unacknowledged > 0) && !interrupted.load(Ordering::Relaxed) {
        let mut packets = Vec::new();
        while next < retained.messages && unacknowledged < u32::from(retained.inflight) {
            let topic = format!("{root}/{next}");
            let none = Properties::EMPTY;
            template.encode(
                retained.version,
                QoS::AtLeastOnce,
                true,
                &topic,
                none,
                none,
                &filler,
            )?;
            let identifier = u16::try_from(next % u32::from(retained.inflight)).unwrap_or(0);
            let identifier =
                PacketIdentifier::new(identifier.saturating_add(1)).unwrap_or(PacketIdentifier::MIN);
            template.append_with_identifier(identifier, false, &mut packets);
            next += 1;
            unacknowledged += 1;
        }
        publisher.send(&packets)?;
        let came = publisher.receive(Instant::now() + ANSWER, |frame| match frame.packet_type {
            PacketType::PubAck => {
                unacknowledged = unacknowledged.saturating_sub(1);
                Ok(())
            }
            _ => ended(frame, retained.version),
        })?;
        if !came {
            return Err(Broken::Timeout(ANSWER.as_secs()));
        }
    }
    Ok(())
}

fn receive(
    retained: &Retained,
    subscriber: &mut BlockingConnection,
    root: &str,
    interrupted: &AtomicBool,
) -> Result<u64, Broken> {
    let options = SubscriptionOptions {
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    let filter = format!("{root}/#");
    let mut packet = Vec::new();
    encode::subscribe(
        NonZeroU16::MIN,
        Properties::EMPTY,
        &[(filter.as_str(), options)],
        retained.version,
        &mut packet,
    )?;
    subscriber.send(&packet)?;
    let mut received = 0;
    while received < u64::from(retained.messages) && !interrupted.load(Ordering::Relaxed) {
        let came = subscriber.receive(Instant::now() + QUIET, |frame| match frame.packet_type {
            PacketType::Publish => {
                received += 1;
                Ok(())
            }
            PacketType::SubAck => login::suback(frame, retained.version, QoS::AtMostOnce),
            _ => ended(frame, retained.version),
        })?;
        // If the broker had more messages, one would have arrived.
        if !came {
            break;
        }
    }
    Ok(received)
}

/// What a packet means that was not expected.
fn ended(frame: &Frame<'_>, version: ProtocolVersion) -> Result<(), Broken> {
    match mqtt::decode::packet(frame, version)? {
        Packet::Disconnect(disconnect) => Err(login::disconnected(&disconnect)),
        _ => Ok(()),
    }
}

/// Time without an answer after which the broker counts as failed.
const ANSWER: Duration = Duration::from_secs(30);
/// Time without a message after which no more are expected.
const QUIET: Duration = Duration::from_secs(3);

/// The outcome as text.
pub fn text(outcome: &RetainedOutcome) -> String {
    let us = |ns: Option<f64>| ns.map_or("?".to_owned(), |ns| format!("{:.3}", ns / 1e3));
    let bytes = outcome.broker.rss_bytes_per_message;
    let bytes = bytes.map_or("?".to_owned(), |bytes| format!("{bytes:.0}"));
    let mut text = format!(
        "{} retained messages of {} B; {} ({}), {}\n\
         {:>24} {} µs CPU each, {bytes} B RSS each, {:.0} per second\n\
             {:>24} {} µs CPU each, {:.0} per second, {} received\n",
        outcome.scenario.messages,
        outcome.scenario.payload_bytes,
        outcome.broker.address,
        outcome.broker.name,
        security(outcome.broker.web_socket, outcome.broker.tls.as_deref()),
        "inserts",
        us(outcome.broker.cpu_ns_per_insert),
        outcome.inserted_per_s,
        "to a subscriber of all",
        us(outcome.broker.cpu_ns_per_message),
        outcome.received_per_s,
        outcome.received,
    );
    // Writing to a String cannot fail.
    let _ = crate::outcome::report::write_findings(&mut text, &outcome.verdict);
    text
}
