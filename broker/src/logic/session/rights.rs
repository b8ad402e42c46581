//! What the client of a session may publish and read, where the listener has an ACL file.
//!
//! Invariant: a session without rules has no [`Rights`], and its messages cost one branch. The decision for the last
//! topic is kept together with the rules that made it, so it ends with them.

use crate::auth::acl::Access;

/// The ACL rules of one session, with the decision for the last topic.
#[derive(Debug)]
pub(in crate::logic) struct Rights {
    access: Access,
    /// The last topic that the client published to and may; empty before.
    written: Box<str>,
}

impl Rights {
    /// The rights that the rules give; `None` if everything is allowed.
    pub(in crate::logic) fn new(access: Access) -> Option<Rights> {
        (!access.is_unrestricted()).then(|| Rights {
            access,
            written: Box::default(),
        })
    }

    pub(in crate::logic) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the client may publish to the topic.
    pub(in crate::logic) fn may_write(&mut self, topic: &str) -> bool {
        if *self.written == *topic {
            return true;
        }
        let may = self.access.may_write(topic);
        if may {
            self.written = topic.into();
        }
        may
    }
}
