//! Runs tests on all transports.

/// A module for each transport, in which each of the functions is a test that gets the transport.
macro_rules! on_every_transport {
    ($($name:ident),* $(,)?) => {
        mod inproc {
            use std::sync::Arc;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&super::common::Net::Inproc(Arc::default())).await;
            })*
        }
        mod embedded_broker {
            use std::sync::LazyLock;
            static BROKER: LazyLock<super::common::Net> = LazyLock::new(super::common::embedded);
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&BROKER).await;
            })*
        }
        mod p2p {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&super::common::Net::Peers(super::common::P2p::default())).await;
            })*
        }
        mod mosquitto {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(broker) = super::common::Mosquitto::start() {
                    super::$name(&broker.net()).await;
                }
            })*
        }
    };
}

pub(crate) use on_every_transport;
