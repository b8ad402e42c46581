//! Reads the persistence file of mosquitto 2: the formats 5 and 6 of its `mosquitto.db`.
//!
//! The file is a header (15 bytes that identify it, 4 bytes of zeros, the number of the format) and chunks, each with
//! its type and its length. Lengths and Packet Identifiers are big-endian. Message numbers and times are in the byte
//! order of the processor, which is little-endian on every machine that this broker runs on.
//!
//! Invariants: nothing is copied, and no number of the file is trusted: a value that does not fit into its chunk is an
//! error that names the place. Chunks of unknown types are skipped and counted.

use std::collections::HashMap;
use std::fmt;

use mqtt::frame::variable_byte_integer;

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Database<'a> {
    pub(super) clients: Vec<Client<'a>>,
    /// Messages by the numbers that mosquitto gave them.
    pub(super) messages: HashMap<u64, BaseMessage<'a>>,
    /// In the order in which each client gets them.
    pub(super) deliveries: Vec<ClientMessage<'a>>,
    pub(super) subscriptions: Vec<Subscription<'a>>,
    /// Numbers of the messages that are retained.
    pub(super) retained: Vec<u64>,
    pub(super) unknown_chunks: u64,
    /// Number of clients whose user may be another client's.
    pub(super) doubtful_users: u64,
}

/// A session that outlives its connection.
#[derive(Debug)]
pub(super) struct Client<'a> {
    pub(super) client_identifier: &'a str,
    /// Empty if the client had no user, or if the user may be another client's.
    pub(super) user: &'a str,
    user_len: u16,
    /// When the session expires, as wall clock seconds; 0 if its client was connected, or if it never expires.
    pub(super) expires_at_s: u64,
    /// Session Expiry Interval; 0xFFFFFFFF means never.
    pub(super) expiry_s: u32,
}

/// A message, stored once for all of its receivers.
#[derive(Debug)]
pub(super) struct BaseMessage<'a> {
    pub(super) publisher: &'a str,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) properties: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Wall clock seconds; 0 if it does not expire.
    pub(super) expires_at_s: u64,
}

/// The state of a message for one client.
#[derive(Debug)]
pub(super) struct ClientMessage<'a> {
    pub(super) client_identifier: &'a str,
    pub(super) message: u64,
    pub(super) packet_identifier: u16,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) stage: DeliveryStage,
    /// The properties of the PUBLISH to this client.
    pub(super) properties: &'a [u8],
}

/// The progress of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryStage {
    /// To a client, not sent yet.
    Waits,
    /// To a client: PUBLISH was sent.
    Sent,
    /// To a client: PUBREC was received.
    Released,
    /// From a client: PUBREC was sent. mosquitto publishes it at PUBREL.
    Received,
    /// From a client, and nothing of it was acknowledged.
    Unacknowledged,
}

#[derive(Debug)]
pub(super) struct Subscription<'a> {
    pub(super) client_identifier: &'a str,
    pub(super) filter: &'a str,
    pub(super) identifier: u32,
    /// As in a SUBSCRIBE of 5.0.
    pub(super) options: u8,
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DatabaseError {
    NotOne,
    Version(u32),
    /// The file ends at this byte, or names something that does not exist.
    Damaged(usize),
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOne => write!(f, "it is not a persistence file of mosquitto"),
            Self::Version(version @ 7..) => write!(
                f,
                "it has format {version}, and only 5 and 6 are supported; fix: import it with a later \
                version of this program"
            ),
            Self::Version(version) => write!(
                f,
                "it has format {version}, and only 5 and 6 are supported; fix: open it with mosquitto 2, \
                which writes format 6"
            ),
            Self::Damaged(at) => write!(
                f,
                "it is cut off or damaged at byte {at}; fix: use a backup of it, or let mosquitto write it again"
            ),
        }
    }
}

impl<'a> Database<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DatabaseError> {
        let mut file = ChunkFields { bytes, at: 0 };
        if file.take(MAGIC.len()) != Ok(MAGIC) {
            return Err(DatabaseError::NotOne);
        }
        file.u32()?;
        let version = file.u32()?;
        if !(5..=6).contains(&version) {
            return Err(DatabaseError::Version(version));
        }
        let mut database = Self::default();
        let mut has_configuration = false;
        while file.at < bytes.len() {
            let (kind, len) = (file.u32()?, file.u32()?);
            let end = file.at.saturating_add(len as usize);
            let chunk = bytes.get(..end).ok_or(DatabaseError::Damaged(file.at))?;
            has_configuration |= kind == CHUNK_CONFIGURATION;
            database.chunk(
                kind,
                ChunkFields {
                    bytes: chunk,
                    at: file.at,
                },
                version,
            )?;
            file.at = end;
        }
        if !has_configuration {
            // Every version writes this chunk before all others.
            return Err(DatabaseError::Damaged(file.at));
        }
        database.leave_doubtful_users_out();
        Ok(database)
    }

    /// For a client without a user, mosquitto 2.0.11 writes the length of the previous client's user, followed by that
    /// user or by arbitrary memory. So a user of the same length as the previous client's may be wrong, unless a
    /// client without a user shows that the file was written by a version without this error.
    fn leave_doubtful_users_out(&mut self) {
        let first = self.clients.iter().position(|client| client.user_len > 0);
        let since = self.clients.iter().skip(first.unwrap_or(0));
        if since.clone().any(|client| client.user_len == 0) {
            return;
        }
        let mut before = 0;
        for client in &mut self.clients {
            if client.user_len > 0 && client.user_len == std::mem::replace(&mut before, client.user_len) {
                client.user = "";
                self.doubtful_users += 1;
            }
        }
    }

    fn chunk(&mut self, kind: u32, mut fields: ChunkFields<'a>, version: u32) -> Result<(), DatabaseError> {
        match kind {
            CHUNK_CONFIGURATION => {}
            CHUNK_MESSAGE => {
                let (number, message) = message(&mut fields)?;
                self.messages.insert(number, message);
            }
            CHUNK_DELIVERY => self.deliveries.push(delivery(&mut fields)?),
            CHUNK_RETAINED => self.retained.push(fields.native_u64()?),
            CHUNK_SUBSCRIPTION => self.subscriptions.push(subscription(&mut fields)?),
            CHUNK_CLIENT => self.clients.push(client(&mut fields, version)?),
            _ => self.unknown_chunks += 1,
        }
        Ok(())
    }
}

fn client<'a>(fields: &mut ChunkFields<'a>, version: u32) -> Result<Client<'a>, DatabaseError> {
    let expires_at_s = fields.native_u64()?;
    let expiry_s = fields.u32()?;
    let _last_packet_identifier = fields.u16()?;
    let client_len = fields.u16()?;
    let mut user_len = 0;
    if version == 6 {
        let _listener_port = fields.u16()?;
        user_len = fields.u16()?;
        fields.take(4)?;
    }
    Ok(Client {
        client_identifier: fields.text(client_len)?,
        user: user(fields.take(user_len.into())?),
        user_len,
        expires_at_s,
        expiry_s,
    })
}

fn message<'a>(fields: &mut ChunkFields<'a>) -> Result<(u64, BaseMessage<'a>), DatabaseError> {
    let number = fields.native_u64()?;
    let expires_at_s = fields.native_u64()?;
    let payload_len = fields.u32()?;
    let _packet_identifier = fields.u16()?;
    let publisher_len = fields.u16()?;
    let user_len = fields.u16()?;
    let topic_len = fields.u16()?;
    let _port = fields.u16()?;
    let qos = fields.u8()?;
    let retain = fields.u8()? != 0;
    let publisher = fields.text(publisher_len)?;
    fields.take(user_len.into())?;
    let topic = fields.text(topic_len)?;
    let payload = fields.take(payload_len as usize)?;
    let message = BaseMessage {
        publisher,
        topic,
        payload,
        properties: fields.properties()?,
        qos,
        retain,
        expires_at_s,
    };
    Ok((number, message))
}

fn delivery<'a>(fields: &mut ChunkFields<'a>) -> Result<ClientMessage<'a>, DatabaseError> {
    let message = fields.native_u64()?;
    let packet_identifier = fields.u16()?;
    let client_len = fields.u16()?;
    let qos = fields.u8()?;
    let state = fields.u8()?;
    let retain = fields.u8()? >> 4 != 0;
    let is_outgoing = fields.u8()? != 0;
    let stage = match (is_outgoing, state) {
        (true, STATE_WAIT_FOR_PUBACK | STATE_WAIT_FOR_PUBREC) => DeliveryStage::Sent,
        (true, STATE_RESEND_PUBREL | STATE_WAIT_FOR_PUBCOMP) => DeliveryStage::Released,
        (true, _) => DeliveryStage::Waits,
        (false, STATE_WAIT_FOR_PUBREL) => DeliveryStage::Received,
        (false, _) => DeliveryStage::Unacknowledged,
    };
    Ok(ClientMessage {
        client_identifier: fields.text(client_len)?,
        message,
        packet_identifier,
        qos,
        retain,
        stage,
        properties: fields.properties()?,
    })
}

fn subscription<'a>(fields: &mut ChunkFields<'a>) -> Result<Subscription<'a>, DatabaseError> {
    let identifier = fields.u32()?;
    let client_len = fields.u16()?;
    let filter_len = fields.u16()?;
    let qos = fields.u8()?;
    let options = fields.u8()?;
    fields.take(2)?;
    Ok(Subscription {
        client_identifier: fields.text(client_len)?,
        filter: fields.text(filter_len)?,
        identifier,
        options: options & !QOS_BITS | qos & QOS_BITS,
    })
}

/// Bytes that are not text are memory after a client that has no user.
fn user(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if text.contains(char::is_control) { "" } else { text }
}

/// The fields of a chunk, one after the other.
#[derive(Debug)]
struct ChunkFields<'a> {
    /// The file up to the end of the chunk.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> ChunkFields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DatabaseError> {
        let end = self.at.saturating_add(len);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or(DatabaseError::Damaged(self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DatabaseError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| DatabaseError::Damaged(at))
    }

    fn u8(&mut self) -> Result<u8, DatabaseError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, DatabaseError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DatabaseError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A number in the byte order of the processor.
    fn native_u64(&mut self) -> Result<u64, DatabaseError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self, len: u16) -> Result<&'a str, DatabaseError> {
        let at = self.at;
        std::str::from_utf8(self.take(len.into())?).map_err(|_| DatabaseError::Damaged(at))
    }

    /// The encoded properties at the end of a chunk, without their length; empty if the chunk ends before them.
    fn properties(&mut self) -> Result<&'a [u8], DatabaseError> {
        if self.at == self.bytes.len() {
            return Ok(&[]);
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = variable_byte_integer(rest).ok().flatten();
        let (len, bytes) = length.ok_or(DatabaseError::Damaged(self.at))?;
        self.at += bytes;
        self.take(len as usize)
    }
}

const MAGIC: &[u8] = b"\x00\xB5\x00mosquitto db";
const CHUNK_CONFIGURATION: u32 = 1;
const CHUNK_MESSAGE: u32 = 2;
const CHUNK_DELIVERY: u32 = 3;
const CHUNK_RETAINED: u32 = 4;
const CHUNK_SUBSCRIPTION: u32 = 5;
const CHUNK_CLIENT: u32 = 6;
const STATE_WAIT_FOR_PUBACK: u8 = 3;
const STATE_WAIT_FOR_PUBREC: u8 = 5;
const STATE_RESEND_PUBREL: u8 = 6;
const STATE_WAIT_FOR_PUBREL: u8 = 7;
const STATE_WAIT_FOR_PUBCOMP: u8 = 9;
const QOS_BITS: u8 = 3;

#[cfg(test)]
mod tests;
