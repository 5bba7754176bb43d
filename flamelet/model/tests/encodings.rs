//! Narrowed and compressed messages: what arrives, within which bounds, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

mod common;

use common::messages;
use flame_model::wire::{self, Encoding, TensorEncoding, WireError};
use flame_model::{Dtype, Message, Model, SharedBuffer, Tensor};
use proptest::prelude::*;

const LIMIT: u64 = 64 << 20;
const PACKED: [TensorEncoding; 3] = [TensorEncoding::F16, TensorEncoding::Bf16, TensorEncoding::Int8];

fn plain(tensors: TensorEncoding) -> Encoding {
    Encoding { tensors, zstd: None }
}

fn with(tensor: Tensor) -> Message {
    let model: Model = [("w", tensor)].into_iter().collect();
    Message { models: vec![("m".into(), model)], ..Message::default() }
}

fn f32s(values: &[f32]) -> Message {
    with(Tensor::from_elements(&[values.len() as u64], values).unwrap())
}

fn f64s(values: &[f64]) -> Message {
    with(Tensor::from_elements(&[values.len() as u64], values).unwrap())
}

fn tensor(message: &Message) -> &Tensor {
    message.models[0].1.get("w").unwrap()
}

fn there_and_back(message: &Message, encoding: Encoding) -> Message {
    let encoded = wire::encode_as(message, encoding).unwrap();
    let packed = wire::open(encoded.to_buffer().unwrap(), LIMIT).unwrap();
    assert_eq!((packed.wire_bytes(), packed.raw_bytes()), (encoded.total_len, encoded.raw_len));
    assert_eq!(packed.kind(), message.kind);
    packed.unpack().unwrap()
}

/// The largest error that an encoding documents for `x` in a tensor of magnitude `largest`.
fn bound(encoding: TensorEncoding, x: f64, largest: f64) -> f64 {
    match encoding {
        TensorEncoding::Raw => 0.0,
        TensorEncoding::F16 => (x.abs() * 2_f64.powi(-11)).max(2_f64.powi(-25)),
        TensorEncoding::Bf16 => (x.abs() * 2_f64.powi(-8)).max(2_f64.powi(-134)),
        // A hair more: scale and product are themselves rounded.
        TensorEncoding::Int8 => largest / 254.0 * (1.0 + 1e-6),
    }
}

fn check_bounds(sent: &[f64], arrived: &[f64], encoding: TensorEncoding) -> Result<(), TestCaseError> {
    let largest = sent.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    prop_assert_eq!(sent.len(), arrived.len());
    for (x, y) in sent.iter().zip(arrived) {
        let most = bound(encoding, *x, largest);
        prop_assert!((x - y).abs() <= most, "{encoding}: {x:e} became {y:e}, off by more than {most:e}");
    }
    Ok(())
}

fn encodings() -> impl Strategy<Value = Encoding> {
    (prop::sample::select(TensorEncoding::ALL.to_vec()), prop::option::of(wire::ZSTD_LEVELS))
        .prop_map(|(tensors, zstd)| Encoding { tensors, zstd })
}

/// Magnitudes over the whole range that f16 can carry, small ones more often.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let value = (-1.0_f64..1.0, -40_i32..16).prop_map(|(x, exponent)| x * 2_f64.powi(exponent));
    prop::collection::vec(value, 0..300)
}

proptest! {
    #[test]
    fn float32_arrives_within_the_stated_bounds(values in values(), encoding in encodings()) {
        let narrow: Vec<f32> = values.iter().map(|x| *x as f32).collect();
        let arrived = there_and_back(&f32s(&narrow), encoding);
        prop_assert_eq!(tensor(&arrived).dtype(), Dtype::Float32);
        let sent: Vec<f64> = narrow.iter().map(|x| f64::from(*x)).collect();
        let arrived: Vec<f64> = tensor(&arrived).as_slice::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect();
        check_bounds(&sent, &arrived, encoding.tensors)?;
    }

    #[test]
    fn float64_arrives_within_the_stated_bounds(values in values(), encoding in encodings()) {
        let arrived = there_and_back(&f64s(&values), encoding);
        check_bounds(&values, tensor(&arrived).as_slice::<f64>().unwrap(), encoding.tensors)?;
    }

    #[test]
    fn whatever_is_no_tensor_of_floats_arrives_as_it_was(message in messages(), encoding in encodings()) {
        // Random bits hold NaN and magnitudes that not every encoding carries: those are refused and never bent.
        let Ok(encoded) = wire::encode_as(&message, encoding) else {
            prop_assert!(encoding.tensors.is_lossy());
            return Ok(());
        };
        let packed = wire::open(encoded.to_buffer().unwrap(), LIMIT).unwrap();
        prop_assert_eq!(packed.kind(), &message.kind);
        let mut arrived = packed.unpack().unwrap();
        for ((_, sent), (_, got)) in message.models.iter().zip(&mut arrived.models) {
            let exact = |tensor: &Tensor| !matches!(tensor.dtype(), Dtype::Float32 | Dtype::Float64);
            for (name, tensor) in sent.iter().filter(|(_, tensor)| !exact(tensor)) {
                let packed = got.get(name).unwrap();
                prop_assert_eq!((packed.shape(), packed.dtype()), (tensor.shape(), tensor.dtype()));
                *got.get_mut(name).unwrap() = tensor.clone();
            }
        }
        prop_assert_eq!(arrived, message);
    }

    #[test]
    fn a_message_handed_over_in_memory_is_the_one_that_would_arrive(message in messages(), encoding in encodings()) {
        let rounded = wire::round(&message, encoding.tensors);
        match wire::encode_as(&message, encoding) {
            Ok(encoded) => {
                prop_assert_eq!(rounded.unwrap(), wire::decode(encoded.to_buffer().unwrap(), LIMIT).unwrap());
            }
            Err(error) => prop_assert_eq!(rounded.unwrap_err(), error),
        }
    }
}

#[test]
fn large_messages_go_through_blocks_and_keep_every_element_in_its_place() {
    // Sizes that put tensors across, onto and next to the borders of blocks.
    let ramp = |len: usize, step: f32| (0..len).map(|i| (i % 2048) as f32 * step).collect::<Vec<_>>();
    let elements = wire::BLOCK / 4;
    let model: Model = [
        ("odd", Tensor::from_bytes(&[3], Dtype::Uint8, &[1, 2, 3]).unwrap()),
        ("a", Tensor::from_elements(&[elements as u64 + 1], &ramp(elements + 1, 0.5)).unwrap()),
        ("b", Tensor::from_elements(&[elements as u64 - 3], &ramp(elements - 3, -0.25)).unwrap()),
        ("ints", Tensor::from_elements(&[elements as u64], &vec![-7_i64; elements]).unwrap()),
        ("empty", Tensor::zeros(&[0, 5], Dtype::Float32).unwrap()),
        ("doubles", Tensor::from_elements(&[5], &[0.5_f64; 5]).unwrap()),
    ]
    .into_iter()
    .collect();
    let body = vec![9; wire::BLOCK + 5];
    let message = Message { models: vec![("m".into(), model)], body: body.into(), ..Message::default() };
    for tensors in TensorEncoding::ALL {
        let expected = wire::round(&message, tensors).unwrap();
        for zstd in [None, Some(1), Some(3)] {
            let arrived = there_and_back(&message, Encoding { tensors, zstd });
            assert!(arrived == expected, "{tensors} {zstd:?}");
        }
    }
    // f16 holds these ramps exactly.
    assert!(there_and_back(&message, Encoding { tensors: TensorEncoding::F16, zstd: Some(3) }) == message);
}

#[test]
fn each_encoding_takes_the_bytes_that_it_promises() {
    let message = f32s(&[0.25; 4096]);
    let len = |tensors| wire::encode_as(&message, plain(tensors)).unwrap().total_len;
    let raw = len(TensorEncoding::Raw);
    assert_eq!(raw - len(TensorEncoding::F16), 2 * 4096);
    assert_eq!(raw - len(TensorEncoding::Bf16), 2 * 4096);
    // The scale is in the header.
    assert_eq!(raw + 8 - len(TensorEncoding::Int8), 3 * 4096);
    let zstd = wire::encode_as(&message, Encoding { zstd: Some(3), ..Encoding::default() }).unwrap();
    assert_eq!(zstd.raw_len, raw);
    assert!(zstd.total_len < 200, "{}", zstd.total_len);
}

#[test]
fn what_zstd_makes_no_smaller_goes_as_it_is_and_uncopied() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let message = with(Tensor::from_bytes(&[100_000], Dtype::Uint8, &noise).unwrap());
    let encoding = Encoding { zstd: Some(3), ..Encoding::default() };
    let encoded = wire::encode_as(&message, encoding).unwrap();
    assert_eq!(encoded.total_len, wire::encode(&message).total_len);
    let shared =
        |segment: &wire::Segment| matches!(segment, wire::Segment::Tensor(t) if t.shares_storage(tensor(&message)));
    assert!(encoded.segments.iter().any(shared));
}

#[test]
fn values_that_would_become_infinite_are_refused_by_name() {
    let refused = |message: &Message, tensors| wire::encode_as(message, plain(tensors)).unwrap_err().to_string();
    let error = refused(&f32s(&[1.0, -65_520.0]), TensorEncoding::F16);
    for part in ["tensor \"w\" of model \"m\"", "f16", "6.552e4", "use bf16 or raw"] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    assert!(refused(&f64s(&[1e39]), TensorEncoding::Bf16).contains("use raw"));
    assert!(refused(&f32s(&[f32::MAX]), TensorEncoding::Bf16).contains("use raw"));
    // The largest that still fit.
    let arrived = there_and_back(&f32s(&[65_519.0, -65_504.0]), plain(TensorEncoding::F16));
    assert_eq!(tensor(&arrived).as_slice::<f32>().unwrap(), [65_504.0, -65_504.0]);
}

#[test]
fn nan_and_infinity_stay_in_f16_and_bf16_and_are_refused_in_int8() {
    let message = f32s(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]);
    for tensors in [TensorEncoding::F16, TensorEncoding::Bf16] {
        let arrived = there_and_back(&message, plain(tensors));
        let values = tensor(&arrived).as_slice::<f32>().unwrap();
        assert!(values[0].is_nan(), "{tensors}");
        assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, -0.0], "{tensors}");
        assert!(values[3].is_sign_negative());
    }
    for value in [f32::NAN, f32::INFINITY] {
        let error = wire::encode_as(&f32s(&[1.0, value]), plain(TensorEncoding::Int8)).unwrap_err();
        assert!(error.to_string().contains("it holds NaN or infinity"), "{error}");
    }
}

#[test]
fn int8_keeps_zeros_and_the_largest_magnitude_exactly() {
    for zeros in [vec![], vec![0.0, -0.0, 0.0]] {
        let arrived = there_and_back(&f32s(&zeros), plain(TensorEncoding::Int8));
        assert!(tensor(&arrived).as_slice::<f32>().unwrap().iter().all(|x| *x == 0.0));
    }
    for largest in [f32::MAX, 1.0, f32::MIN_POSITIVE, f32::from_bits(1), 0.3] {
        let arrived = there_and_back(&f32s(&[0.0, largest, -largest]), plain(TensorEncoding::Int8));
        assert_eq!(tensor(&arrived).as_slice::<f32>().unwrap(), [0.0, largest, -largest]);
    }
    let arrived = there_and_back(&f64s(&[f64::MAX, -f64::MAX]), plain(TensorEncoding::Int8));
    assert!(tensor(&arrived).all_finite());
    // Halves go to the even neighbour.
    let arrived = there_and_back(&f32s(&[127.0, 0.5, 1.5, -2.5, 3.5]), plain(TensorEncoding::Int8));
    assert_eq!(tensor(&arrived).as_slice::<f32>().unwrap(), [127.0, 0.0, 2.0, -2.0, 4.0]);
}

#[test]
fn a_narrowed_message_that_is_sent_on_does_not_change_again() {
    let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin() * 3.0).collect();
    for tensors in [TensorEncoding::F16, TensorEncoding::Bf16] {
        let once = wire::round(&f32s(&values), tensors).unwrap();
        assert_eq!(wire::round(&once, tensors).unwrap(), once, "{tensors}");
    }
}

#[test]
fn a_message_that_unpacks_to_more_than_the_limit_costs_nothing() {
    // 32 MiB of zeros are a few kilobytes on the wire, and the header can claim anything.
    let message = with(Tensor::zeros(&[8 << 20], Dtype::Float32).unwrap());
    let bomb = wire::encode_as(&message, Encoding { zstd: Some(19), ..Encoding::default() }).unwrap();
    assert!(bomb.total_len < 16 << 10, "{}", bomb.total_len);
    let whole = bomb.to_buffer().unwrap();
    assert!(wire::open(whole.clone(), bomb.raw_len).is_ok());
    let error = wire::open(whole.clone(), bomb.raw_len - 1).unwrap_err();
    assert_eq!(error, WireError::OverLimit { needed: bomb.raw_len, limit: bomb.raw_len - 1 });
    // The same frames behind a header that claims a terabyte.
    let mut liar = whole.as_bytes().to_vec();
    let extent = (8_u64 << 20).to_le_bytes();
    let at = liar.windows(8).position(|window| window == extent).unwrap();
    liar[at..at + 8].copy_from_slice(&(1_u64 << 38).to_le_bytes());
    let error = wire::open(SharedBuffer::copy_of(&liar).unwrap(), LIMIT).unwrap_err();
    assert!(matches!(error, WireError::OverLimit { needed, .. } if needed > 1 << 40), "{error}");
}

#[test]
fn frames_that_give_more_or_less_than_the_header_says_are_refused() {
    let honest = with(Tensor::zeros(&[1 << 20], Dtype::Uint8).unwrap());
    let encoded = wire::encode_as(&honest, Encoding { zstd: Some(3), ..Encoding::default() }).unwrap();
    let whole = encoded.to_buffer().unwrap().as_bytes().to_vec();
    let extent = (1_u64 << 20).to_le_bytes();
    let at = whole.windows(8).position(|window| window == extent).unwrap();
    let claiming = |elements: u64| {
        let mut whole = whole.clone();
        whole[at..at + 8].copy_from_slice(&elements.to_le_bytes());
        wire::decode(SharedBuffer::copy_of(&whole).unwrap(), LIMIT).map(|_| ()).unwrap_err()
    };
    for elements in [0, 8, (1 << 20) - 8, (1 << 20) + 8, 2 << 20, 8 << 20] {
        let error = claiming(elements);
        assert!(matches!(error, WireError::Malformed(_)), "{elements}: {error}");
    }
    let frames = whole[whole.len() - 40..].to_vec();
    for (name, tail) in [("garbage", b"xyz".to_vec()), ("a second copy", frames)] {
        let mut longer = whole.clone();
        longer.extend(tail);
        assert!(wire::decode(SharedBuffer::copy_of(&longer).unwrap(), LIMIT).is_err(), "{name}");
    }
    for len in 0..whole.len() {
        let cut = SharedBuffer::copy_of(&whole[..len]).unwrap();
        assert!(wire::decode(cut, LIMIT).is_err(), "{len} of {} bytes", whole.len());
    }
}

#[test]
fn headers_that_ask_for_what_is_not_there_are_refused() {
    let encoded = |tensors| {
        let message = f32s(&[1.0, 2.0]);
        wire::encode_as(&message, plain(tensors)).unwrap().to_buffer().unwrap().as_bytes().to_vec()
    };
    let refused = |whole: &[u8]| wire::decode(SharedBuffer::copy_of(whole).unwrap(), LIMIT).unwrap_err().to_string();
    // The tensor's name, dtype, packing; behind it the scale.
    let at = |whole: &[u8]| whole.iter().rposition(|byte| *byte == b'w').unwrap();
    let mut whole = encoded(TensorEncoding::F16);
    let w = at(&whole);
    whole[w + 2] = 9;
    assert!(refused(&whole).contains("unknown packing 9"));
    whole[w + 2] = 1;
    whole[w + 1] = 6;
    assert!(refused(&whole).contains("uint8 elements are not packed"));
    let mut whole = encoded(TensorEncoding::Int8);
    let w = at(&whole);
    for scale in [f64::NAN, f64::INFINITY, -1.0, 1e38] {
        whole[w + 3..w + 11].copy_from_slice(&scale.to_le_bytes());
        assert!(refused(&whole).contains("no scale for float32"), "{scale}");
    }
    let mut whole = encoded(TensorEncoding::Raw);
    whole[16] = 7;
    assert!(refused(&whole).contains("unknown compression 7"));
}

#[test]
fn packed_tensors_let_go_of_the_buffer_that_they_came_in() {
    for tensors in PACKED {
        let message = f32s(&[1.0; 1000]);
        let buffer = wire::encode_as(&message, plain(tensors)).unwrap().to_buffer().unwrap();
        let arrived = wire::decode(buffer.clone(), LIMIT).unwrap();
        assert!(!tensor(&arrived).buffer().shares_storage(&buffer), "{tensors}");
        assert!(!buffer.is_shared(), "{tensors}");
    }
}
