//! `compare --kill`: brokers are killed with -9 under load, restarted, and checked for what they had acknowledged.
//!
//! Invariants: a subscriber with a session that outlives its connection has subscribed and disconnected before the
//! first message, so everything that is acknowledged has to be kept for it. A message counts as acknowledged when its
//! PUBACK or PUBREC has arrived; messages in flight may be kept or not. Each broker has the best setting that it
//! documents.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::encode;
use mqtt::frame::PacketType;
use mqtt::packet::{Packet, PacketIdentifier, Publish, QoS, RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::reason::ReasonCode;
use mqtt::version::ProtocolVersion;
use transport::stream::SecureStream;

use super::args::CompareRequest;
use super::folder::Folder;
use super::kill_outcome::{self, Kept, KillOutcome};
use super::peers::Setting;
use super::plan::{Broker, BrokerKind};
use super::start::{measured, open_to_all, ready_within, start};
use crate::connection::login::Login;
use crate::connection::{BlockingConnection, Broken};
use crate::scenario::Credentials;
use crate::system::error::{EXIT_MISSED, EXIT_OK, Failure};
use crate::system::output::{note, print, show_progress};
use crate::target::process::FreeAddress;

/// Kills each broker in each round; 1 if Midge has lost a message that it had acknowledged.
pub(super) fn run(request: &CompareRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    let folder = Folder::make(request).map_err(Failure::system("cannot create the folder of the results"))?;
    let mut kept: BTreeMap<(String, u8), Kept> = BTreeMap::new();
    let mut random = fastrand::Rng::new();
    for round in 1..=request.rounds {
        for broker in request.brokers.iter().filter(|broker| takes_part(broker, round)) {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(EXIT_OK);
                }
                let load = Duration::from_millis(random.u64(LOAD_MS));
                let one = kill(broker, qos, load, interrupted).unwrap_or_else(|failure| {
                    note(&format!("{}: {failure}", broker.label));
                    Kept {
                        rounds: 1,
                        failed: 1,
                        ..Kept::default()
                    }
                });
                show_progress(&format!("{} QoS {}, {round}: {one:?}", broker.label, qos as u8));
                *kept.entry((broker.label.clone(), qos as u8)).or_default() += one;
            }
        }
    }
    let text = kill_outcome::table(&kept);
    print(&format!("{text}\n{}\n", folder.path().display()))?;
    let written = folder
        .write("kill.txt", text.as_bytes())
        .and_then(|()| folder.write_json("kill.json", &KillOutcome::new(&kept)))
        .and_then(|()| folder.write("command", format!("{}\n", request.line).as_bytes()));
    written.map_err(Failure::system("cannot write the results"))?;
    let ours = |((broker, _), kept): (&(String, u8), &Kept)| {
        broker.starts_with(crate::summary::comparison::MIDGE) && (kept.gone > 0 || kept.failed > 0)
    };
    Ok(if kept.iter().any(ours) {
        EXIT_MISSED
    } else {
        EXIT_OK
    })
}

fn takes_part(broker: &Broker, round: u32) -> bool {
    let durable = match &broker.kind {
        BrokerKind::Midge => true,
        BrokerKind::Peer(peer, _) => peer.has_durable,
    };
    if !durable && broker.nodelay && round == 1 {
        note(&format!(
            "{} is left out: no setting is known with which it keeps messages",
            broker.label
        ));
    }
    durable && broker.nodelay
}

/// One round with one broker.
fn kill(broker: &Broker, qos: QoS, load: Duration, interrupted: &AtomicBool) -> Result<Kept, Failure> {
    let folder = tempfile::Builder::new().prefix("loadgen-").tempdir();
    let folder = folder.map_err(Failure::system("cannot create a folder for a broker"))?;
    open_to_all(folder.path())?;
    let free = FreeAddress::find()?;
    let setting = Setting {
        port: free.address.port(),
        tls: None,
        folder: folder.path(),
        nodelay: broker.nodelay,
        threads: broker.cores.count(),
        durable: true,
    };
    let broken = |broken: Broken| Failure::Connect(broken.to_string());
    let (mut process, _) = start(broker, &setting)?;
    process.wait_until_it_listens_within(free.address, ready_within(broker), interrupted)?;
    let client = KillClient {
        port: setting.port,
        qos,
    };
    client.subscribe_and_leave(interrupted).map_err(broken)?;
    let main = measured(broker, process.pid());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(load);
        if main != process.pid() {
            let pid = i32::try_from(main).ok().and_then(rustix::process::Pid::from_raw);
            // It may have ended already.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        process.kill()
    });
    let acknowledged = client.publish_until_it_breaks(interrupted).map_err(broken)?;
    killer.join().map_err(|_| Failure::Thread)??;
    let (mut process, _) = start(broker, &setting)?;
    process.wait_until_it_listens_within(free.address, ready_within(broker), interrupted)?;
    let received = client.receive_all(interrupted).map_err(broken)?;
    Ok(count(&acknowledged, &received))
}

/// Counts lost, repeated and disordered messages; `acknowledged` and `received` are sequence numbers.
fn count(acknowledged: &[u32], received: &[u32]) -> Kept {
    let mut times: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut highest, mut disordered) = (None, 0);
    for &sequence in received {
        let seen = times.entry(sequence).or_default();
        *seen += 1;
        disordered += u64::from(*seen == 1 && highest.is_some_and(|highest| sequence < highest));
        highest = highest.max(Some(sequence));
    }
    Kept {
        rounds: 1,
        acknowledged: acknowledged.len() as u64,
        gone: acknowledged
            .iter()
            .filter(|sequence| !times.contains_key(sequence))
            .count() as u64,
        repeated: times.values().filter(|times| **times > 1).count() as u64,
        disordered,
        failed: 0,
    }
}

/// The clients of one round, which speak MQTT 3.1.1, as every broker does.
#[derive(Clone, Copy)]
struct KillClient {
    port: u16,
    qos: QoS,
}

impl KillClient {
    fn connect(
        &self,
        name: &str,
        clean_start: bool,
        interrupted: &AtomicBool,
    ) -> Result<BlockingConnection, Broken> {
        let deadline = Instant::now() + ANSWERS_WITHIN;
        let login = Login {
            version: VERSION,
            clean_start,
            keep_alive_s: 60,
            client_identifier: name,
            credentials: &Credentials::default(),
            number: None,
            properties: Properties::EMPTY,
            will: None,
        };
        let mut connect = Vec::new();
        login.encode(&mut connect)?;
        let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, self.port));
        let stream = SecureStream::client(None, "localhost")?;
        let mut connection = BlockingConnection::open(&address.into(), stream, deadline)?;
        connection.log_in(&connect, VERSION, deadline, interrupted)?;
        Ok(connection)
    }

    fn subscribe_and_leave(&self, interrupted: &AtomicBool) -> Result<(), Broken> {
        let mut connection = self.connect(SUBSCRIBER, false, interrupted)?;
        let mut subscribe = Vec::new();
        let options = SubscriptionOptions {
            qos: self.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let filters = [(TOPIC, options)];
        let identifier = PacketIdentifier::MIN;
        encode::subscribe(identifier, Properties::EMPTY, &filters, VERSION, &mut subscribe)?;
        connection.send(&subscribe)?;
        connection.next(Instant::now() + ANSWERS_WITHIN)?;
        connection.close(VERSION);
        Ok(())
    }

    /// Publishes with a window until the broker is gone; returns the acknowledged messages.
    fn publish_until_it_breaks(&self, interrupted: &AtomicBool) -> Result<Vec<u32>, Broken> {
        let mut connection = self.connect("kill-publisher", true, interrupted)?;
        let (mut acknowledged, mut sequence) = (Vec::new(), 0_u32);
        let mut in_flight: BTreeMap<PacketIdentifier, u32> = BTreeMap::new();
        let until = Instant::now() + BREAKS_WITHIN;
        while Instant::now() < until {
            let mut out = Vec::new();
            while in_flight.len() < WINDOW {
                let mut free = (1..=u16::MAX).filter_map(PacketIdentifier::new);
                let Some(identifier) = free.find(|identifier| !in_flight.contains_key(identifier)) else {
                    break;
                };
                self.encode(sequence, identifier, &mut out)?;
                in_flight.insert(identifier, sequence);
                sequence += 1;
            }
            // The expected kill ends the connection.
            if connection.send(&out).is_err() {
                break;
            }
            let Ok(Some(answer)) = connection.next(until) else {
                break;
            };
            let mut release = Vec::new();
            match answer.packet(VERSION)? {
                Packet::PubAck(ack) => acknowledged.extend(in_flight.remove(&ack.packet_identifier)),
                Packet::PubRec(ack) => {
                    acknowledged.extend(in_flight.get(&ack.packet_identifier));
                    let identifier = ack.packet_identifier;
                    acknowledge(PacketType::PubRel, identifier, &mut release);
                }
                Packet::PubComp(ack) => drop(in_flight.remove(&ack.packet_identifier)),
                _ => {}
            }
            if !release.is_empty() && connection.send(&release).is_err() {
                break;
            }
        }
        Ok(acknowledged)
    }

    fn encode(&self, sequence: u32, identifier: PacketIdentifier, out: &mut Vec<u8>) -> Result<(), Broken> {
        let publish = Publish {
            dup: false,
            qos: self.qos,
            retain: false,
            topic: TOPIC,
            packet_identifier: Some(identifier),
            properties: Properties::EMPTY,
            payload: &sequence.to_be_bytes(),
        };
        Ok(publish.encode(VERSION, out)?)
    }

    /// Resumes the session and receives until nothing more arrives.
    fn receive_all(&self, interrupted: &AtomicBool) -> Result<Vec<u32>, Broken> {
        let mut connection = self.connect(SUBSCRIBER, false, interrupted)?;
        let mut received = Vec::new();
        while let Some(whole) = connection.next(Instant::now() + QUIET)? {
            let mut answer = Vec::new();
            match whole.packet(VERSION)? {
                Packet::Publish(publish) => {
                    received.extend(
                        publish
                            .payload
                            .first_chunk()
                            .map(|bytes| u32::from_be_bytes(*bytes)),
                    );
                    let kind = if publish.qos == QoS::ExactlyOnce {
                        PacketType::PubRec
                    } else {
                        PacketType::PubAck
                    };
                    if let Some(identifier) = publish.packet_identifier {
                        acknowledge(kind, identifier, &mut answer);
                    }
                }
                Packet::PubRel(ack) => {
                    acknowledge(PacketType::PubComp, ack.packet_identifier, &mut answer);
                }
                _ => {}
            }
            connection.send(&answer)?;
        }
        connection.close(VERSION);
        Ok(received)
    }
}

fn acknowledge(kind: PacketType, identifier: PacketIdentifier, out: &mut Vec<u8>) {
    encode::ack(kind, identifier, ReasonCode::Success, VERSION, out);
}

const VERSION: ProtocolVersion = ProtocolVersion::V3_1_1;
const SUBSCRIBER: &str = "kill-subscriber";
const TOPIC: &str = "kill/load";
/// Number of messages that the publisher has in flight.
const WINDOW: usize = 20;
/// Range of the duration of the load before the kill.
const LOAD_MS: std::ops::Range<u64> = 200..1_200;
/// Time for CONNACK and SUBACK.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// A broker that is still there after this time was not killed.
const BREAKS_WITHIN: Duration = Duration::from_secs(20);
/// If nothing arrives for this long, nothing more will.
const QUIET: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_repeated_and_out_of_order_is_counted() {
        let kept = count(&[0, 1, 2, 3], &[1, 0, 3, 3, 4]);
        assert_eq!((kept.acknowledged, kept.gone), (4, 1));
        assert_eq!((kept.repeated, kept.disordered), (1, 1));
        let whole = count(&[0, 1], &[0, 1, 2]);
        assert_eq!((whole.gone, whole.repeated, whole.disordered), (0, 0, 0));
        let mut sum = kept;
        sum += whole;
        assert_eq!((sum.rounds, sum.acknowledged, sum.gone), (2, 6, 1));
        let text = kill_outcome::table(&BTreeMap::from([(("midge".to_owned(), 1), sum)]));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
