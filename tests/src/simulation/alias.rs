//! Topic Aliases as a client keeps them for one connection: what the broker sends has its topic again.
//!
//! Invariants: none.

use std::collections::HashMap;

use mqtt::packet::Publish;
use mqtt::property::{PropertiesBuf, Property};

use crate::model::Checked;

/// The aliases of one connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// The client's Topic Alias Maximum.
    pub(super) maximum: u16,
    topics: HashMap<u16, String>,
}

impl Aliases {
    /// The topic and the other properties of a PUBLISH that has an alias.
    ///
    /// # Errors
    /// The alias is above the maximum [MQTT-3.3.2-11], or stands for nothing.
    pub(super) fn resolve(&mut self, publish: &Publish<'_>) -> Checked<Option<(String, PropertiesBuf)>> {
        let Some(alias) = publish.properties.topic_alias().map(|alias| alias.get()) else {
            return Ok(None);
        };
        if alias > self.maximum {
            return Err(format!("the alias {alias} in {publish:?}"));
        }
        if !publish.topic.is_empty() {
            self.topics.insert(alias, publish.topic.to_owned());
        }
        let topic = self.topics.get(&alias);
        let topic = topic.ok_or_else(|| format!("the alias {alias}, which was not set"))?;
        let mut properties = PropertiesBuf::new();
        let others = publish.properties.iter();
        for property in others.filter(|property| !matches!(property, Property::TopicAlias(_))) {
            properties.push(property).map_err(|error| error.to_string())?;
        }
        Ok(Some((topic.clone(), properties)))
    }
}
