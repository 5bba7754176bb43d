//! Which messages of a channel are narrowed and compressed.

use flame_model::Form;
use flame_model::wire::{Encoding, TensorEncoding, ZSTD_LEVELS};

use crate::error::ChannelError;

/// How a channel's messages travel. The default changes nothing and copies nothing.
///
/// Narrowing loses digits, so it is for updates: a sum of them is what an aggregator keeps, and their errors cancel. What
/// others take for the truth (a broadcast model, of form `state`) and what is added up on its way (`partial-sum`) arrives
/// as it was sent unless `forms` says otherwise. Sender and receivers then have one base to compute deltas from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEncoding {
    /// How `float32` and `float64` tensors travel in messages of these `forms`.
    pub tensors: TensorEncoding,
    /// Forms of the messages that are narrowed. Default: `full` and `delta`.
    pub forms: Vec<Form>,
    /// zstd over bodies and tensors of all messages at this level, from 1 to 19. Default: none.
    pub zstd: Option<u8>,
}

impl Default for ChannelEncoding {
    fn default() -> Self {
        Self { tensors: TensorEncoding::Raw, forms: Self::UPDATES.to_vec(), zstd: None }
    }
}

impl ChannelEncoding {
    /// The forms of what a participant answers with.
    pub const UPDATES: [Form; 2] = [Form::Full, Form::Delta];

    /// How a message of this form travels.
    pub fn of(&self, form: Form) -> Encoding {
        let tensors = if self.forms.contains(&form) { self.tensors } else { TensorEncoding::Raw };
        Encoding { tensors, zstd: self.zstd }
    }

    /// Whether every message travels as it is.
    pub fn is_plain(&self) -> bool {
        !self.tensors.is_lossy() && self.zstd.is_none()
    }

    pub(crate) fn check(&self) -> Result<(), ChannelError> {
        match self.zstd {
            Some(level) if !ZSTD_LEVELS.contains(&level) => Err(ChannelError::InvalidArgument(format!(
                "zstd has the levels {} to {}, not {level}",
                ZSTD_LEVELS.start(),
                ZSTD_LEVELS.end()
            ))),
            _ => Ok(()),
        }
    }
}
