//! Which properties belong to which packet (MQTT 5.0, table 2-4).
//!
//! Invariants: none.

/// A set of property identifiers. Bit 63 means that Subscription Identifier may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PropertySet(u64);

impl PropertySet {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const CONNECT: Self = Self::of(&[17, 33, 39, 34, 25, 23, USER_PROPERTY, 21, 22]);
    pub(crate) const WILL: Self = Self::of(&[24, 1, 2, 3, 8, 9, USER_PROPERTY]);
    pub(crate) const CONNACK: Self = Self::of(&[
        17,
        33,
        36,
        37,
        39,
        18,
        34,
        31,
        USER_PROPERTY,
        40,
        41,
        42,
        19,
        26,
        28,
        21,
        22,
    ]);
    /// A server may send several Subscription Identifiers (MQTT 5.0, 3.3.2.3.8).
    pub(crate) const PUBLISH: Self = Self::of(&[
        1,
        2,
        TOPIC_ALIAS,
        8,
        9,
        USER_PROPERTY,
        SUBSCRIPTION_IDENTIFIER,
        3,
        SEVERAL_IDENTIFIERS,
    ]);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
    pub(crate) const ACKNOWLEDGEMENT: Self = Self::of(&[31, USER_PROPERTY]);
    pub(crate) const SUBSCRIBE: Self = Self::of(&[SUBSCRIPTION_IDENTIFIER, USER_PROPERTY]);
    pub(crate) const UNSUBSCRIBE: Self = Self::of(&[USER_PROPERTY]);
    pub(crate) const DISCONNECT: Self = Self::of(&[17, 31, USER_PROPERTY, 28]);
    pub(crate) const AUTH: Self = Self::of(&[21, 22, 31, USER_PROPERTY]);

    const fn of(mut identifiers: &[u8]) -> Self {
        let mut set = Self::NONE;
        while let Some((&identifier, rest)) = identifiers.split_first() {
            set = set.with(identifier);
            identifiers = rest;
        }
        set
    }

    pub(crate) const fn with(self, identifier: u8) -> Self {
        Self(self.0 | 1 << (identifier & 63))
    }

    /// Whether it is in the set; identifiers are below 63.
    pub(crate) const fn contains(self, identifier: u8) -> bool {
        self.0 & (1 << (identifier & 63)) != 0
    }

    pub(crate) const fn may_repeat(self, identifier: u8) -> bool {
        identifier == USER_PROPERTY
            || (identifier == SUBSCRIPTION_IDENTIFIER && self.contains(SEVERAL_IDENTIFIERS))
    }
}

pub(crate) const TOPIC_ALIAS: u8 = 35;
pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 11;
pub(crate) const AUTHENTICATION_METHOD: u8 = 21;
pub(crate) const AUTHENTICATION_DATA: u8 = 22;
const USER_PROPERTY: u8 = 38;
const SEVERAL_IDENTIFIERS: u8 = 63;
