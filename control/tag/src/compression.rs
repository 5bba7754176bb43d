//! How a job's messages are made smaller on their way: `compression: {tensors: f16, forms: [full, delta], zstd: 3}`.

use serde::{Deserialize, Serialize};

use crate::reader::{At, Object, Reader};

/// Highest level that can be asked for: those above need hundreds of megabytes for a percent.
const MAX_ZSTD: u8 = 19;

/// How messages are made smaller on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compression {
    /// How floats travel in messages of `forms`.
    #[serde(default)]
    pub tensors: TensorEncoding,
    /// Messages whose floats may lose digits: updates, unless the file says otherwise. Empty where no floats do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<MessageForm>,
    /// Level of zstd for all messages; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zstd: Option<u8>,
}

/// How the elements of float tensors travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorEncoding {
    /// As they are.
    #[default]
    Raw,
    /// In 16 bits with 11 of precision, up to 65,504.
    F16,
    /// In 16 bits with 8 of precision and the range of 32.
    Bf16,
    /// In 8 bits with one scale per tensor.
    Int8,
}

impl TensorEncoding {
    /// The encodings by their names in files.
    pub const ALL: [(&'static str, Self); 4] =
        [("raw", Self::Raw), ("f16", Self::F16), ("bf16", Self::Bf16), ("int8", Self::Int8)];
}

/// What the numbers of a message are, as the WIT package has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageForm {
    /// Not derived from a participant's data: a broadcast model.
    State,
    /// A whole model after training.
    Full,
    /// The difference from the base.
    Delta,
    /// A sum over several workers.
    PartialSum,
}

impl MessageForm {
    /// The forms by their names in files.
    pub const ALL: [(&'static str, Self); 4] =
        [("state", Self::State), ("full", Self::Full), ("delta", Self::Delta), ("partial-sum", Self::PartialSum)];

    /// What participants answer with.
    pub const UPDATES: [Self; 2] = [Self::Full, Self::Delta];
}

pub(crate) fn read(r: &mut Reader, object: &Object<'_>) -> Option<Compression> {
    let at = object.get("compression")?;
    let given = r.object(&at, &["tensors", "forms", "zstd"])?;
    let tensors = given.get("tensors");
    let tensors = tensors.map_or(Some(TensorEncoding::Raw), |at| r.word(&at, "tensor encoding", &TensorEncoding::ALL));
    let forms = match given.get("forms") {
        Some(at) => {
            if tensors == Some(TensorEncoding::Raw) {
                let hint = "give tensors one of f16, bf16 and int8 beside it, or leave forms out";
                r.problem(&at, "forms says which messages may lose digits, and nothing makes them lose any", hint);
            }
            read_forms(r, &at).unwrap_or_default()
        }
        None if tensors == Some(TensorEncoding::Raw) => Vec::new(),
        None => MessageForm::UPDATES.to_vec(),
    };
    let zstd = given.get("zstd").and_then(|at| read_level(r, &at));
    Some(Compression { tensors: tensors.unwrap_or_default(), forms, zstd })
}

fn read_forms(r: &mut Reader, at: &At<'_>) -> Option<Vec<MessageForm>> {
    let items = r.list(at, "list the forms of message: forms: [full, delta]")?;
    if items.is_empty() {
        r.problem(at, "no form is named, so no message would be encoded", "leave forms out for full and delta");
    }
    let mut forms = Vec::new();
    for item in &items {
        let Some(form) = r.word(item, "form of message", &MessageForm::ALL) else { continue };
        if forms.contains(&form) {
            r.problem(item, "the form is named twice", "name each form once");
        } else {
            forms.push(form);
        }
    }
    Some(forms)
}

fn read_level(r: &mut Reader, at: &At<'_>) -> Option<u8> {
    let level: u8 = r.integer(at, 1)?;
    if level > MAX_ZSTD {
        let hint = "levels go from 1, the quickest, to 19; 3 is zstd's own choice";
        r.problem(at, format!("{level} is above {MAX_ZSTD}"), hint);
        return None;
    }
    Some(level)
}
