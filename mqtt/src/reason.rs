//! Reason codes: the byte that gives the result of an operation.
//!
//! Invariant: one enum is used for every packet and every version. [`ReasonCode::belongs_to`] says which codes a
//! packet may have, [`ReasonCode::to_v3_return_code`] which return code replaces one in a CONNACK of MQTT 3.x.

use std::fmt;

use crate::frame::PacketType;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// A reason code of MQTT 5.0, section 2.4.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $variant = $code,)*
        }

        impl ReasonCode {
            /// Every reason code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason code of a byte, if the specification has one.
            pub fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name of the code in the specification.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Success; also Normal disconnection and Granted QoS 0.
    Success = 0x00, "Success";
    /// The subscription is accepted with QoS 1 at most.
    GrantedQoS1 = 0x01, "Granted QoS 1";
    /// The subscription is accepted with QoS 2 at most.
    GrantedQoS2 = 0x02, "Granted QoS 2";
    /// The client disconnects and requests that its Will Message is published.
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    /// Accepted, but nothing has subscribed to it.
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    /// There was nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11, "No subscription existed";
    /// Enhanced authentication continues.
    ContinueAuthentication = 0x18, "Continue authentication";
    /// Enhanced authentication starts again.
    ReAuthenticate = 0x19, "Re-authenticate";
    /// The sender does not give a reason.
    UnspecifiedError = 0x80, "Unspecified error";
    /// The bytes are not a packet of the specification.
    MalformedPacket = 0x81, "Malformed Packet";
    /// The packet is well formed and not allowed (here, or now).
    ProtocolError = 0x82, "Protocol Error";
    /// Valid, and not accepted by this implementation.
    ImplementationSpecificError = 0x83, "Implementation specific error";
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    /// The server does not allow this Client Identifier.
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    /// Wrong User Name or Password.
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    /// Not authorized.
    NotAuthorized = 0x87, "Not authorized";
    /// The server is not available.
    ServerUnavailable = 0x88, "Server unavailable";
    /// The server is busy: try again later.
    ServerBusy = 0x89, "Server busy";
    /// Banned by administrative action.
    Banned = 0x8A, "Banned";
    /// The server is shutting down.
    ServerShuttingDown = 0x8B, "Server shutting down";
    /// The authentication method is not supported, or not the one in use.
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    /// Nothing arrived for one and a half times the Keep Alive.
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    /// Another connection took over the session.
    SessionTakenOver = 0x8E, "Session taken over";
    /// The Topic Filter is not accepted.
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    /// The Topic Name is not accepted.
    TopicNameInvalid = 0x90, "Topic Name invalid";
    /// The Packet Identifier is in use.
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    /// The Packet Identifier is not known.
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    /// More unacknowledged messages than Receive Maximum.
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    /// The Topic Alias is zero, too large, or not known.
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    /// Larger than Maximum Packet Size.
    PacketTooLarge = 0x95, "Packet too large";
    /// Data arrives too fast.
    MessageRateTooHigh = 0x96, "Message rate too high";
    /// An imposed limit is exceeded.
    QuotaExceeded = 0x97, "Quota exceeded";
    /// Closed by administrative action.
    AdministrativeAction = 0x98, "Administrative action";
    /// The payload does not match its Payload Format Indicator.
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    /// The server does not keep retained messages.
    RetainNotSupported = 0x9A, "Retain not supported";
    /// More than the Maximum QoS.
    QoSNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "Use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "Server moved";
    /// The server does not support Shared Subscriptions.
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    /// Connections arrive too fast.
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    /// The connection has reached its maximum duration.
    MaximumConnectTime = 0xA0, "Maximum connect time";
    /// The server does not support Subscription Identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    /// The server does not support wildcards in subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

#[allow(
    non_upper_case_globals,
    reason = "they are other names of a variant and read like one"
)]
impl ReasonCode {
    /// The name of 0x00 in DISCONNECT.
    pub const NormalDisconnection: Self = Self::Success;
    /// The name of 0x00 in SUBACK.
    pub const GrantedQoS0: Self = Self::Success;
}

impl ReasonCode {
    /// Whether it is the code of a failure: 0x80 and above.
    pub fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the specification allows this code in that packet (MQTT 5.0, table 2-6 and the packets' own tables).
    pub fn belongs_to(self, packet_type: PacketType) -> bool {
        let code = self as u8;
        match packet_type {
            PacketType::ConnAck => {
                matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::PubAck | PacketType::PubRec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0x00 | 0x92),
            PacketType::SubAck => {
                matches!(
                    code,
                    0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
                )
            }
            PacketType::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => {
                matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
            }
            PacketType::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }

    /// The nearest return code of a 3.x CONNACK (0 to 5); if 3.x has no equivalent, it is 3, Server unavailable.
    pub fn to_v3_return_code(self) -> u8 {
        match self {
            code if !code.is_error() => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => 4,
            Self::NotAuthorized | Self::Banned => 5,
            _ => 3,
        }
    }

    /// The reason code of a return code in a 3.x CONNACK [MQTT3-3.2.2-6].
    pub fn from_v3_return_code(return_code: u8) -> Option<Self> {
        match return_code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
