//! A server over its real edges, REST and gRPC, with flamelets that only pretend to run something.

mod agent;
mod edges;
mod jobs;
mod restart;
mod world;
