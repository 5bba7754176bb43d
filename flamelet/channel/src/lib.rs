//! Flame's channels: whole messages, in order per end, exactly once, over carriers that promise none of it.
//!
//! A [`Channel`] is one end of one channel in one group. Below it a state machine without I/O keeps the promises
//! (`docs/protocol.md`), and a [`Transport`] carries its sealed packets: [`mqtt::MqttTransport`] over any MQTT 5 broker,
//! [`p2p::P2pTransport`] straight from end to end, [`inproc::InprocHub`] within a process. Nothing here knows what a message means, and nothing here trusts a broker.
//!
//! ```no_run
//! # async fn example(config: flame_channel::ChannelConfig) -> Result<(), flame_channel::ChannelError> {
//! use std::{sync::Arc, time::Duration};
//! use flame_channel::{Channel, inproc::InprocHub};
//!
//! let hub = Arc::new(InprocHub::new());
//! let channel = Channel::join(config, hub).await?;
//! let ends = channel.await_ends(1, Duration::from_secs(30)).await?;
//! let receipt = channel.broadcast(flame_model::Message::default()).await?;
//! receipt.wait(Duration::from_secs(30)).await?;
//! let update = channel.recv(&ends[0], Duration::from_secs(60)).await?;
//! # Ok(()) }
//! ```

mod channel;
mod cipher;
mod config;
mod core;
mod encoding;
mod error;
mod frame;
pub mod inproc;
mod keys;
mod lanes;
pub mod mqtt;
mod next;
pub mod p2p;
mod ranges;
mod receipt;
mod replay;
mod seal;
mod tasks;
pub mod topics;
mod transport;

pub use channel::{Channel, Lease, Received};
pub use config::{ChannelConfig, ChannelLimits, Peer};
pub use core::ChannelStats;
pub use encoding::ChannelEncoding;
pub use error::ChannelError;
pub use keys::{ChannelKeys, Key};
pub use next::{Event, next};
pub use receipt::Receipt;
pub use transport::{Incoming, Lane, Packet, Transport};
