//! Why the broker does not take a message whose publisher may publish there.
//!
//! Invariants: each reason says which limit it is about, its value, and what the message has.

use mqtt::ReasonCode;

use crate::logic::counters::DropReason;

/// A message that is not published, for what it is or as there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublishable {
    /// Longer than messages may be.
    #[error("the payload has {bytes} bytes, and message_size_limit is {bytes_max}")]
    TooLarge {
        /// Length of its payload.
        bytes: usize,
        /// The limit of the settings.
        bytes_max: u32,
    },
    /// Its Payload Format Indicator says UTF-8, and it is none.
    #[error(
        "the payload of {bytes} bytes is not UTF-8, which its Payload Format Indicator says (check_payload_format)"
    )]
    NotUtf8 {
        /// Length of its payload.
        bytes: usize,
    },
    /// It would be retained, and the process has as much memory as it may.
    #[error("memory_limit is reached, and the message of {bytes} bytes would be retained")]
    MemoryFull {
        /// Length of its payload.
        bytes: usize,
    },
    /// It would be one more retained message.
    #[error("max_retained_messages is {messages_max}, and as many are retained")]
    RetainedMessages {
        /// The bound of the settings.
        messages_max: u64,
    },
    /// The retained messages would have too many bytes with it.
    #[error("max_retained_bytes is {bytes_max}, and {bytes} more of topic and payload exceed it")]
    RetainedBytes {
        /// Of its topic and payload, without those of the message whose place it takes.
        bytes: u64,
        /// The bound of the settings.
        bytes_max: u64,
    },
}

impl Unpublishable {
    /// What its publisher is answered.
    pub(in crate::logic) fn reason(self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::ImplementationSpecificError,
            Self::NotUtf8 { .. } => ReasonCode::PayloadFormatInvalid,
            Self::MemoryFull { .. } | Self::RetainedMessages { .. } | Self::RetainedBytes { .. } => {
                ReasonCode::QuotaExceeded
            }
        }
    }

    /// As what it is counted.
    pub(in crate::logic) fn drop_reason(self) -> DropReason {
        match self {
            Self::TooLarge { .. } | Self::NotUtf8 { .. } => DropReason::Refused,
            Self::MemoryFull { .. } => DropReason::MemoryFull,
            Self::RetainedMessages { .. } | Self::RetainedBytes { .. } => DropReason::Quota,
        }
    }

    /// What an operator can do about it.
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
