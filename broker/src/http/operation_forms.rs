//! The forms of queries and bodies of operations: which members there are, and what may stand in each.
//!
//! Invariants: a form refuses what it does not know, and its members are those that `openapi.json` describes (the live
//! test `what_a_request_may_have_is_what_the_document_describes`). A value that is taken is right.

use std::path::PathBuf;

use mqtt::QoS;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::operation_values::{
    AskedAddress, AskedFilter, AskedQos, Base64, Cursor, DisconnectReason, EventsCursor, KindOfEvent, Limit,
    Seconds, SubscribedFilter, TopicName, TracesCursor,
};

/// A query or a body.
pub(super) trait Form: DeserializeOwned {
    /// What is in it, for the log line of who asked; nothing of a payload.
    fn described(&self) -> String {
        String::new()
    }
}

/// A form without members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AskedPage {
    pub(super) limit: Limit,
    pub(super) cursor: Cursor,
}

/// Clients and sessions: those whose identifier has a text in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionsQuery {
    limit: Limit,
    cursor: Cursor,
    pub(super) search: String,
    pub(super) slow: bool,
}

/// Subscriptions: those of one client, those with one filter.
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

/// Retained messages that are to go.
#[derive(Debug, Deserialize)]
#[serde(try_from = "DeletedMembers")]
pub(super) enum DeletedQuery {
    /// The message of one topic.
    Topic(TopicName),
    /// Those of a page whose topics the filter matches.
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

/// What happened last: of one kind, to one client.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventsQuery {
    pub(super) limit: Limit,
    pub(super) cursor: Option<EventsCursor>,
    pub(super) kind: Option<KindOfEvent>,
    pub(super) client: Option<String>,
}

/// Traces that are switched on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracesQuery {
    pub(super) limit: Limit,
    pub(super) cursor: TracesCursor,
}

/// How many entries are asked for, and of how many seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BusiestQuery {
    pub(super) limit: Limit,
    pub(super) seconds: Seconds,
}

/// With which reason a client is disconnected.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DisconnectBody {
    pub(super) reason: DisconnectReason,
}

/// Which client is disconnected, with which reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectedBody {
    pub(super) client_id: String,
    #[serde(default)]
    pub(super) reason: DisconnectReason,
}

/// The client whose session is to end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedQuery {
    pub(super) client: String,
}

/// A message to be published.
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

/// Whose packets are to be shown, and where.
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

/// A member that may be left out, and is not `null`.
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
            (Some(_), Some(_)) => {
                Err("there are topic and filter, and only one of them can be: leave one out")
            }
            (None, None) => {
                Err("topic, a Topic Name, or filter, a Topic Filter, is missing: give one of them")
            }
            (Some(_), None) if limit.is_some() || cursor.is_some() => {
                Err("limit and cursor go with filter, and there is topic: leave them out")
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
                return Err(
                    "there are payload and payload_base64, and only one of them can be: leave one out",
                );
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
