//! How a channel's messages travel, as a grant says it.

use serde::{Deserialize, Serialize};

/// How the messages of a channel travel. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelEncoding {
    /// How floats travel in messages of `forms`.
    #[serde(default)]
    pub tensors: TensorEncoding,
    /// Forms of the messages whose floats may lose digits.
    #[serde(default)]
    pub forms: Vec<MessageForm>,
    /// Level of zstd for all messages, 1 to 19; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zstd: Option<u8>,
}

/// How the elements of float tensors travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "documented where they are done: `flame_model::wire::TensorEncoding`")]
pub enum TensorEncoding {
    #[default]
    Raw,
    F16,
    Bf16,
    Int8,
}

/// What the numbers of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "documented in the WIT package")]
pub enum MessageForm {
    State,
    Full,
    Delta,
    PartialSum,
}
