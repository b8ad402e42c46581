//! Options of a client's connection: the broker's address, TLS, and the identity of the client.
//!
//! Invariant: TLS is used if any TLS option is given, and never without a CA or `--insecure`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use mqtt::packet::QoS;
use mqtt::topic;
use mqtt::version::ProtocolVersion;
use transport::tls::TlsVersion;

use super::url::BrokerUrl;
use super::{ClientSettings, ClientWill};
use crate::client::properties::Properties;
use crate::options::broker::WEB_SOCKET_PATH;
use crate::options::help::HelpArgument;
use crate::options::properties::PropertyArguments;
use crate::options::words::{default_port, qos, seconds, version, web_socket_path};
use crate::scenario::Credentials;
use crate::scenario::properties::{Carrier, SESSION_EXPIRY_INTERVAL};
use crate::system::hide_password::PASSWORD_VARIABLE;
use crate::system::key_passphrase::ClientPassphrase;
use crate::target::request::TlsRequest;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Broker")]
pub(super) struct ConnectionArguments {
    /// Host of the broker [default: localhost]
    #[arg(short, long)]
    host: Option<String>,
    /// Port [default: 1883, with TLS 8883, with --ws 8083 and 8084]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Unix socket of the broker, instead of host and port
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port", "url", "bind"])]
    unix: Option<PathBuf>,
    /// Address or host name of this machine to connect from
    #[arg(short = 'A', long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Host, port, user, password and topic in one: `mqtt(s)://[NAME[:PASSWORD]@]HOST[:PORT]/TOPIC`
    #[arg(
        short = 'L',
        long,
        conflicts_with_all = ["host", "port", "username", "password", "properties"]
    )]
    url: Option<BrokerUrl>,
    /// Client identifier [default: a unique one]
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// The client identifier is this text followed by the process number
    #[arg(short = 'I', long, value_name = "TEXT", conflicts_with = "id")]
    id_prefix: Option<String>,
    /// User name for the broker
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; the environment variable MIDGE_PASSWORD can be used instead
    #[arg(
        short = 'P',
        long = "pw",
        visible_alias = "password",
        value_name = "TEXT",
        requires = "username",
        allow_hyphen_values = true
    )]
    password: Option<String>,
    /// Keep alive of the connection, seconds
    #[arg(short, long = "keepalive", value_name = "S", default_value_t = 60)]
    keep_alive: u16,
    /// Protocol version of MQTT [default: 4, for rr 5]
    #[arg(short = 'V', long, value_name = "3|4|5", value_parser = version)]
    protocol_version: Option<ProtocolVersion>,
    /// Keep the session at the broker
    #[arg(short = 'c', long, requires = "id")]
    disable_clean_session: bool,
    /// MQTT 5.0: seconds that the session is kept [default: with -c forever]
    #[arg(short = 'x', long, value_name = "S")]
    session_expiry_interval: Option<u32>,
    /// Longest time to connect, seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    connect_timeout: Duration,
    /// Speak MQTT over WebSocket
    #[arg(long)]
    ws: bool,
    /// Path of the WebSocket upgrade
    #[arg(long, value_name = "PATH", default_value = WEB_SOCKET_PATH, value_parser = web_socket_path)]
    ws_path: String,
    /// Topic of the client's Will
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// Text that the Will publishes
    #[arg(long, value_name = "TEXT", requires = "will_topic", default_value = "")]
    will_payload: String,
    /// QoS with which the Will is published
    #[arg(long, value_name = "0|1|2", requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: QoS,
    /// Publish the Will as a retained message
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Print each packet that is sent or received to standard error
    #[arg(short, long)]
    debug: bool,
    /// Print no errors once it runs; the exit code says what there is to say
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    packet_properties: PropertyArguments,
    /// Connect to the broker with TLS
    #[arg(long)]
    tls: bool,
    /// Java properties with ssl.ca.certificate.path, ssl.client.certificate.path, ssl.client.key.path,
    /// ssl.client.key.passphrase, host, port
    #[arg(long, value_name = "FILE")]
    properties: Option<PathBuf>,
    /// CA that issued the broker's certificate (implies --tls)
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Folder of such CAs, as `openssl rehash` makes it (implies --tls)
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,
    /// Lowest version of TLS
    #[arg(long, value_name = "tlsv1.2|tlsv1.3", value_parser = tls_version)]
    tls_version: Option<TlsVersion>,
    /// The client's certificate (implies --tls)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Private key of --cert
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// File with the passphrase of the key; otherwise MIDGE_KEY_PASSPHRASE, or the terminal
    #[arg(long, value_name = "FILE")]
    key_pass_file: Option<PathBuf>,
    /// Accept the CN of a broker's certificate without subjectAltName as its name
    #[arg(long)]
    cn_fallback: bool,
    /// Trust any certificate (implies --tls)
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    help: HelpArgument,
    /// Print the version and exit
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

impl ConnectionArguments {
    /// The protocol version, MQTT 3.1.1 if none is given.
    pub(super) fn version(&self) -> ProtocolVersion {
        self.protocol_version.unwrap_or(ProtocolVersion::V3_1_1)
    }

    /// The same with another default version.
    pub(super) fn with_default_version(self, version: ProtocolVersion) -> ConnectionArguments {
        ConnectionArguments {
            protocol_version: self.protocol_version.or(Some(version)),
            ..self
        }
    }

    /// The topic that `-L` names.
    pub(super) fn url_topic(&self) -> Option<&str> {
        self.url.as_ref().map(|url| url.topic.as_str())
    }

    /// The secret in the arguments: the password, or the URL that contains one.
    pub(super) fn secret(&self) -> Option<&str> {
        let url = self.url.as_ref().filter(|url| url.password.is_some());
        self.password.as_deref().or(url.map(|url| url.text.as_str()))
    }

    pub(super) fn settings(mut self, kind: &str, carriers: &[Carrier]) -> Result<ClientSettings, String> {
        let version = self.version();
        self.take_url();
        let file = match &self.properties {
            Some(path) => Properties::read(path)?,
            None => Properties::default(),
        };
        let mut tls = self.tls(&file)?;
        let mut warnings = file.warnings.clone();
        if let Some(warning) = self.trust_common_name(tls.as_mut()) {
            warnings.push(warning);
        }
        let five = version == ProtocolVersion::V5;
        let properties = self.packet_properties.given(carriers, version)?;
        let will = self.will()?;
        if will.is_none() && properties.any_of(Carrier::Will) {
            return Err("properties of the Will need --will-topic".to_owned());
        }
        let expires = properties.has(Carrier::Connect, SESSION_EXPIRY_INTERVAL);
        if expires && self.session_expiry_interval.is_some() {
            return Err(format!(
                "-x and -D connect {SESSION_EXPIRY_INTERVAL} mean the same: give only one"
            ));
        }
        let forever = if self.disable_clean_session && !expires {
            u32::MAX
        } else {
            0
        };
        if self.session_expiry_interval.is_some() && !five {
            return Err("-x is for MQTT 5.0: add -V 5".to_owned());
        }
        let identifier = match (self.id, self.id_prefix) {
            (Some(id), _) => id,
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            // At most 23 characters: MQTT 3.1 allows no more.
            (None, None) => format!("loadgen-{kind}-{:08x}", fastrand::u32(..)),
        };
        let password = self
            .password
            .or_else(|| std::env::var(PASSWORD_VARIABLE).ok())
            .filter(|_| self.username.is_some());
        let port = default_port(tls.is_some(), self.ws);
        Ok(ClientSettings {
            unix: self.unix,
            bind: self.bind,
            quiet: self.quiet,
            host: self.host.or(file.host).unwrap_or_else(|| "localhost".to_owned()),
            port: self.port.or(file.port).unwrap_or(port),
            tls,
            web_socket: self.ws.then_some(self.ws_path),
            key_passphrase: ClientPassphrase::new(self.key_pass_file, file.key_passphrase),
            client_identifier: identifier,
            credentials: Credentials {
                user_name: self.username,
                password,
            },
            version,
            will,
            debug: self.debug,
            keep_alive_s: self.keep_alive,
            clean_start: !self.disable_clean_session,
            session_expiry_s: self.session_expiry_interval.unwrap_or(forever),
            connect_timeout: self.connect_timeout,
            properties,
            warnings,
        })
    }

    /// Replaces the URL by the options that it stands for, which may not be given too.
    fn take_url(&mut self) {
        if let Some(url) = self.url.take() {
            self.tls |= url.tls;
            self.host = Some(url.host);
            self.port = url.port;
            self.username = url.user_name;
            self.password = url.password;
        }
    }

    fn will(&self) -> Result<Option<ClientWill>, String> {
        let Some(topic) = self.will_topic.clone() else {
            return Ok(None);
        };
        topic::check_name(&topic)
            .map_err(|error| format!("--will-topic {topic:?} is not a topic name: {error}"))?;
        Ok(Some(ClientWill {
            topic,
            payload: self.will_payload.clone(),
            qos: self.will_qos,
            retain: self.will_retain,
        }))
    }

    /// Certificates that are distributed with properties files often have a CN and no subjectAltName. With such a file
    /// and its own CA, which issues no other certificates, the CN is accepted, with one warning.
    fn trust_common_name(&self, tls: Option<&mut TlsRequest>) -> Option<String> {
        let tls = tls.filter(|tls| tls.ca.is_some() && !tls.insecure && !tls.cn_fallback)?;
        let file = self.properties.as_ref()?;
        tls.cn_fallback = true;
        Some(format!(
            "{}: the CN of the broker's certificate is accepted as its name if it has no subjectAltName, as \
            with --cn-fallback",
            file.display()
        ))
    }

    fn tls(&self, file: &Properties) -> Result<Option<TlsRequest>, String> {
        let ca = self.cafile.clone().or_else(|| file.ca.clone());
        let certificate = self.cert.clone().or_else(|| file.certificate.clone());
        let key = self.key.clone().or_else(|| file.key.clone());
        let wanted = self.tls
            || self.insecure
            || ca.is_some()
            || self.capath.is_some()
            || certificate.is_some()
            || key.is_some();
        if !wanted {
            return Ok(None);
        }
        if ca.is_none() && self.capath.is_none() && !self.insecure {
            return Err(
                "TLS needs --cafile FILE or --capath DIR, the CA of the broker's certificate (or \
                --insecure); in a properties file it is ssl.ca.certificate.path"
                    .to_owned(),
            );
        }
        let certificate = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err(
                    "the client's certificate needs its key: --key FILE, or ssl.client.key.path".to_owned(),
                );
            }
            (None, Some(_)) => {
                return Err(
                    "the client's key needs its certificate: --cert FILE, or ssl.client.certificate.path"
                        .to_owned(),
                );
            }
        };
        Ok(Some(TlsRequest {
            ca,
            ca_folder: self.capath.clone(),
            certificate,
            insecure: self.insecure,
            cn_fallback: self.cn_fallback,
            // With 1.2, both supported versions.
            version: self.tls_version.filter(|version| *version == TlsVersion::V1_3),
        }))
    }
}

/// Parses a version of TLS in mosquitto's notation.
fn tls_version(word: &str) -> Result<TlsVersion, String> {
    match word {
        "tlsv1.2" => Ok(TlsVersion::V1_2),
        "tlsv1.3" => Ok(TlsVersion::V1_3),
        _ => Err("tlsv1.2 or tlsv1.3; older ones are out of use (RFC 8996)".to_owned()),
    }
}
