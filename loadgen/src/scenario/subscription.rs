//! The options of subscriptions that MQTT 5.0 added to the QoS.
//!
//! Invariants: none.

use mqtt::packet::{QoS, RetainHandling, SubscriptionOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The options of subscriptions besides their QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct SubscriptionChoices {
    /// No Local: messages are not sent to the client that published them.
    pub no_local: bool,
    /// Retain As Published: the RETAIN flag is kept as published.
    pub retain_as_published: bool,
    /// Retain Handling; `None` if it was not given.
    #[serde(
        default,
        serialize_with = "serialize_retain_handling",
        deserialize_with = "deserialize_retain_handling"
    )]
    #[schemars(with = "Option<String>")]
    pub retain_handling: Option<RetainHandling>,
}

impl SubscriptionChoices {
    /// The options as in a SUBSCRIBE; `retain_handling` if none was given.
    pub fn options(&self, qos: QoS, retain_handling: RetainHandling) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling.unwrap_or(retain_handling),
        }
    }
}

const HANDLINGS: [(&str, RetainHandling); 3] = [
    ("always", RetainHandling::SendAtSubscribe),
    ("new", RetainHandling::SendIfNew),
    ("never", RetainHandling::DoNotSend),
];

/// A Retain Handling by its name.
///
/// # Errors
/// The names that exist.
pub(crate) fn retain_handling(word: &str) -> Result<RetainHandling, String> {
    let mut handlings = HANDLINGS.into_iter();
    let found = handlings.find(|(known, _)| *known == word);
    found
        .map(|(_, handling)| handling)
        .ok_or_else(|| "always, new or never".to_owned())
}

fn serialize_retain_handling<S: Serializer>(
    handling: &Option<RetainHandling>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut handlings = HANDLINGS.iter();
    let word = handlings.find(|(_, known)| Some(*known) == *handling);
    word.map(|(word, _)| *word).serialize(serializer)
}

fn deserialize_retain_handling<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RetainHandling>, D::Error> {
    let word = Option::<String>::deserialize(deserializer)?;
    let handling = word.map(|word| retain_handling(&word)).transpose();
    handling.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_go_before_what_is_usual() {
        let usual = SubscriptionChoices::default().options(QoS::AtLeastOnce, RetainHandling::DoNotSend);
        assert_eq!(usual.retain_handling, RetainHandling::DoNotSend);
        assert!(!usual.no_local && !usual.retain_as_published);
        for (word, handling) in HANDLINGS {
            let choices = SubscriptionChoices {
                no_local: true,
                retain_as_published: true,
                retain_handling: Some(retain_handling(word).unwrap()),
            };
            let options = choices.options(QoS::AtMostOnce, RetainHandling::DoNotSend);
            assert_eq!(options.retain_handling, handling);
            assert!(options.no_local && options.retain_as_published);
            let written = serde_json::to_value(choices).unwrap();
            assert_eq!(written["retain_handling"], word);
        }
        assert!(retain_handling("sometimes").is_err());
    }
}
