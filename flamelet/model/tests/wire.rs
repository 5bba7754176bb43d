//! The wire encoding against itself and against whatever else may arrive.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::messages;
use flame_model::wire::{self, Encoded, WireError};
use flame_model::{Dtype, Message, Metric, Model, SharedBuffer, Tensor};
use proptest::prelude::*;

fn bytes(message: &Message) -> Vec<u8> {
    wire::encode(message).to_buffer().unwrap().as_bytes().to_vec()
}

/// More than any message here unpacks to.
const LIMIT: u64 = 1 << 20;

fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    wire::decode(SharedBuffer::copy_of(bytes).unwrap(), LIMIT)
}

fn sample() -> Message {
    let model: Model = [
        ("w", Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap()),
        ("odd", Tensor::from_bytes(&[3], Dtype::Uint8, &[1, 2, 3]).unwrap()),
        ("last", Tensor::from_elements(&[1], &[7_i64]).unwrap()),
    ]
    .into_iter()
    .collect();
    Message { kind: "update".into(), models: vec![("model".into(), model)], body: "xyz".into(), ..Message::default() }
}

#[test]
fn tensors_are_views_of_the_buffer_and_aligned() {
    let buffer = wire::encode(&sample()).to_buffer().unwrap();
    let message = wire::decode(buffer.clone(), LIMIT).unwrap();
    let model = message.model("model").unwrap();
    for (name, tensor) in model.iter() {
        assert!(tensor.buffer().shares_storage(&buffer), "{name}");
        assert!(tensor.buffer().is_aligned(), "{name}");
    }
    assert_eq!(message, sample());
}

#[test]
fn encoding_shares_the_tensors_and_keeps_what_was_sent() {
    let mut message = sample();
    let encoded = wire::encode(&message);
    message.models[0].1.get_mut("w").unwrap().write_f32(0, &[99.0]).unwrap();
    assert_eq!(wire::decode(encoded.to_buffer().unwrap(), LIMIT).unwrap(), sample());
}

#[test]
fn a_metric_that_is_nan_arrives_as_one() {
    let message = Message { metrics: vec![Metric::new("loss", f64::NAN)], ..Message::default() };
    assert!(decode(&bytes(&message)).unwrap().metrics[0].value.is_nan());
}

#[test]
fn every_truncation_and_any_trailing_byte_is_refused() {
    let whole = bytes(&sample());
    for len in 0..whole.len() {
        assert!(decode(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    longer.extend([0; 7]);
    assert!(matches!(decode(&longer), Err(WireError::Malformed(_))));
}

#[test]
fn a_header_that_claims_gigabytes_costs_nothing() {
    let mut whole = bytes(&sample());
    whole[8..16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert!(matches!(decode(&whole), Err(WireError::TooMany { what: "header bytes", .. })));
    // The length of the kind.
    let mut whole = bytes(&sample());
    whole[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(&whole), Err(WireError::Truncated { what: "the kind", .. })));
}

#[test]
fn another_format_and_another_version_are_refused_by_name() {
    let mut whole = bytes(&sample());
    whole[7] = 1;
    let error = decode(&whole).unwrap_err();
    assert_eq!(error, WireError::UnknownVersion { found: 1 });
    assert!(error.to_string().contains("version 1, and this host reads version 2"), "{error}");
    whole[0] = b'G';
    assert!(matches!(decode(&whole), Err(WireError::BadMagic(_))));
}

#[test]
fn a_shape_whose_product_overflows_is_refused_by_name() {
    let mut whole = bytes(&sample());
    let at = whole.windows(1).position(|w| w == b"w").unwrap() + 3 + 4;
    whole[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = decode(&whole).unwrap_err().to_string();
    assert!(error.contains("\"w\""), "{error}");
}

#[test]
fn two_tensors_or_models_of_one_name_are_refused() {
    let mut whole = bytes(&sample());
    let model: Model =
        [("a", Tensor::zeros(&[1], Dtype::Uint8).unwrap()), ("b", Tensor::zeros(&[1], Dtype::Uint8).unwrap())]
            .into_iter()
            .collect();
    let twice =
        Message { models: vec![("m".into(), model.clone()), ("m".into(), model.clone())], ..Message::default() };
    assert!(wire::check(&twice).is_err());
    assert!(decode(&bytes(&twice)).is_err());
    let message = Message { models: vec![("m".into(), model)], ..Message::default() };
    whole.clear();
    whole.extend(bytes(&message));
    let at = whole.iter().rposition(|byte| *byte == b'b').unwrap();
    whole[at] = b'a';
    assert!(decode(&whole).unwrap_err().to_string().contains("two tensors"));
}

#[test]
fn too_many_tensors_are_refused_on_both_sides() {
    let model: Model =
        (0..=wire::MAX_TENSORS).map(|i| (i.to_string(), Tensor::zeros(&[0], Dtype::Uint8).unwrap())).collect();
    let message = Message { models: vec![("m".into(), model)], ..Message::default() };
    assert!(matches!(wire::check(&message), Err(WireError::TooMany { what: "tensors", .. })));
    assert!(matches!(decode(&bytes(&message)), Err(WireError::TooMany { what: "tensors", .. })));
}

fn in_chunks(encoded: &Encoded, chunk: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; chunk];
    loop {
        let copied = encoded.copy_range(all.len() as u64, &mut buffer);
        all.extend_from_slice(&buffer[..copied]);
        if copied < chunk {
            return all;
        }
    }
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(message in messages(), chunk in 1_usize..40) {
        let encoded = wire::encode(&message);
        let whole = encoded.to_buffer().unwrap();
        prop_assert_eq!(encoded.total_len, whole.len() as u64);
        prop_assert_eq!(in_chunks(&encoded, chunk), whole.as_bytes());
        prop_assert!(wire::check(&message).is_ok());
        let back = wire::decode(whole.clone(), LIMIT).unwrap();
        prop_assert_eq!(&back, &message);
        let again = wire::encode(&back).to_buffer().unwrap();
        prop_assert_eq!(again.as_bytes(), whole.as_bytes());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut framed = b"FLMSG\0\0\x02".to_vec();
        framed.extend((bytes.len() as u64).to_le_bytes());
        framed.extend(bytes);
        let _ = decode(&framed);
    }

    #[test]
    fn mutated_encodings_never_panic_and_are_refused_or_canonical(
        message in messages(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut whole = bytes(&message);
        for (at, value) in flips {
            let at = at.index(whole.len());
            whole[at] = value;
        }
        if let Ok(read) = decode(&whole) {
            prop_assert_eq!(bytes(&read), whole);
        }
    }
}
