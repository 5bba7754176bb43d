//! What tensors and models promise.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

use flame_model::{Dtype, Model, ModelError, Tensor};
use half::{bf16, f16};
use proptest::prelude::*;

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len() as u64], values).unwrap()
}

fn model(tensors: &[(&str, &[f32])]) -> Model {
    tensors.iter().map(|(name, values)| (*name, vector(values))).collect()
}

#[test]
fn a_write_through_one_handle_is_not_seen_by_another() {
    let mut first = vector(&[1.0, 2.0]);
    let second = first.clone();
    assert!(first.shares_storage(&second) && first.is_shared());
    first.write_f32(1, &[9.0]).unwrap();
    assert!(!first.shares_storage(&second));
    assert_eq!(first.as_slice::<f32>().unwrap(), [1.0, 9.0]);
    assert_eq!(second.as_slice::<f32>().unwrap(), [1.0, 2.0]);
}

#[test]
fn a_tensor_taken_from_a_model_shares_until_written() {
    let mut model = model(&[("a", &[1.0]), ("b", &[2.0])]);
    let copy = model.clone();
    model.get_mut("a").unwrap().write_f32(0, &[5.0]).unwrap();
    assert_eq!(copy.get("a").unwrap().read_f32(0, 1).unwrap(), [1.0]);
    assert!(model.get("b").unwrap().shares_storage(copy.get("b").unwrap()));
}

#[test]
fn lengths_and_shapes_that_disagree_are_refused_with_both_numbers() {
    let error = Tensor::from_f32(&[2, 3], &[0.0; 5]).unwrap_err().to_string();
    assert!(error.contains("24 bytes (6 elements)") && error.contains("20 (5 elements)"), "{error}");
    assert!(matches!(Tensor::zeros(&[u64::MAX, 2], Dtype::Uint8), Err(ModelError::TooLarge { .. })));
    assert!(matches!(Tensor::zeros(&[1 << 62], Dtype::Float64), Err(ModelError::TooLarge { .. })));
    assert!(Tensor::zeros(&[1; 33], Dtype::Uint8).is_err());
    assert_eq!(Tensor::zeros(&[u64::MAX, 0, u64::MAX], Dtype::Float64).unwrap().len(), 0);
    assert_eq!(Tensor::from_f32(&[], &[4.0]).unwrap().len(), 1);
}

#[test]
fn a_slice_of_another_type_is_none() {
    let tensor = vector(&[1.0]);
    assert!(tensor.as_slice::<f32>().is_some());
    assert!(tensor.as_slice::<i32>().is_none());
    assert!(tensor.as_slice::<u8>().is_none());
}

#[test]
fn values_convert_from_and_to_every_dtype() {
    for dtype in Dtype::ALL {
        let mut tensor = Tensor::zeros(&[4], dtype).unwrap();
        tensor.write_f32(1, &[2.0, 3.0]).unwrap();
        assert_eq!(tensor.read_f32(0, 4).unwrap(), [0.0, 2.0, 3.0, 0.0], "{dtype}");
        assert!(tensor.read_f32(3, 2).is_err() && tensor.write_f32(u64::MAX, &[1.0]).is_err(), "{dtype}");
    }
}

#[test]
fn floats_become_integers_half_to_even_and_saturate() {
    let mut tensor = Tensor::zeros(&[6], Dtype::Uint8).unwrap();
    tensor.write_f32(0, &[0.5, 1.5, 2.5, -3.0, 1e9, f32::NAN]).unwrap();
    assert_eq!(tensor.bytes(), [0, 2, 2, 0, 255, 0]);
}

#[test]
fn raw_reads_and_writes_count_elements() {
    let mut tensor = Tensor::from_elements(&[3], &[1_i64, 2, 3]).unwrap();
    assert_eq!(tensor.read_bytes(1, 1).unwrap(), 2_i64.to_le_bytes());
    tensor.write_bytes(2, &(-1_i64).to_le_bytes()).unwrap();
    assert_eq!(tensor.as_slice::<i64>().unwrap(), [1, 2, -1]);
    assert!(tensor.write_bytes(0, &[0; 7]).is_err());
    assert!(tensor.write_bytes(3, &[0; 8]).is_err());
}

#[test]
fn finiteness_is_looked_at_again_after_a_write() {
    let mut tensor = vector(&vec![1.0; 5000]);
    assert!(tensor.all_finite());
    let before = tensor.clone();
    tensor.write_f32(4999, &[f32::NEG_INFINITY]).unwrap();
    assert!(!tensor.all_finite());
    assert!(before.all_finite());
    let halves = Tensor::from_elements(&[2], &[f16::ONE, f16::NAN]).unwrap();
    assert!(!halves.all_finite());
    assert!(!Tensor::from_elements(&[1], &[bf16::INFINITY]).unwrap().all_finite());
}

#[test]
fn the_first_difference_of_two_layouts_is_named() {
    let left = model(&[("a", &[1.0]), ("b", &[2.0])]);
    let cases: [(Model, &str); 5] = [
        (model(&[("a", &[1.0])]), "\"b\" is missing"),
        (model(&[("a", &[1.0]), ("b", &[2.0]), ("c", &[0.0])]), "\"c\" is not expected"),
        (model(&[("b", &[2.0]), ("a", &[1.0])]), "expected tensor \"a\", found \"b\""),
        (model(&[("a", &[1.0]), ("b", &[2.0, 3.0])]), "\"b\": expected float32 [1], found float32 [2]"),
        (
            [("a", vector(&[1.0])), ("b", Tensor::zeros(&[1], Dtype::Int32).unwrap())].into_iter().collect(),
            "found int32 [1]",
        ),
    ];
    for (right, part) in cases {
        let error = left.same_layout(&right).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(left.same_layout(&left.clone()).is_ok());
}

#[test]
fn axpy_with_itself_doubles() {
    let mut twice = model(&[("a", &[1.0, -2.0])]);
    let same = twice.clone();
    twice.axpy(1.0, &same).unwrap();
    assert_eq!(twice.flat_f32(), [2.0, -4.0]);
    assert_eq!(same.flat_f32(), [1.0, -2.0]);
}

#[test]
fn a_slice_crosses_tensors_and_goes_back_where_it_came_from() {
    let whole = model(&[("a", &[0.0, 1.0]), ("empty", &[]), ("b", &[2.0, 3.0, 4.0])]);
    let part = whole.slice(1, 3).unwrap();
    assert_eq!(part.names().collect::<Vec<_>>(), ["slice"]);
    assert_eq!(part.flat_f32(), [1.0, 2.0, 3.0]);
    let mut target = whole.clone();
    target.axpby_slice(2, 2.0, &part, 1.0).unwrap();
    assert_eq!(target.flat_f32(), [0.0, 1.0, 4.0, 7.0, 10.0]);
    assert!(whole.slice(3, 3).is_err() && whole.slice(u64::MAX, 2).is_err());
    assert!(target.axpby_slice(3, 1.0, &part, 1.0).is_err());
}

#[test]
fn a_beta_of_zero_forgets_even_a_nan() {
    let mut target = model(&[("a", &[f32::NAN, 1.0])]);
    target.axpby_slice(0, 1.0, &model(&[("x", &[5.0])]), 0.0).unwrap();
    assert_eq!(target.flat_f32(), [5.0, 1.0]);
}

#[test]
fn the_norm_does_not_overflow_where_squares_would() {
    let big = model(&[("a", &[3e30, 4e30])]);
    assert!((big.norm_l2() / 5e30 - 1.0).abs() < 1e-6);
}

fn values() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-1e3_f32..1e3, 0..40)
}

proptest! {
    #[test]
    fn a_difference_added_back_gives_the_whole(a in values(), alpha in -4_i32..4) {
        let base: Vec<f32> = a.iter().map(|x| x * 0.5).collect();
        let (whole, base) = (model(&[("t", &a)]), model(&[("t", &base)]));
        let mut back = base.clone();
        back.axpy(1.0, &whole.difference(&base).unwrap()).unwrap();
        for (x, y) in back.flat_f32().iter().zip(&a) {
            prop_assert!((x - y).abs() <= 1e-3);
        }
        // alpha and then −alpha of powers of two of one's own is exact.
        let factor = f64::from(alpha).exp2();
        let mut scaled = whole.clone();
        scaled.scale(factor);
        scaled.scale(1.0 / factor);
        prop_assert_eq!(scaled, whole);
    }

    #[test]
    fn slices_put_together_are_the_flattened_model(a in values(), b in values(), cut in any::<prop::sample::Index>()) {
        let whole = model(&[("a", &a), ("b", &b)]);
        let total = whole.parameter_count();
                let cut = cut.index(total as usize + 1) as u64;
        let (left, right) = (whole.slice(0, cut).unwrap(), whole.slice(cut, total - cut).unwrap());
        let mut joined = left.flat_f32();
        joined.extend(right.flat_f32());
        prop_assert_eq!(joined, whole.flat_f32());
        let mut rebuilt = whole.zeros_like().unwrap();
        rebuilt.axpby_slice(0, 1.0, &left, 0.0).unwrap();
        rebuilt.axpby_slice(cut, 1.0, &right, 0.0).unwrap();
        prop_assert_eq!(rebuilt.flat_f32(), whole.flat_f32());
    }

    #[test]
    fn the_norm_is_that_of_a_plain_sum(a in values()) {
        let plain = a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        prop_assert!((model(&[("a", &a)]).norm_l2() - plain).abs() <= plain * 1e-12);
    }
}
