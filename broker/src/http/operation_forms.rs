//! The forms of queries and bodies of operations: their members, and the values of each.
//!
//! Invariants: a form refuses unknown members, and its members are those that `openapi.json` describes (the live test
//! `what_a_request_may_have_is_what_the_document_describes`). An accepted value is valid.

use std::path::PathBuf;

use mqtt::QoS;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::operation_values::{
    AskedAddress, AskedFilter, AskedQos, BansCursor, Base64, Cursor, DisconnectReason, EventsCursor,
    KindOfEvent, Limit, Seconds, SubscribedFilter, TopicName, TracesCursor,
};

/// A query or a body.
pub(super) trait Form: DeserializeOwned {
    /// Its content for the log line; nothing of a payload.
    fn described(&self) -> String {
        String::new()
    }
}

/// A form without members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The requested part of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AskedPage {
    pub(super) limit: Limit,
    pub(super) cursor: Cursor,
}

/// Clients and sessions: those whose identifier contains a text.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsQuery {
    limit: Limit,
    cursor: Cursor,
    pub(super) search: String,
    pub(super) slow: bool,
}

/// Subscriptions: those of one client, or those with one filter.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SubscriptionsQuery {
    limit: Limit,
    cursor: Cursor,
    pub(super) client: Option<String>,
    pub(super) filter: Option<SubscribedFilter>,
}

/// Retained messages whose topics a filter matches.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RetainedQuery {
    limit: Limit,
    cursor: Cursor,
    pub(super) filter: AskedFilter,
    pub(super) payloads: bool,
}

/// Retained messages to delete.
#[derive(Debug, Deserialize)]
#[serde(try_from = "DeletedMembers")]
pub(super) enum DeletedQuery {
    /// The message of one topic.
    Topic(TopicName),
    /// Those of a page whose topics match the filter.
    Filter(AskedFilter, AskedPage),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeletedMembers {
    limit: Option<Limit>,
    cursor: Option<Cursor>,
    topic: Option<TopicName>,
    filter: Option<AskedFilter>,
}

/// Recent events: of one kind, or of one client.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsQuery {
    pub(super) limit: Limit,
    pub(super) cursor: Option<EventsCursor>,
    pub(super) kind: Option<KindOfEvent>,
    pub(super) client: Option<String>,
}

/// A page of the active traces.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracesQuery {
    pub(super) limit: Limit,
    pub(super) cursor: TracesCursor,
}

/// Those who are banned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BansQuery {
    pub(super) limit: Limit,
    pub(super) cursor: BansCursor,
}

/// Whom to ban, for how long and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BanBody {
    #[serde(default, deserialize_with = "given")]
    pub(super) client_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) address: Option<AskedAddress>,
    #[serde(default, deserialize_with = "given")]
    pub(super) seconds: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) reason: Option<String>,
}

/// Whom to let in again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnbanQuery {
    pub(super) client_id: Option<String>,
    pub(super) user: Option<String>,
    pub(super) address: Option<AskedAddress>,
}

/// The number of entries, and of seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BusiestQuery {
    pub(super) limit: Limit,
    pub(super) seconds: Seconds,
}

/// The reason for disconnecting a client.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DisconnectBody {
    pub(super) reason: DisconnectReason,
}

/// The client to disconnect, and the reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectedBody {
    pub(super) client_id: String,
    #[serde(default)]
    pub(super) reason: DisconnectReason,
}

/// The client whose session is ended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedQuery {
    pub(super) client: String,
}

/// A message to publish.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PublishMembers")]
pub(super) struct PublishBody {
    pub(super) topic: TopicName,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishMembers {
    topic: TopicName,
    #[serde(default, deserialize_with = "given")]
    payload: Option<String>,
    #[serde(default, deserialize_with = "given")]
    payload_base64: Option<Base64>,
    #[serde(default)]
    qos: AskedQos,
    #[serde(default)]
    retain: bool,
}

/// Whose packets are shown, and where they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceBody {
    #[serde(default, deserialize_with = "given")]
    pub(super) client_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) address: Option<AskedAddress>,
    #[serde(default, deserialize_with = "given")]
    pub(super) file: Option<PathBuf>,
}

/// A member that may be omitted, but is not `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Form for Nothing {}
impl Form for SessionsQuery {}
impl Form for SubscriptionsQuery {}
impl Form for RetainedQuery {}
impl Form for DeletedQuery {}
impl Form for EventsQuery {}
impl Form for TracesQuery {}
impl Form for EndedQuery {}
impl Form for BansQuery {}
impl Form for UnbanQuery {}
impl Form for BusiestQuery {}

impl Form for DisconnectBody {
    fn described(&self) -> String {
        format!(" (reason {})", self.reason.0 as u8)
    }
}

impl Form for DisconnectedBody {
    fn described(&self) -> String {
        format!(" (client {}, reason {})", self.client_id, self.reason.0 as u8)
    }
}

impl Form for PublishBody {
    fn described(&self) -> String {
        let (topic, qos, retain) = (&self.topic.0, self.qos as u8, u8::from(self.retain));
        format!(" (q{qos}, r{retain}, '{topic}', {} bytes)", self.payload.len())
    }
}

impl Form for BanBody {
    fn described(&self) -> String {
        let address = self.address.map(|AskedAddress(address)| address.to_string());
        let who = [
            ("client", &self.client_id),
            ("user", &self.user),
            ("address", &address),
        ];
        let who = who
            .into_iter()
            .filter_map(|(kind, who)| Some(format!("{kind} {}", who.as_ref()?)));
        format!(" ({})", who.collect::<Vec<_>>().join(", "))
    }
}

impl Form for TraceBody {
    fn described(&self) -> String {
        let subject = match (&self.client_id, &self.user, &self.address) {
            (Some(client), ..) => format!("client {client}"),
            (_, Some(user), _) => format!("user {user}"),
            (.., Some(AskedAddress(address))) => format!("address {address}"),
            _ => "nobody".to_owned(),
        };
        match &self.file {
            Some(file) => format!(" ({subject}, file {})", file.display()),
            None => format!(" ({subject})"),
        }
    }
}

impl SessionsQuery {
    pub(super) fn page(&self) -> AskedPage {
        AskedPage {
            limit: self.limit,
            cursor: self.cursor,
        }
    }
}

impl SubscriptionsQuery {
    pub(super) fn page(&self) -> AskedPage {
        AskedPage {
            limit: self.limit,
            cursor: self.cursor,
        }
    }
}

impl RetainedQuery {
    pub(super) fn page(&self) -> AskedPage {
        AskedPage {
            limit: self.limit,
            cursor: self.cursor,
        }
    }
}

impl TryFrom<DeletedMembers> for DeletedQuery {
    type Error = &'static str;

    fn try_from(members: DeletedMembers) -> Result<Self, Self::Error> {
        let DeletedMembers {
            limit,
            cursor,
            topic,
            filter,
        } = members;
        match (topic, filter) {
            (Some(_), Some(_)) => Err("topic and filter cannot be used together: remove one"),
            (None, None) => {
                Err("topic, a Topic Name, or filter, a Topic Filter, is missing: give one of them")
            }
            (Some(_), None) if limit.is_some() || cursor.is_some() => {
                Err("limit and cursor cannot be used with topic, only with filter: remove them")
            }
            (Some(topic), None) => Ok(Self::Topic(topic)),
            (None, Some(filter)) => {
                let page = AskedPage {
                    limit: limit.unwrap_or_default(),
                    cursor: cursor.unwrap_or_default(),
                };
                Ok(Self::Filter(filter, page))
            }
        }
    }
}

impl TryFrom<PublishMembers> for PublishBody {
    type Error = &'static str;

    fn try_from(members: PublishMembers) -> Result<Self, Self::Error> {
        let payload = match (members.payload, members.payload_base64) {
            (Some(_), Some(_)) => {
                return Err("payload and payload_base64 cannot be used together: remove one");
            }
            (Some(text), None) => text.into_bytes(),
            (None, Some(Base64(bytes))) => bytes,
            (None, None) => Vec::new(),
        };
        Ok(Self {
            topic: members.topic,
            payload,
            qos: members.qos.0,
            retain: members.retain,
        })
    }
}
