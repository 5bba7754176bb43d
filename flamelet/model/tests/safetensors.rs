//! Our files against the reference implementation, both ways, and against broken ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::models;
use flame_model::safetensors::{self as ours, SafetensorsError};
use flame_model::{Dtype, Model, SharedBuffer, Tensor};
use proptest::prelude::*;
use safetensors as reference;

fn sample() -> Model {
    [
        ("bytes", Tensor::from_bytes(&[3], Dtype::Uint8, &[1, 2, 3]).unwrap()),
        ("w", Tensor::from_f32(&[2, 1], &[1.5, -2.0]).unwrap()),
        ("scalar", Tensor::from_elements(&[], &[7_i64]).unwrap()),
        ("none", Tensor::zeros(&[0, 4], Dtype::Float16).unwrap()),
    ]
    .into_iter()
    .collect()
}

fn metadata() -> BTreeMap<String, String> {
    [("format", "pt"), ("round", "3")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn refusal(header: &str, data: &[u8]) -> String {
    ours::from_bytes(&file(header, data)).unwrap_err().to_string()
}

#[test]
fn the_same_model_is_always_the_same_bytes() {
    assert_eq!(ours::to_bytes(&sample(), &metadata()), ours::to_bytes(&sample(), &metadata()));
    assert_eq!(ours::sha256(&sample()), ours::sha256(&sample()));
    assert_eq!(ours::sha256(&sample()).len(), 64);
}

#[test]
fn names_keep_the_models_order_and_data_is_aligned() {
    let file = SharedBuffer::copy_of(&ours::to_bytes(&sample(), &metadata())).unwrap();
    let (read, meta) = ours::from_buffer(&file).unwrap();
    assert_eq!(read.names().collect::<Vec<_>>(), ["bytes", "w", "scalar", "none"]);
    assert_eq!((read.clone(), meta), (sample(), metadata()));
    for (name, tensor) in read.iter() {
        assert!(tensor.buffer().shares_storage(&file), "{name} was copied");
    }
}

#[test]
fn misaligned_tensors_of_others_are_read_by_copy() {
    let header =
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}"#;
    let mut data = vec![9];
    data.extend(2.5_f32.to_le_bytes());
    let bytes = file(header, &data);
    let (copied, _) = ours::from_bytes(&bytes).unwrap();
    let (viewed, _) = ours::from_buffer(&SharedBuffer::copy_of(&bytes).unwrap()).unwrap();
    assert_eq!(copied, viewed);
    assert_eq!(viewed.get("b").unwrap().as_slice::<f32>().unwrap(), [2.5]);
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let one = |name: &str, dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let a = one("a", "U8", "[4]", 0, 4);
    let cases = [
        (refusal(&format!("{{{a},{}}}", one("b", "U8", "[4]", 2, 6)), &[0; 6]), "overlap"),
        (refusal(&format!("{{{a},{}}}", one("b", "U8", "[4]", 5, 9)), &[0; 9]), "hole"),
        (refusal(&format!("{{{a}}}"), &[0; 3]), "the file holds 3"),
        (refusal(&format!("{{{a}}}"), &[0; 5]), "the file holds 5"),
        (refusal(&format!("{{{a},{a}}}"), &[0; 4]), "overlap"),
        (refusal(&format!("{{{}}}", one("a", "C64", "[1]", 0, 8)), &[0; 8]), "\"C64\" is not supported"),
        (refusal(&format!("{{{}}}", one("a", "F32", "[2]", 0, 4)), &[0; 4]), "takes 8 bytes, its offsets span 4"),
        (refusal(&format!("{{{}}}", one("a", "U8", "[4]", 4, 0)), &[0; 4]), "before its start"),
        (refusal(&format!("{{{}}}", one("a", "F32", &format!("[{0},{0}]", u64::MAX), 0, 4)), &[0; 4]), "\"a\""),
        (refusal(&format!("{{{}}}", one("a", "U8", "[-1]", 0, 4)), &[0; 4]), "invalid value"),
        (refusal("[]", &[]), "does not begin with '{'"),
        (refusal("{", &[]), "not a safetensors file"),
        (refusal(r#"{"__metadata__":{"a":1}}"#, &[]), "expected a string"),
        (refusal(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "duplicate"),
        (refusal(&format!("{{\"a\":{}", "[".repeat(5000)), &[]), "not a safetensors file"),
    ];
    for (error, part) in cases {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn header_lengths_that_are_claimed_only_are_refused() {
    for (claimed, part) in [(u64::MAX, "at most"), (100_000_001, "at most"), (50, "but 2 follow")] {
        let mut file = claimed.to_le_bytes().to_vec();
        file.extend(b"{}");
        let error = ours::from_bytes(&file).unwrap_err();
        assert!(matches!(&error, SafetensorsError::BadHeader(text) if text.contains(part)), "{error}");
    }
    assert!(ours::from_bytes(b"1234567").is_err());
    assert!(ours::from_bytes(&file("{}", &[])).unwrap().0.is_empty());
}

fn reference_dtype(dtype: Dtype) -> reference::Dtype {
    match dtype {
        Dtype::Float32 => reference::Dtype::F32,
        Dtype::Float64 => reference::Dtype::F64,
        Dtype::Float16 => reference::Dtype::F16,
        Dtype::Bfloat16 => reference::Dtype::BF16,
        Dtype::Int64 => reference::Dtype::I64,
        Dtype::Int32 => reference::Dtype::I32,
        Dtype::Uint8 => reference::Dtype::U8,
    }
}

proptest! {
    #[test]
    fn the_reference_reads_what_we_write(model in models()) {
        let file = ours::to_bytes(&model, &metadata());
        let read = reference::SafeTensors::deserialize(&file).unwrap();
        prop_assert_eq!(read.len(), model.len());
        for (name, tensor) in model.iter() {
            let view = read.tensor(name).unwrap();
            prop_assert_eq!(view.dtype(), reference_dtype(tensor.dtype()));
            let shape: Vec<u64> = view.shape().iter().map(|extent| *extent as u64).collect();
            prop_assert_eq!(&shape[..], tensor.shape());
            prop_assert_eq!(view.data(), tensor.bytes());
        }
        let (_, header) = reference::SafeTensors::read_metadata(&file).unwrap();
        let meta: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        prop_assert_eq!(meta, metadata());
    }

    #[test]
    fn we_read_what_the_reference_writes(model in models()) {
        let views: Vec<(String, reference::tensor::TensorView<'_>)> = model
            .iter()
            .map(|(name, tensor)| {
                let shape = tensor.shape().iter().map(|extent| *extent as usize).collect();
                let view = reference::tensor::TensorView::new(reference_dtype(tensor.dtype()), shape, tensor.bytes());
                (name.to_owned(), view.unwrap())
            })
            .collect();
        let meta: HashMap<String, String> = metadata().into_iter().collect();
        let file = reference::serialize(views, Some(meta)).unwrap();
        let (read, meta) = ours::from_bytes(&file).unwrap();
        prop_assert_eq!(meta, metadata());
        prop_assert_eq!(read.len(), model.len());
        for (name, tensor) in model.iter() {
            prop_assert_eq!(read.get(name), Some(tensor));
        }
    }

    #[test]
    fn mutated_files_never_panic(
        model in models(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = ours::to_bytes(&model, &BTreeMap::new());
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        let copied = ours::from_bytes(&file);
        let viewed = ours::from_buffer(&SharedBuffer::copy_of(&file).unwrap());
        prop_assert_eq!(copied, viewed);
    }

    #[test]
    fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ours::from_bytes(&bytes);
        let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
        framed.extend(&bytes);
        let _ = ours::from_bytes(&framed);
    }
}
