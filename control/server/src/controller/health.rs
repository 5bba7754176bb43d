//! What the control plane needs and has not: asked rarely, however often somebody wants to know.

use std::sync::Arc;
use std::time::Duration;

use flame_api::Timestamp;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::Controller;
use crate::store::{Tree, put_record};

/// How long an answer is good for.
const GOOD_FOR: Duration = Duration::from_secs(2);
/// Time that anything asked has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Key of what is written to see whether the store can be.
const PROBE: &str = "health";

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct LastLook(Option<(Instant, Vec<String>)>);

impl Controller {
    /// What is wrong, for people; nothing where all is well.
    pub(crate) async fn ailments(self: &Arc<Self>) -> Vec<String> {
        // Whoever comes meanwhile waits for the same answer.
        let mut last = self.health.lock().await;
        if let LastLook(Some((at, found))) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return found.clone();
        }
        let (store, broker, deployer) = tokio::join!(self.store_ails(), self.broker_ails(), self.deployer_ails());
        let found: Vec<String> = [store, broker, deployer].into_iter().flatten().collect();
        for ailment in &found {
            tracing::warn!("not well: {ailment}");
        }
        *last = LastLook(Some((Instant::now(), found.clone())));
        found
    }

    async fn store_ails(self: &Arc<Self>) -> Option<String> {
        let write = self.run(|this| {
            put_record(&*this.store, Tree::Server, PROBE, &Timestamp::now()).map_err(crate::failure::store)
        });
        match timeout(ANSWER_WITHIN, write).await {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(format!("store: {}", problem.message)),
            Err(_) => Some("store: it does not answer".into()),
        }
    }

    async fn broker_ails(&self) -> Option<String> {
        let url = &self.around.broker.url;
        let (scheme, rest) = url.split_once("://").unwrap_or(("mqtt", url));
        let host_and_port = rest.rsplit_once('@').map_or(rest, |(_, address)| address).trim_end_matches('/');
        let has_port = host_and_port.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if scheme == "mqtts" { 8883 } else { 1883 };
        let address = if has_port { host_and_port.to_owned() } else { format!("{host_and_port}:{port}") };
        let address = match address.strip_prefix("0.0.0.0:").or_else(|| address.strip_prefix("[::]:")) {
            Some(port) => format!("127.0.0.1:{port}"),
            None => address,
        };
        match timeout(ANSWER_WITHIN, TcpStream::connect(&address)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("broker: {address}: {error}")),
            Err(_) => Some(format!("broker: {address} does not answer")),
        }
    }

    async fn deployer_ails(&self) -> Option<String> {
        let deployer = &self.around.deployer;
        match timeout(ANSWER_WITHIN, deployer.check()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("deployer: {error}")),
            Err(_) => Some(format!("deployer: `{}` does not answer", deployer.name())),
        }
    }
}
