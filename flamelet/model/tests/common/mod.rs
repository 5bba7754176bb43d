//! Random models and messages.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests panic where they fail, and their numbers are small"
)]

use flame_model::{BaseRef, Dtype, EndId, Form, Message, Metric, Model, Tensor};
use proptest::prelude::*;

pub(crate) fn tensors() -> impl Strategy<Value = Tensor> {
    (0_usize..7, prop::collection::vec(0_u64..4, 0..4), any::<u8>()).prop_map(|(dtype, shape, seed)| {
        let dtype = Dtype::ALL[dtype];
        let len: u64 = shape.iter().product();
        let bytes: Vec<u8> = (0..len as usize * dtype.size()).map(|i| seed.wrapping_add(i as u8)).collect();
        Tensor::from_bytes(&shape, dtype, &bytes).unwrap()
    })
}

pub(crate) fn models() -> impl Strategy<Value = Model> {
    prop::collection::vec(("[a-zé.\"]{0,6}", tensors()), 0..6).prop_map(|tensors| tensors.into_iter().collect())
}

#[allow(dead_code, reason = "each test binary uses what it needs")]
pub(crate) fn messages() -> impl Strategy<Value = Message> {
    let form = prop::sample::select(vec![Form::State, Form::Full, Form::Delta, Form::PartialSum]);
    let base = prop::option::of(("[0-9a-f]{40}", any::<u64>(), any::<u64>()));
    let metrics = prop::collection::vec(("[a-z]{0,5}", -1e9_f64..1e9), 0..4);
    let named = prop::collection::vec(models(), 0..3);
    let body = prop::collection::vec(any::<u8>(), 0..20);
    (".{0,8}", any::<u64>(), form, base, named, any::<u64>(), metrics, body).prop_map(
        |(kind, round, form, base, models, samples, metrics, body)| Message {
            kind,
            round,
            form,
            base: base.map(|(sender, message, round)| BaseRef { sender: EndId::new(&sender).unwrap(), message, round }),
            models: models.into_iter().enumerate().map(|(i, model)| (format!("m{i}"), model)).collect(),
            samples,
            metrics: metrics.into_iter().map(|(name, value)| Metric::new(name, value)).collect(),
            body: body.into(),
        },
    )
}
