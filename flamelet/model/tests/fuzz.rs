//! Messages that somebody bent: decoding one never panics, and never takes memory that neither the bytes nor the limit
//! account for.
//!
//! `FLAME_FUZZ_SECONDS` says how long (2 unless told), `FLAME_FUZZ_SEED` where to begin.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests panic where they fail")]

mod common;
#[path = "common/fuzzing.rs"]
mod fuzzing;

use std::time::Instant;

use flame_model::wire::{self, Encoding, TensorEncoding};
use flame_model::{Dtype, Message, Model, SharedBuffer, Tensor};
use fuzzing::{Counting, Dice, held, mutate, peak, seed, until};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the receiver permits a message to unpack to.
const LIMIT: u64 = 128 << 10;
/// Names, shapes and handles take this many times the bytes that announce them: an empty tensor has ten on the wire.
const PER_BYTE: usize = 40;

/// A message of several kilobytes that zstd makes small: what a bomb is made of.
fn compressible(dice: &mut Dice) -> Message {
    let len = 1 + dice.below(20_000);
    let model: Model = [
        ("w", Tensor::from_elements(&[len as u64], &vec![0.5_f32; len]).unwrap()),
        ("n", Tensor::zeros(&[3, 7], Dtype::Int64).unwrap()),
        ("d", Tensor::from_elements(&[2], &[1.5_f64, -2.0]).unwrap()),
    ]
    .into_iter()
    .collect();
    Message { models: vec![("model".into(), model)], body: vec![7; dice.below(300)].into(), ..Message::default() }
}

fn corpus(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&dice.roll().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut corpus = Vec::new();
    for round in 0..12 {
        let message = match round % 3 {
            0 => compressible(dice),
            _ => common::messages().new_tree(&mut runner).unwrap().current(),
        };
        for tensors in TensorEncoding::ALL {
            for zstd in [None, Some(1)] {
                if let Ok(encoded) = wire::encode_as(&message, Encoding { tensors, zstd }) {
                    corpus.push(encoded.to_buffer().unwrap().as_bytes().to_vec());
                }
            }
        }
    }
    corpus
}

fn try_one(bytes: &[u8]) -> bool {
    let (result, peak) = peak(|| {
        let buffer = SharedBuffer::copy_of(bytes).unwrap();
        wire::decode(buffer, LIMIT)
    });
    // The buffer, what it unpacks to, a block on the way there.
    let bound = 2 * usize::try_from(LIMIT).unwrap() + PER_BYTE * bytes.len() + (8 << 10);
    assert!(peak <= bound, "{} bytes made the decoder hold {peak}, more than {bound}", bytes.len());
    let Ok(message) = result else { return false };
    assert!(wire::check(&message).is_ok());
    let raw = wire::encode(&message);
    assert!(raw.total_len <= LIMIT.max(bytes.len() as u64) + 64);
    let again = raw.to_buffer().unwrap();
    // As bytes: a metric that is NaN equals itself there.
    let twice = wire::encode(&wire::decode(again.clone(), u64::MAX).unwrap()).to_buffer().unwrap();
    assert!(twice.as_bytes() == again.as_bytes(), "a message changed on its way");
    true
}

#[test]
fn the_smallest_tensors_there_are_cost_no_more_either() {
    let empty = |i: usize| (format!("{i:x}"), Tensor::zeros(&[0], Dtype::Uint8).unwrap());
    let scalar = |i: usize| (format!("{i:x}"), Tensor::zeros(&[], Dtype::Uint8).unwrap());
    let message = |model: Model| Message { models: vec![(String::new(), model)], ..Message::default() };
    for model in [(0..wire::MAX_TENSORS).map(empty).collect(), (0..10_000).map(scalar).collect()] {
        let whole = wire::encode(&message(model)).to_buffer().unwrap();
        let (_, peak) = peak(|| wire::decode(whole.clone(), u64::MAX).unwrap());
        assert!(peak <= PER_BYTE * whole.len(), "{} bytes made the decoder hold {peak}", whole.len());
        let before = held();
        let _waiting = wire::open(whole.clone(), u64::MAX).unwrap();
        assert_eq!(held(), before, "a message that waits holds nothing but the bytes that came");
        println!("{} bytes: {peak} held, {} for each", whole.len(), peak / whole.len());
    }
}

#[test]
fn bent_messages_never_panic_and_never_cost_more_than_they_may() {
    let mut dice = Dice(seed());
    let until = until();
    let (mut tried, mut read) = (0_u64, 0_u64);
    while Instant::now() < until || tried == 0 {
        let corpus = corpus(&mut dice);
        for whole in &corpus {
            try_one(whole);
        }
        for _ in 0..2_000 {
            let mut bytes = corpus[dice.below(corpus.len())].clone();
            let other = &corpus[dice.below(corpus.len())];
            mutate(&mut dice, &mut bytes, other);
            let outcome = std::panic::catch_unwind(|| try_one(&bytes));
            match outcome {
                Ok(ok) => read += u64::from(ok),
                Err(_) => panic_with(&bytes),
            }
            tried += 1;
        }
    }
    println!("{tried} bent messages, {read} of them still messages");
}

#[expect(clippy::panic, reason = "the panic says which bytes did it")]
fn panic_with(bytes: &[u8]) -> ! {
    panic!("these bytes did it: {}", hex::encode(bytes));
}
