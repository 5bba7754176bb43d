//! The carrier's protocol, generated from `proto/carrier.proto`.

#![expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]

tonic::include_proto!("flame.carrier.v1");
