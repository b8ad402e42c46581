//! Tags in a line of source: `[MQTT-3.1.2-24]` of 5.0, `[MQTT3-3.1.2-24]` of 3.1.1, two with `to` between them for
//! all from the first to the second.
//!
//! Invariant: what begins like a tag and is none is reported, never passed over.

use std::fmt;

use super::statement::Version;

/// One statement that a line names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    pub(super) version: Version,
    /// The statement's number, such as `3.1.2-24`.
    pub(super) number: String,
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::V3_1_1 => write!(formatter, "[MQTT3-{}]", self.number),
            Version::V5 => write!(formatter, "[MQTT-{}]", self.number),
        }
    }
}

/// The tags of a line, or what in it looks like one.
pub(super) fn tags(line: &str) -> Result<Vec<Tag>, String> {
    let mut tags: Vec<Tag> = Vec::new();
    let mut rest = line;
    let mut is_range = false;
    while let Some(begin) = rest.find("[MQTT") {
        is_range = is_range && rest.get(..begin) == Some(" to ");
        let at = rest.get(begin..).unwrap_or_default();
        let end = at.find(']').ok_or_else(|| not_a_tag(at))?;
        let written = at.get(..=end).unwrap_or_default();
        // A prefix in a text, `"[MQTT-"`, and a section, `[MQTT 5.0, 2.4]`, name nothing.
        if ["[MQTT-\"", "[MQTT3-\"", "[MQTT "]
            .iter()
            .any(|begin| written.starts_with(begin))
        {
            rest = at.get(1..).unwrap_or_default();
            continue;
        }
        let tag = parse(written).ok_or_else(|| not_a_tag(written))?;
        match tags.last().cloned() {
            Some(first) if is_range => tags.extend(between(&first, &tag).ok_or_else(|| not_a_tag(written))?),
            _ => tags.push(tag),
        }
        rest = at.get(end + 1..).unwrap_or_default();
        is_range = true;
    }
    Ok(tags)
}

fn not_a_tag(text: &str) -> String {
    let shown: String = text.chars().take(30).collect();
    format!("`{shown}` is no tag")
}

fn parse(written: &str) -> Option<Tag> {
    let inner = written.strip_prefix("[MQTT")?.strip_suffix(']')?;
    let (version, number) = match inner.strip_prefix("3-") {
        Some(number) => (Version::V3_1_1, number),
        None => (Version::V5, inner.strip_prefix('-')?),
    };
    let (section, item) = number.split_once('-')?;
    let parts = section.split('.').chain([item]);
    let are_numbers = parts
        .clone()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (are_numbers && parts.count() == 4).then(|| Tag {
        version,
        number: number.to_owned(),
    })
}

/// Those after `first`, to `last`, in the same section.
fn between(first: &Tag, last: &Tag) -> Option<Vec<Tag>> {
    let (section, from) = first.number.split_once('-')?;
    let (section_last, to) = last.number.split_once('-')?;
    let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
    let is_range = section == section_last && first.version == last.version && from < to;
    is_range.then(|| {
        (from + 1..=to)
            .map(|item| Tag {
                version: first.version,
                number: format!("{section}-{item}"),
            })
            .collect()
    })
}
