//! The topics that a bridge carries, and their names on either side.
//!
//! Invariants: `local` and `remote` of a [`BridgeTopic`] are valid Topic Filters; as in mosquitto, the first topic of
//! its direction that has a prefix and matches gives a message its name, and a message that none of those matches
//! keeps it.

use std::borrow::Cow;

use mqtt::QoS;
use mqtt::topic;

/// The topics of a bridge, in the order of their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics(pub(crate) Vec<BridgeTopic>);

/// What a `topic` line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeTopic {
    pub(crate) direction: TopicDirection,
    pub(crate) qos: QoS,
    /// What is matched behind the prefixes; empty for `""`.
    pub(crate) pattern: String,
    pub(crate) local_prefix: String,
    pub(crate) remote_prefix: String,
    /// The Topic Filter at this broker.
    pub(crate) local: String,
    /// The Topic Filter at the other broker.
    pub(crate) remote: String,
}

/// Which way the messages of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicDirection {
    /// To the other broker.
    Out,
    /// From the other broker.
    In,
    /// To the other broker and from it.
    Both,
}

impl TopicDirection {
    pub(crate) fn goes_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    pub(crate) fn comes_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    /// As the configuration has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Both => "both",
        }
    }
}

impl Topics {
    /// Reads what follows the key `topic`.
    ///
    /// # Errors
    /// What is wrong with it, and how it should be.
    pub(crate) fn parse_line(text: &str) -> Result<BridgeTopic, String> {
        let mut rest = text;
        let pattern = next_word(&mut rest)?.unwrap_or_default();
        let direction = match next_word(&mut rest)?.as_deref() {
            None | Some("out") => TopicDirection::Out,
            Some("in") => TopicDirection::In,
            Some("both") => TopicDirection::Both,
            Some(other) => return Err(format!("the direction {other} must be out, in or both")),
        };
        let qos = match next_word(&mut rest)?.as_deref() {
            None | Some("0") => QoS::AtMostOnce,
            Some("1") => QoS::AtLeastOnce,
            Some("2") => QoS::ExactlyOnce,
            Some(other) => return Err(format!("the QoS {other} must be 0, 1 or 2")),
        };
        let local_prefix = next_word(&mut rest)?.unwrap_or_default();
        let remote_prefix = next_word(&mut rest)?.unwrap_or_default();
        if !rest.trim().is_empty() {
            return Err(format!(
                "nothing may follow the remote prefix, but there is:{rest}"
            ));
        }
        BridgeTopic::new(direction, qos, pattern, local_prefix, remote_prefix)
    }

    /// The topics whose messages go to the other broker.
    pub(crate) fn outgoing(&self) -> impl Iterator<Item = &BridgeTopic> {
        self.0.iter().filter(|topic| topic.direction.goes_out())
    }

    /// The topics whose messages come from the other broker.
    pub(crate) fn incoming(&self) -> impl Iterator<Item = &BridgeTopic> {
        self.0.iter().filter(|topic| topic.direction.comes_in())
    }

    /// The name at the other broker of a message of this one; `None` if it is not carried, or has no name there.
    pub(crate) fn to_remote<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        renamed(name, self.outgoing().map(BridgeTopic::as_outgoing))
    }

    /// The name at this broker of a message of the other one; `None` if it is not carried, or has no name here.
    pub(crate) fn to_local<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        renamed(name, self.incoming().map(BridgeTopic::as_incoming))
    }
}

impl BridgeTopic {
    fn new(
        direction: TopicDirection,
        qos: QoS,
        pattern: String,
        local_prefix: String,
        remote_prefix: String,
    ) -> Result<Self, String> {
        if pattern.is_empty() && (local_prefix.is_empty() || remote_prefix.is_empty()) {
            return Err(
                "without a pattern it needs both prefixes, as in topic \"\" out 0 here/topic there/topic"
                    .to_owned(),
            );
        }
        for (which, prefix) in [("local", &local_prefix), ("remote", &remote_prefix)] {
            if !prefix.is_empty() && topic::check_name(prefix).is_err() {
                return Err(format!(
                    "the {which} prefix {prefix} must be a topic name, without + and #"
                ));
            }
        }
        let local = format!("{local_prefix}{pattern}");
        let remote = format!("{remote_prefix}{pattern}");
        for filter in [&local, &remote] {
            topic::check_filter(filter).map_err(|error| {
                format!("{filter} is no topic filter ({error}): + and # must be whole levels, # the last")
            })?;
        }
        Ok(Self {
            direction,
            qos,
            pattern,
            local_prefix,
            remote_prefix,
            local,
            remote,
        })
    }

    fn has_prefix(&self) -> bool {
        !self.local_prefix.is_empty() || !self.remote_prefix.is_empty()
    }

    fn as_outgoing(&self) -> Renaming<'_> {
        Renaming {
            filter: &self.local,
            from: &self.local_prefix,
            to: &self.remote_prefix,
            has_prefix: self.has_prefix(),
        }
    }

    fn as_incoming(&self) -> Renaming<'_> {
        Renaming {
            filter: &self.remote,
            from: &self.remote_prefix,
            to: &self.local_prefix,
            has_prefix: self.has_prefix(),
        }
    }

    /// As the configuration has it.
    pub(crate) fn line(&self) -> String {
        let quoted = |text: &str| match text {
            "" => "\"\"".to_owned(),
            text if text.contains([' ', '\t']) => format!("\"{text}\""),
            text => text.to_owned(),
        };
        let (pattern, direction, qos) = (quoted(&self.pattern), self.direction.word(), self.qos as u8);
        if self.has_prefix() {
            let (local, remote) = (quoted(&self.local_prefix), quoted(&self.remote_prefix));
            format!("{pattern} {direction} {qos} {local} {remote}")
        } else {
            format!("{pattern} {direction} {qos}")
        }
    }
}

/// What a topic makes of names in one direction.
struct Renaming<'a> {
    filter: &'a str,
    /// The prefix that goes.
    from: &'a str,
    /// The prefix that comes.
    to: &'a str,
    has_prefix: bool,
}

fn renamed<'a, 'b>(name: &'a str, topics: impl Iterator<Item = Renaming<'b>>) -> Option<Cow<'a, str>> {
    let mut is_carried = false;
    for topic in topics.filter(|topic| topic::matches(topic.filter, name)) {
        if topic.has_prefix {
            let rest = name.strip_prefix(topic.from).unwrap_or(name);
            let new = format!("{}{rest}", topic.to);
            return topic::check_name(&new).is_ok().then_some(Cow::Owned(new));
        }
        is_carried = true;
    }
    is_carried.then_some(Cow::Borrowed(name))
}

/// Cuts the next word off, which may be in double quotes; `None` at the end.
fn next_word(rest: &mut &str) -> Result<Option<String>, String> {
    let text = rest.trim_start();
    if text.is_empty() {
        *rest = "";
        return Ok(None);
    }
    let (word, left) = match text.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .ok_or_else(|| "a double quote is not closed".to_owned())?,
        None => text
            .find([' ', '\t'])
            .map_or((text, ""), |end| text.split_at(end)),
    };
    *rest = left;
    Ok(Some(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(lines: &[&str]) -> Topics {
        Topics(
            lines
                .iter()
                .map(|line| Topics::parse_line(line).unwrap())
                .collect(),
        )
    }

    #[test]
    fn lines_are_read_and_shown_again() {
        for (line, shown) in [
            ("#", "# out 0"),
            ("a/# in", "a/# in 0"),
            ("a/+/b both 2", "a/+/b both 2"),
            (
                "# both 2 local/topic/ remote/topic/",
                "# both 2 local/topic/ remote/topic/",
            ),
            ("# in 1 \"\" there/", "# in 1 \"\" there/"),
            ("\"with space/#\" out 1", "\"with space/#\" out 1"),
            ("\"\" out 0 here there", "\"\" out 0 here there"),
            ("x out 0 l/ \"\"", "x out 0 l/ \"\""),
        ] {
            let topic = Topics::parse_line(line).unwrap();
            assert_eq!(topic.line(), shown, "{line}");
            assert_eq!(Topics::parse_line(shown).unwrap(), topic);
        }
    }

    #[test]
    fn mistakes_in_lines() {
        for (line, wrong) in [
            ("a up", "the direction up must be out, in or both"),
            ("a out 3", "the QoS 3 must be 0, 1 or 2"),
            ("\"a", "a double quote is not closed"),
            ("\"\" out 0 here", "without a pattern it needs both prefixes"),
            ("\"\" out 0", "without a pattern it needs both prefixes"),
            ("# out 0 a/+/ b", "the local prefix a/+/ must be a topic name"),
            ("a# out 0", "a# is no topic filter"),
            ("# out 0 a b", "a# is no topic filter"),
            (
                "a out 0 b/ c/ d",
                "nothing may follow the remote prefix, but there is: d",
            ),
        ] {
            let error = Topics::parse_line(line).unwrap_err();
            assert!(error.contains(wrong), "{line}: {error}");
        }
    }

    #[test]
    fn names_on_the_other_side() {
        let topics = topics(&[
            "plain/# out",
            "# both 1 local/ remote/",
            "\"\" both 0 one two",
            "alarm in 0 \"\" far/",
        ]);
        let out = |name| topics.to_remote(name).map(Cow::into_owned);
        let back = |name| topics.to_local(name).map(Cow::into_owned);
        assert_eq!(out("plain/x").as_deref(), Some("plain/x"));
        assert_eq!(out("local/a/b").as_deref(), Some("remote/a/b"));
        assert_eq!(
            out("local").as_deref(),
            Some("remote/local"),
            "# matches its parent"
        );
        assert_eq!(out("local/"), Some("remote/".to_owned()));
        assert_eq!(out("one").as_deref(), Some("two"));
        assert_eq!(out("alarm"), None);
        assert_eq!(back("remote/a"), Some("local/a".to_owned()));
        assert_eq!(back("far/alarm").as_deref(), Some("alarm"));
        assert_eq!(back("two").as_deref(), Some("one"));
        assert_eq!(back("plain/x"), None);
    }

    #[test]
    fn a_message_whose_name_would_be_empty_is_not_carried() {
        let topics = topics(&["# out 0 a/ \"\""]);
        assert_eq!(topics.to_remote("a/"), None);
        assert_eq!(topics.to_remote("a/b").as_deref(), Some("b"));
    }

    #[test]
    fn a_later_topic_with_a_prefix_goes_before_one_without() {
        let topics = topics(&["a/# out", "a/b out 0 \"\" x/"]);
        assert_eq!(topics.to_remote("a/b").as_deref(), Some("x/a/b"));
        assert_eq!(topics.to_remote("a/c").as_deref(), Some("a/c"));
    }
}
