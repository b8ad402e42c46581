//! Clients, groups and roles as dynamic security has them, and how they refer to each other.
//!
//! Invariants: a link names what exists; a client is among the clients of exactly those groups that it names. What is
//! not changed is shared with the directory that it was cloned from, so that a clone costs no copy of a client.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::password::PasswordHash;

/// All that a file of dynamic security says.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    clients: BTreeMap<Box<str>, Arc<DynamicClient>>,
    groups: BTreeMap<Box<str>, Arc<DynamicGroup>>,
    roles: BTreeMap<Box<str>, Arc<DynamicRole>>,
    /// What clients without a user name may do is what this group may.
    pub(super) anonymous_group: Option<Box<str>>,
    pub(super) default_access: DefaultAccess,
    /// How often something was changed, as mosquitto 2.1 counts it.
    pub(super) change_index: i64,
}

/// A client, which is a user in the words of MQTT.
#[derive(Clone, Debug, Default)]
pub(super) struct DynamicClient {
    pub(super) password: Option<PasswordHash>,
    /// The only client identifier that the user may connect with.
    pub(super) client_identifier: Option<Box<str>>,
    pub(super) texts: Texts,
    pub(super) is_disabled: bool,
    pub(super) roles: Memberships,
    groups: Memberships,
}

/// Clients that have roles in common.
#[derive(Clone, Debug, Default)]
pub(super) struct DynamicGroup {
    pub(super) texts: Texts,
    pub(super) roles: Memberships,
    clients: BTreeMap<Box<str>, i32>,
}

/// Access rules by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DynamicRole {
    pub(super) texts: Texts,
    /// False: whoever has the role may not subscribe with wildcards.
    pub(super) allows_wildcards: bool,
    /// In the order of [`AclKind::ALL`].
    pub(super) acls: [AclList; 6],
}

/// What a person wrote about a client, a group or a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) name: Option<Box<str>>,
    pub(super) description: Option<Box<str>>,
}

/// Names of roles or groups: the highest priority first, the same priorities in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memberships(Vec<Membership>);

/// The name of a role or a group, with its priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) name: Box<str>,
    pub(super) priority: i32,
}

/// Rules of one kind, the highest priority first; the same priorities as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AclList(Vec<RoleAcl>);

/// One access rule of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleAcl {
    pub(super) topic: Box<str>,
    pub(super) priority: i32,
    pub(super) allows: bool,
}

/// What an access rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclKind {
    Send,
    Receive,
    SubscribeLiteral,
    SubscribePattern,
    UnsubscribeLiteral,
    UnsubscribePattern,
}

/// What is allowed where no role has a rule for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DefaultAccess {
    pub(super) send: bool,
    pub(super) receive: bool,
    pub(super) subscribe: bool,
    pub(super) unsubscribe: bool,
}

impl Directory {
    pub(super) fn clients(&self) -> &BTreeMap<Box<str>, Arc<DynamicClient>> {
        &self.clients
    }

    pub(super) fn groups(&self) -> &BTreeMap<Box<str>, Arc<DynamicGroup>> {
        &self.groups
    }

    pub(super) fn roles(&self) -> &BTreeMap<Box<str>, Arc<DynamicRole>> {
        &self.roles
    }

    /// Adds or replaces a client, which is in no group yet.
    pub(super) fn insert_client(&mut self, user: &str, client: DynamicClient) {
        self.clients.insert(user.into(), Arc::new(client));
    }

    pub(super) fn insert_group(&mut self, name: &str, group: DynamicGroup) {
        self.groups.insert(name.into(), Arc::new(group));
    }

    pub(super) fn insert_role(&mut self, name: &str, role: DynamicRole) {
        self.roles.insert(name.into(), Arc::new(role));
    }

    /// The client, to be changed.
    pub(super) fn client_mut(&mut self, user: &str) -> Option<&mut DynamicClient> {
        self.clients.get_mut(user).map(Arc::make_mut)
    }

    /// The group, to be changed.
    pub(super) fn group_mut(&mut self, name: &str) -> Option<&mut DynamicGroup> {
        self.groups.get_mut(name).map(Arc::make_mut)
    }

    /// The role, to be changed.
    pub(super) fn role_mut(&mut self, name: &str) -> Option<&mut DynamicRole> {
        self.roles.get_mut(name).map(Arc::make_mut)
    }

    /// Whether there was such a client; its groups lose it.
    pub(super) fn remove_client(&mut self, user: &str) -> bool {
        self.leave_all_groups(user);
        self.clients.remove(user).is_some()
    }

    /// Whether there was such a group; its clients lose it.
    pub(super) fn remove_group(&mut self, name: &str) -> bool {
        self.empty_group(name);
        self.groups.remove(name).is_some()
    }

    /// Whether there was such a role; clients and groups lose it.
    pub(super) fn remove_role(&mut self, name: &str) -> bool {
        for client in self.clients.values_mut() {
            if client.roles.has(name) {
                Arc::make_mut(client).roles.remove(name);
            }
        }
        for group in self.groups.values_mut() {
            if group.roles.has(name) {
                Arc::make_mut(group).roles.remove(name);
            }
        }
        self.roles.remove(name).is_some()
    }

    /// Puts a client into a group, both of which exist; false if it is there already.
    pub(super) fn join(&mut self, user: &str, group: &str, priority: i32) -> bool {
        let (Some(client), Some(joined)) = (self.clients.get_mut(user), self.groups.get_mut(group)) else {
            return false;
        };
        let is_new = Arc::make_mut(client).groups.add(group, priority);
        if is_new {
            Arc::make_mut(joined).clients.insert(user.into(), priority);
        }
        is_new
    }

    /// Takes a client out of a group, if it is there.
    pub(super) fn leave(&mut self, user: &str, group: &str) {
        if let Some(client) = self.client_mut(user) {
            client.groups.remove(group);
        }
        if let Some(group) = self.group_mut(group) {
            group.clients.remove(user);
        }
    }

    pub(super) fn leave_all_groups(&mut self, user: &str) {
        let groups = self.clients.get(user).map(|client| client.groups.clone());
        for link in groups.unwrap_or_default().iter() {
            self.leave(user, &link.name);
        }
    }

    /// Takes all clients out of a group.
    pub(super) fn empty_group(&mut self, name: &str) {
        let clients = self.groups.get(name).map(|group| group.clients.clone());
        for user in clients.unwrap_or_default().keys() {
            self.leave(user, name);
        }
    }
}

impl DynamicClient {
    pub(super) fn groups(&self) -> &Memberships {
        &self.groups
    }
}

impl DynamicGroup {
    /// The users with the priority that the group has for each.
    pub(super) fn clients(&self) -> &BTreeMap<Box<str>, i32> {
        &self.clients
    }
}

impl Default for DynamicRole {
    fn default() -> Self {
        Self {
            texts: Texts::default(),
            allows_wildcards: true,
            acls: Default::default(),
        }
    }
}

impl DynamicRole {
    pub(super) fn acls(&self, kind: AclKind) -> &AclList {
        let [
            send,
            receive,
            literal,
            pattern,
            unsubscribe_literal,
            unsubscribe_pattern,
        ] = &self.acls;
        match kind {
            AclKind::Send => send,
            AclKind::Receive => receive,
            AclKind::SubscribeLiteral => literal,
            AclKind::SubscribePattern => pattern,
            AclKind::UnsubscribeLiteral => unsubscribe_literal,
            AclKind::UnsubscribePattern => unsubscribe_pattern,
        }
    }

    pub(super) fn acls_mut(&mut self, kind: AclKind) -> &mut AclList {
        let [
            send,
            receive,
            literal,
            pattern,
            unsubscribe_literal,
            unsubscribe_pattern,
        ] = &mut self.acls;
        match kind {
            AclKind::Send => send,
            AclKind::Receive => receive,
            AclKind::SubscribeLiteral => literal,
            AclKind::SubscribePattern => pattern,
            AclKind::UnsubscribeLiteral => unsubscribe_literal,
            AclKind::UnsubscribePattern => unsubscribe_pattern,
        }
    }
}

impl Memberships {
    /// Adds a name; false if it is there already.
    pub(super) fn add(&mut self, name: &str, priority: i32) -> bool {
        if self.has(name) {
            return false;
        }
        let is_before =
            |link: &Membership| link.priority > priority || link.priority == priority && *link.name < *name;
        let at = self.0.partition_point(is_before);
        let name = name.into();
        self.0.insert(at, Membership { name, priority });
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|link| *link.name != *name);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.iter().any(|link| *link.name == *name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Membership> {
        self.0.iter()
    }
}

impl AclList {
    /// Adds a rule; false if there is one for its topic.
    pub(super) fn add(&mut self, acl: RoleAcl) -> bool {
        if self.find(&acl.topic).is_some() {
            return false;
        }
        let at = self.0.partition_point(|other| other.priority >= acl.priority);
        self.0.insert(at, acl);
        true
    }

    /// Whether there was a rule for this topic.
    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|acl| *acl.topic != *topic);
        self.0.len() < before
    }

    pub(super) fn find(&self, topic: &str) -> Option<&RoleAcl> {
        self.iter().find(|acl| *acl.topic == *topic)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RoleAcl> {
        self.0.iter()
    }
}

impl AclKind {
    /// All kinds, in the order in which files and answers have them.
    pub(super) const ALL: [AclKind; 6] = [
        AclKind::Send,
        AclKind::Receive,
        AclKind::SubscribeLiteral,
        AclKind::SubscribePattern,
        AclKind::UnsubscribeLiteral,
        AclKind::UnsubscribePattern,
    ];

    /// As files and commands name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            AclKind::Send => "publishClientSend",
            AclKind::Receive => "publishClientReceive",
            AclKind::SubscribeLiteral => "subscribeLiteral",
            AclKind::SubscribePattern => "subscribePattern",
            AclKind::UnsubscribeLiteral => "unsubscribeLiteral",
            AclKind::UnsubscribePattern => "unsubscribePattern",
        }
    }

    /// The kind of a name, in whatever case.
    pub(super) fn from_name(name: &str) -> Option<AclKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl DefaultAccess {
    /// Names and values, in the order of files and answers.
    pub(super) fn named(self) -> [(&'static str, bool); 4] {
        [
            (AclKind::Send.name(), self.send),
            (AclKind::Receive.name(), self.receive),
            ("subscribe", self.subscribe),
            ("unsubscribe", self.unsubscribe),
        ]
    }

    /// Sets what a name in whatever case means; another name changes nothing.
    pub(super) fn set(&mut self, name: &str, allows: bool) {
        let values = [
            &mut self.send,
            &mut self.receive,
            &mut self.subscribe,
            &mut self.unsubscribe,
        ];
        let names = DefaultAccess::default().named().map(|(name, _)| name);
        for (known, value) in names.into_iter().zip(values) {
            if known.eq_ignore_ascii_case(name) {
                *value = allows;
            }
        }
    }
}

/// Priorities lie between this and its negative, as in mosquitto.
const PRIORITY_MAX: i32 = 100_000;

/// A priority within its bounds: what is beyond one is taken for it.
pub(super) fn bounded_priority(priority: i64) -> i32 {
    let bound = i64::from(PRIORITY_MAX);
    i32::try_from(priority.clamp(-bound, bound)).unwrap_or_default()
}
