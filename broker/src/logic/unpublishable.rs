//! Why the broker does not accept a message whose publisher has the right to publish there.
//!
//! Invariants: each reason names its limit, the value of the limit, and the value of the message.

use mqtt::ReasonCode;

use crate::logic::counters::DropReason;

/// A message that is not published, because of its contents or because there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublishable {
    /// Its payload is longer than allowed.
    #[error("the payload has {bytes} bytes, and message_size_limit is {bytes_max}")]
    TooLarge {
        /// Length of its payload.
        bytes: usize,
        /// The limit of the settings.
        bytes_max: u32,
    },
    /// Its Payload Format Indicator says UTF-8, but it is not UTF-8.
    #[error(
        "the payload of {bytes} bytes is not UTF-8, although its Payload Format Indicator says so \
        (check_payload_format)"
    )]
    NotUtf8 {
        /// Length of its payload.
        bytes: usize,
    },
    /// It would be retained, but the process has reached its memory limit.
    #[error("memory_limit is reached, and the message of {bytes} bytes would be retained")]
    MemoryFull {
        /// Length of its payload.
        bytes: usize,
    },
    /// It would be one more retained message.
    #[error("max_retained_messages is {messages_max}, and this number is reached")]
    RetainedMessages {
        /// The bound of the settings.
        messages_max: u64,
    },
    /// The retained messages would exceed their bytes with it.
    #[error("max_retained_bytes is {bytes_max}, and {bytes} more of topic and payload exceed it")]
    RetainedBytes {
        /// Bytes of its topic and payload, minus those of the message that it replaces.
        bytes: u64,
        /// The bound of the settings.
        bytes_max: u64,
    },
}

impl Unpublishable {
    /// The reason code for its publisher.
    pub(in crate::logic) fn reason(self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::ImplementationSpecificError,
            Self::NotUtf8 { .. } => ReasonCode::PayloadFormatInvalid,
            Self::MemoryFull { .. } | Self::RetainedMessages { .. } | Self::RetainedBytes { .. } => {
                ReasonCode::QuotaExceeded
            }
        }
    }

    /// The counter of such a drop.
    pub(in crate::logic) fn drop_reason(self) -> DropReason {
        match self {
            Self::TooLarge { .. } | Self::NotUtf8 { .. } => DropReason::Refused,
            Self::MemoryFull { .. } => DropReason::MemoryFull,
            Self::RetainedMessages { .. } | Self::RetainedBytes { .. } => DropReason::Quota,
        }
    }

    /// The advice for an operator.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "publish a shorter one, or raise message_size_limit",
            Self::NotUtf8 { .. } => "publish it without the indicator",
            Self::MemoryFull { .. } => "raise memory_limit, or end sessions with long queues",
            Self::RetainedMessages { .. } => "delete retained messages, or raise max_retained_messages",
            Self::RetainedBytes { .. } => "delete retained messages, or raise max_retained_bytes",
        }
    }
}
