//! What aggregation rules ask of the clients: terms that are added to a step of training, and what a client computes at its end.
//!
//! The numbers stay in the host: every formula is a few `axpy`, `scale` and `difference` over whole models. Each of these types also
//! says its term for numbers that a trainer holds itself.

mod feddyn;
mod fednova;
mod fedprox;
mod scaffold;
mod space;

pub use feddyn::FedDynClient;
pub use fednova::{momentum_steps, proximal_steps};
pub use fedprox::FedProxClient;
pub use scaffold::{CONTROL, ScaffoldClient};
pub use space::Space;
