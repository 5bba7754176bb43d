//! A server over its real edges, REST and gRPC, with flamelets that only pretend to run something.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

mod access;
mod agent;
mod deliveries;
mod edges;
mod entities;
mod events;
mod jobs;
mod life;
mod openapi;
mod peers;
mod restart;
mod secure;
mod signatures;
mod world;
