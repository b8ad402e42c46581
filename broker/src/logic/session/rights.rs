//! What the client of a session may publish and read, where the listener has access rules, and for how long.
//!
//! Invariant: a session without rules has no [`Rights`], and its messages cost one branch. The decision for the last
//! topic is kept together with the rules that made it, so it ends with them.

use crate::auth::acl::Access;
use crate::auth::dynamic::CONTROLS;
use crate::logic::routing::route::TopicAccess;
use crate::logic::session::Session;
use crate::time::Timestamp;

/// The ACL rules of one session, with the decision for the last topic.
#[derive(Debug)]
pub(in crate::logic) struct Rights {
    access: Access,
    /// The last topic that the client was allowed to publish to; empty before.
    written: Box<str>,
}

impl Rights {
    /// The rights under the rules; `None` if everything is allowed.
    pub(in crate::logic) fn new(access: Access) -> Option<Rights> {
        (!access.is_unrestricted()).then(|| Rights {
            access,
            written: Box::default(),
        })
    }

    pub(in crate::logic) fn access(&self) -> &Access {
        &self.access
    }

    /// What becomes of a message that the client publishes to the topic.
    pub(in crate::logic) fn access_to(&mut self, topic: &str) -> TopicAccess {
        if *self.written == *topic {
            return TopicAccess::Allowed;
        }
        if !self.access.may_write(topic) {
            return TopicAccess::Denied;
        }
        if topic.starts_with(CONTROLS) && self.access.is_dynamic() {
            return TopicAccess::Control;
        }
        self.written = topic.into();
        TopicAccess::Allowed
    }
}

impl Session {
    /// When its connection is to end, if that is known.
    pub(in crate::logic) fn ends_at(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.ends_at
    }

    /// Sets when its connection is to end.
    pub(in crate::logic) fn set_ends_at(&mut self, ends_at: Option<Timestamp>) {
        if ends_at.is_some() || self.ends_at().is_some() {
            self.rare().ends_at = ends_at;
        }
    }
}
