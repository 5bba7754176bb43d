//! What a channel's encoding does to messages: the same on every transport, and fewer bytes where there are bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{LONG, Net, config, id, job, join_with, on_every_transport};
use flame_channel::{Channel, ChannelConfig, ChannelEncoding, ChannelError, ChannelLimits, Event, next};
use flame_model::wire::{self, TensorEncoding};
use flame_model::{Form, Message, Model, Tensor};

fn update(form: Form, values: &[f32]) -> Message {
    let count = u64::try_from(values.len()).unwrap();
    let model: Model = [
        ("w", Tensor::from_f32(&[count], values).unwrap()),
        ("steps", Tensor::from_elements(&[1], &[123_456_789_i64]).unwrap()),
    ]
    .into_iter()
    .collect();
    Message { kind: "update".into(), form, models: vec![("m".into(), model)], ..Message::default() }
}

/// Numbers with more digits than any of the narrow encodings has.
fn digits() -> Vec<f32> {
    (0..200_000_u32).map(|n| (f32::from(u16::try_from(n % 5000).unwrap()) / 997.0).sin()).collect()
}

/// An aggregator that sends everything as it is, and a trainer that encodes.
async fn pair(net: &Net, encoding: ChannelEncoding) -> (Channel, Channel) {
    let job = job();
    let hub = join_with(net, config(&job, 0, 2), 0).await;
    let trainer = join_with(net, ChannelConfig { encoding, ..config(&job, 1, 2) }, 1).await;
    hub.await_ends(1, LONG).await.unwrap();
    (hub, trainer)
}

async fn updates_arrive_rounded_alike_and_the_rest_as_it_was(net: &Net) {
    let is_inproc = matches!(net, Net::Inproc(_));
    for tensors in [TensorEncoding::F16, TensorEncoding::Bf16, TensorEncoding::Int8] {
        for zstd in [None, Some(3)] {
            let (hub, trainer) = pair(net, ChannelEncoding { tensors, zstd, ..ChannelEncoding::default() }).await;
            for form in [Form::Full, Form::Delta, Form::State, Form::PartialSum] {
                let sent = update(form, &digits());
                trainer.broadcast(sent.clone()).await.unwrap();
                let got = hub.recv(&id(1), LONG).await.unwrap();
                let is_update = ChannelEncoding::UPDATES.contains(&form);
                let expected = if is_update { wire::round(&sent, tensors).unwrap() } else { sent };
                assert!(got.message == expected, "{tensors} {zstd:?} {form}");
                assert!(got.raw_bytes > 800_000);
                let smaller = !is_inproc && (is_update || zstd.is_some());
                assert_eq!(got.wire_bytes < got.raw_bytes * 6 / 10, smaller, "{tensors} {zstd:?} {form}");
            }
            let (out, into) = (trainer.stats(), hub.stats());
            assert_eq!((out.bytes_out, out.raw_bytes_out), (into.bytes_in, into.raw_bytes_in));
            assert_eq!(out.bytes_out < out.raw_bytes_out, !is_inproc);
        }
    }
}

async fn plain_messages_count_the_same_before_and_after(net: &Net) {
    let (hub, trainer) = pair(net, ChannelEncoding::default()).await;
    trainer.broadcast(update(Form::Full, &digits())).await.unwrap();
    assert!(hub.recv(&id(1), LONG).await.unwrap().message == update(Form::Full, &digits()));
    let stats = trainer.stats();
    assert_eq!(stats.bytes_out, stats.raw_bytes_out);
    assert_eq!(hub.stats().bytes_in, hub.stats().raw_bytes_in);
}

async fn forms_that_are_named_are_encoded_too(net: &Net) {
    let encoding = ChannelEncoding { tensors: TensorEncoding::Bf16, forms: vec![Form::State], zstd: None };
    let (hub, trainer) = pair(net, encoding).await;
    for (form, rounded) in [(Form::State, true), (Form::Full, false)] {
        let sent = update(form, &[1.001, -0.3]);
        trainer.broadcast(sent.clone()).await.unwrap();
        let got = hub.recv(&id(1), LONG).await.unwrap().message;
        assert_eq!(got != sent, rounded, "{form}");
    }
}

async fn what_cannot_be_encoded_is_refused_at_the_sender_and_the_channel_goes_on(net: &Net) {
    let encoding = ChannelEncoding { tensors: TensorEncoding::F16, zstd: Some(1), ..ChannelEncoding::default() };
    let (hub, trainer) = pair(net, encoding).await;
    let error = trainer.broadcast(update(Form::Delta, &[1e6])).await.unwrap_err();
    assert!(matches!(&error, ChannelError::InvalidArgument(text) if text.contains("\"w\"")), "{error}");
    trainer.broadcast(update(Form::Delta, &[0.5])).await.unwrap();
    match next(&[&hub], LONG).await.unwrap() {
        (0, Event::Joined(end)) => assert_eq!(end, id(1)),
        other => unreachable!("{other:?}"),
    }
    let (_, event) = next(&[&hub], LONG).await.unwrap();
    assert!(matches!(event, Event::Message(got) if got.message == update(Form::Delta, &[0.5])));
}

async fn a_message_is_held_to_the_limit_unpacked_by_sender_and_receiver(net: &Net) {
    let job = job();
    let encoding = ChannelEncoding { zstd: Some(19), ..ChannelEncoding::default() };
    let limited = ChannelLimits { max_message_bytes: 100_000, ..ChannelLimits::default() };
    let hub = join_with(net, ChannelConfig { limits: limited.clone(), ..config(&job, 0, 3) }, 0).await;
    let trainer = join_with(net, ChannelConfig { encoding: encoding.clone(), ..config(&job, 1, 3) }, 1).await;
    hub.await_ends(1, LONG).await.unwrap();
    // A few hundred bytes on the wire where there is one.
    let bomb = update(Form::Full, &vec![0.0; 1_000_000]);
    let receipt = trainer.broadcast(bomb.clone()).await.unwrap();
    let error = receipt.wait(LONG).await.unwrap_err();
    assert!(matches!(&error, ChannelError::LimitExceeded(text) if text.contains(id(0).as_str())), "{error}");
    trainer.broadcast(update(Form::Full, &[1.0])).await.unwrap();
    assert!(hub.recv(&id(1), LONG).await.unwrap().message == update(Form::Full, &[1.0]));
    assert_eq!(hub.stats().refused, 1);
    let sender = join_with(net, ChannelConfig { limits: limited, encoding, ..config(&job, 2, 3) }, 2).await;
    assert!(matches!(sender.broadcast(bomb).await, Err(ChannelError::LimitExceeded(_))));
}

#[tokio::test]
async fn a_level_that_zstd_does_not_have_is_refused_on_joining() {
    let encoding = ChannelEncoding { zstd: Some(20), ..ChannelEncoding::default() };
    let hub = std::sync::Arc::new(flame_channel::inproc::InprocHub::new());
    let joined = Channel::join(ChannelConfig { encoding, ..config(&job(), 0, 2) }, hub).await;
    assert!(matches!(joined, Err(ChannelError::InvalidArgument(text)) if text.contains("levels 1 to 19")));
}

#[tokio::test]
async fn a_wait_for_one_end_goes_on_to_its_deadline() {
    let (hub, _trainer) = pair(&Net::Inproc(std::sync::Arc::default()), ChannelEncoding::default()).await;
    let waited = hub.recv(&id(1), Duration::from_millis(30)).await;
    assert_eq!(waited.unwrap_err(), ChannelError::Timeout);
}

on_every_transport!(
    updates_arrive_rounded_alike_and_the_rest_as_it_was,
    plain_messages_count_the_same_before_and_after,
    forms_that_are_named_are_encoded_too,
    what_cannot_be_encoded_is_refused_at_the_sender_and_the_channel_goes_on,
    a_message_is_held_to_the_limit_unpacked_by_sender_and_receiver,
);
