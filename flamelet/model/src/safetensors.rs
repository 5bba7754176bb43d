//! Models as safetensors files, readable by every other implementation and the same bytes for the same model.
//!
//! The header's keys follow the model's order. The data is laid out by falling element size, in model order within a size,
//! so that every tensor is aligned although the format allows no gaps. `F32, F64, F16, BF16, I64, I32, U8` are held; files
//! with others are refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::tensor::byte_len;
use crate::{Dtype, Model, SharedBuffer, Tensor};

/// Most bytes of a header, as in the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

const METADATA: &str = "__metadata__";

/// Why bytes are not a safetensors file that Flame can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file ends before its header does.
    #[error("not a safetensors file: {0}")]
    BadHeader(String),
    /// An entry of the header contradicts itself or the file.
    #[error("tensor {tensor:?} of the safetensors file: {reason}")]
    BadTensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Tensors overlap, or bytes belong to none.
    #[error("the safetensors file's data is not covered: {0}")]
    BadCoverage(String),
}

/// One tensor in the header.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    dtype: std::borrow::Cow<'a, str>,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The file of a model, with free-form metadata. Deterministic.
pub fn to_bytes(model: &Model, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    // As before any other large memory: what waits to be used again goes first.
    crate::release_spare_memory();
    let data: usize = model.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    let mut file = Vec::with_capacity(data + 4096);
    write_parts(model, metadata, |part| file.extend_from_slice(part));
    file
}

/// The same file in parts, from first to last: without a copy of the data, for hashing and the like.
pub fn write_parts(model: &Model, metadata: &BTreeMap<String, String>, mut write: impl FnMut(&[u8])) {
    // Stable: model order within an element size.
    let mut by_size: Vec<(&str, &Tensor)> = model.iter().collect();
    by_size.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    let mut offsets = BTreeMap::new();
    let mut end = 0_u64;
    for (name, tensor) in &by_size {
        let start = end;
        end += u64::try_from(tensor.byte_len()).unwrap_or(u64::MAX);
        offsets.insert(*name, [start, end]);
    }
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_owned(), serde_json::json!(metadata));
    }
    for (name, tensor) in model.iter() {
        let entry = serde_json::json!({
            "dtype": tensor.dtype().safetensors_name(),
            "shape": tensor.shape(),
            "data_offsets": offsets.get(name),
        });
        header.insert(name.to_owned(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    write(&u64::try_from(header.len()).unwrap_or(u64::MAX).to_le_bytes());
    write(&header);
    for (_, tensor) in by_size {
        write(tensor.bytes());
    }
}

/// SHA-256 in hex of the file of a model without metadata: what identifies a model's names, shapes, dtypes and values.
pub fn sha256(model: &Model) -> String {
    let mut hash = Sha256::new();
    write_parts(model, &BTreeMap::new(), |part| hash.update(part));
    hex::encode(hash.finalize())
}

/// Reads a file into a model with storage of its own, and its metadata.
pub fn from_bytes(file: &[u8]) -> Result<(Model, BTreeMap<String, String>), SafetensorsError> {
    let (header, data) = split(file)?;
    let bytes = file.get(data..).unwrap_or_default();
    build(header, bytes.len(), |entry, start, len| {
        let bytes = bytes.get(start..start + len).unwrap_or_default();
        Tensor::from_bytes(&entry.shape, entry.dtype, bytes).map_err(|error| error.to_string())
    })
}

/// Reads a file into a model whose tensors are views of it, copying only what is not aligned to its element.
pub fn from_buffer(file: &SharedBuffer) -> Result<(Model, BTreeMap<String, String>), SafetensorsError> {
    let (header, data) = split(file.as_bytes())?;
    build(header, file.len() - data, |entry, start, len| {
        let view = file.slice(data + start, len).unwrap_or_default();
        Tensor::from_buffer(&entry.shape, entry.dtype, view).map_err(|error| error.to_string())
    })
}

/// A header's entry after its dtype was understood.
struct Known {
    dtype: Dtype,
    shape: Vec<u64>,
}

/// The header's text and where the data begins.
fn split(file: &[u8]) -> Result<(&[u8], usize), SafetensorsError> {
    let bad = |reason: String| Err(SafetensorsError::BadHeader(reason));
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return bad(format!("it has {} bytes, the header's length alone takes 8", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return bad(format!("its header claims {length} bytes, at most {MAX_HEADER_BYTES} are allowed"));
    }
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(header) = header else {
        return bad(format!("its header claims {length} bytes, but {} follow", rest.len()));
    };
    if header.first() != Some(&b'{') {
        return bad("its header does not begin with '{'".to_owned());
    }
    Ok((header, 8 + header.len()))
}

fn build(
    header: &[u8],
    data_len: usize,
    mut tensor: impl FnMut(&Known, usize, usize) -> Result<Tensor, String>,
) -> Result<(Model, BTreeMap<String, String>), SafetensorsError> {
    let header: Header<'_> =
        serde_json::from_slice(header).map_err(|error| SafetensorsError::BadHeader(error.to_string()))?;
    check_coverage(&header.entries, data_len)?;
    let mut model = Model::new();
    for (name, entry) in header.entries {
        let bad = |reason| SafetensorsError::BadTensor { tensor: name.clone(), reason };
        let dtype = Dtype::from_safetensors_name(&entry.dtype).ok_or_else(|| {
            let known = Dtype::ALL.map(Dtype::safetensors_name).join(", ");
            bad(format!("dtype {:?} is not supported; convert it to one of {known}", entry.dtype))
        })?;
        let [start, end] = entry.data_offsets;
        let needed = byte_len(&entry.shape, dtype).map_err(|error| bad(error.to_string()))?;
        let given = usize::try_from(end - start).unwrap_or(usize::MAX);
        if needed != given {
            return Err(bad(format!(
                "shape {:?} of {dtype} takes {needed} bytes, its offsets span {given}",
                entry.shape
            )));
        }
        let known = Known { dtype, shape: entry.shape };
        let made = tensor(&known, usize::try_from(start).unwrap_or(usize::MAX), given).map_err(bad)?;
        if !model.insert_new(name.clone(), made) {
            return Err(bad("it is there twice".to_owned()));
        }
    }
    Ok((model, header.metadata))
}

/// Every byte of the data belongs to exactly one tensor. After this, offsets are known to rise and to lie inside.
fn check_coverage(entries: &[(String, Entry<'_>)], data_len: usize) -> Result<(), SafetensorsError> {
    let mut spans: Vec<([u64; 2], &str)> =
        entries.iter().map(|(name, entry)| (entry.data_offsets, name.as_str())).collect();
    spans.sort_unstable();
    let mut at = 0_u64;
    for ([start, end], name) in spans {
        if end < start {
            let reason = format!("its data ends at {end}, before its start at {start}");
            return Err(SafetensorsError::BadTensor { tensor: name.to_owned(), reason });
        }
        if start != at {
            let what = if start < at { "overlap" } else { "leave a hole" };
            return Err(SafetensorsError::BadCoverage(format!(
                "the offsets of tensor {name:?} {what}: it starts at {start}, the one before ends at {at}"
            )));
        }
        at = end;
    }
    let data_len = u64::try_from(data_len).unwrap_or(u64::MAX);
    if at != data_len {
        return Err(SafetensorsError::BadCoverage(format!("the tensors take {at} bytes, the file holds {data_len}")));
    }
    Ok(())
}

/// The header as it stands, in order. A map type would hide a name that is there twice.
#[derive(Default)]
struct Header<'a> {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry<'a>)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Header<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Header<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
                let mut header = Header::default();
                let mut seen_metadata = false;
                while let Some(key) = map.next_key::<String>()? {
                    if key != METADATA {
                        header.entries.push((key, map.next_value()?));
                    } else if std::mem::replace(&mut seen_metadata, true) {
                        return Err(A::Error::duplicate_field(METADATA));
                    } else {
                        header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
