//! State that most connections have only after their end, in a separate allocation.
//!
//! Invariants: none.

use crate::logic::aliases::Aliases;
use crate::logic::connection::Connection;
use crate::logic::filters_begun::FiltersBegun;
use crate::logic::reauthentication::Enhanced;

/// State that most connections have only after their end.
#[derive(Debug, Default)]
pub(super) struct RareConnection {
    /// Inbound topic aliases (5.0); empty until the first is set.
    aliases: Vec<Option<Box<str>>>,
    why_closing: Option<Box<str>>,
    /// The client of the connection, once it begins to close.
    former_client: Option<FormerClient>,
    /// Outbound topic aliases (5.0), if the client accepts some.
    outbound_aliases: Option<Box<Aliases>>,
    /// It is a bridge of another broker.
    is_bridge: bool,
    /// State for re-authentication, if it named an Authentication Method.
    enhanced: Option<Box<Enhanced>>,
    /// Request Problem Information is 0: no Reason Strings.
    without_reasons: bool,
    /// Number of its packets that wait for the store.
    deferred: u32,
    /// Bytes of its packets that wait for space on the disk.
    unstored_bytes: u32,
    /// A packet with so many filters that it takes more than one turn.
    filters_begun: Option<Box<FiltersBegun>>,
}

/// The client of a closing connection.
#[derive(Debug)]
pub(in crate::logic) struct FormerClient {
    /// The identifier of its session.
    pub(in crate::logic) identifier: Box<str>,
    /// The user, if it was authenticated.
    pub(in crate::logic) user: Option<Box<str>>,
}

impl RareConnection {
    /// One more packet waits for the store.
    pub(super) fn begin_deferring(&mut self) {
        self.deferred += 1;
    }

    /// A packet no longer waits for the store; returns whether it was the last one.
    pub(super) fn end_deferring(&mut self) -> bool {
        self.deferred = self.deferred.saturating_sub(1);
        self.deferred == 0
    }

    #[inline]
    pub(super) fn outbound_aliases(&mut self) -> Option<&mut Aliases> {
        self.outbound_aliases.as_deref_mut()
    }

    pub(super) fn set_outbound_aliases(&mut self, aliases: Box<Aliases>) {
        self.outbound_aliases = Some(aliases);
    }

    /// Frees everything that only an exchange with the client needs.
    pub(super) fn end_exchange(&mut self) {
        self.aliases = Vec::new();
        self.enhanced = None;
        self.outbound_aliases = None;
        self.filters_begun = None;
    }
}

impl Connection {
    /// The rare state, created if there is none.
    pub(super) fn rare(&mut self) -> &mut RareConnection {
        self.rare.get_or_insert_default()
    }

    /// Its client wants no Reason Strings: Request Problem Information is 0.
    pub(in crate::logic) fn forbid_reasons(&mut self) {
        self.rare().without_reasons = true;
    }

    /// Whether its client wants no Reason Strings.
    pub(in crate::logic) fn is_without_reasons(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.without_reasons)
    }

    /// It is a bridge of another broker.
    pub(in crate::logic) fn mark_as_bridge(&mut self) {
        self.rare().is_bridge = true;
    }

    /// Whether it is a bridge of another broker.
    pub(in crate::logic) fn is_bridge(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_bridge)
    }

    /// Its client may re-authenticate.
    pub(in crate::logic) fn set_enhanced(&mut self, enhanced: Enhanced) {
        self.rare().enhanced = Some(Box::new(enhanced));
    }

    /// The state for re-authentication, if its CONNECT named an Authentication Method.
    pub(in crate::logic) fn enhanced(&mut self) -> Option<&mut Enhanced> {
        self.rare.as_mut()?.enhanced.as_deref_mut()
    }

    /// It is about to close, for that reason; records its client.
    pub(in crate::logic) fn remember_end(&mut self, why: &str, client: Option<FormerClient>) {
        let rare = self.rare();
        rare.former_client = client;
        rare.why_closing = Some(why.into());
    }

    /// Why it closes, if it does.
    pub(in crate::logic) fn why_closing(&self) -> Option<&str> {
        self.rare.as_ref()?.why_closing.as_deref()
    }

    /// The client of the connection, once it begins to close.
    pub(in crate::logic) fn former_client(&self) -> Option<&FormerClient> {
        self.rare.as_ref()?.former_client.as_ref()
    }

    /// Takes the topic that the client has set an alias for.
    pub(in crate::logic) fn take_alias(&mut self, alias: u16) -> Option<Box<str>> {
        let aliases = &mut self.rare.as_mut()?.aliases;
        aliases.get_mut(usize::from(alias)).and_then(Option::take)
    }

    /// The client sets an alias for a topic.
    pub(in crate::logic) fn set_alias(&mut self, alias: u16, topic: Box<str>) {
        let aliases = &mut self.rare().aliases;
        let at = usize::from(alias);
        if aliases.len() <= at {
            aliases.resize(at + 1, None);
        }
        if let Some(place) = aliases.get_mut(at) {
            *place = Some(topic);
        }
    }

    /// Bytes of its packets that wait for space on the disk.
    pub(in crate::logic) fn unstored_bytes(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.unstored_bytes)
    }

    /// A packet of this size waits for space on the disk; returns the total of its waiting bytes.
    pub(in crate::logic) fn add_unstored(&mut self, bytes: u32) -> u32 {
        let own = &mut self.rare().unstored_bytes;
        *own = own.saturating_add(bytes);
        *own
    }

    /// A packet of this size no longer waits for space; returns the total of its waiting bytes.
    pub(in crate::logic) fn sub_unstored(&mut self, bytes: u32) -> u32 {
        let own = &mut self.rare().unstored_bytes;
        *own = own.saturating_sub(bytes);
        *own
    }

    /// Whether a packet with filters is in progress, which continues with the next call.
    #[inline]
    pub(in crate::logic) fn has_begun_filters(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.filters_begun.is_some())
    }

    /// Keeps the results of a packet with filters until it continues.
    pub(in crate::logic) fn keep_begun_filters(&mut self, begun: FiltersBegun) {
        self.rare().filters_begun = Some(Box::new(begun));
    }

    /// Takes the results of the packet with filters that is in progress.
    pub(in crate::logic) fn take_begun_filters(&mut self) -> Option<Box<FiltersBegun>> {
        self.rare.as_mut()?.filters_begun.take()
    }
}
