//! What the tasks of this flamelet use of their limits, for Prometheus (OpenMetrics text on `GET /metrics`).
//!
//! Names, ids and numbers alone: nothing that a guest wrote, no path, no host of a peer.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use flame_api::AgentId;
use flame_sandbox::{Limits, Outcome, Usage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Number = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLimit {
    task: String,
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    task: String,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTask {
    task: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    used: Family<OfLimit, Number>,
    granted: Family<OfLimit, Number>,
    out: Family<OfClass, Number>,
    dropped: Family<OfClass, Number>,
    rounds: Family<OfTask, Number>,
    ended: Family<OfOutcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("flamelet");
        let (used, granted) = (Family::default(), Family::default());
        let (out, dropped) = (Family::default(), Family::default());
        let (rounds, ended) = (Family::default(), Family::default());
        registry.register("task_used", "Most that a task has used of a limit, in its unit", Family::clone(&used));
        registry.register("task_granted", "What a task's grant has of a limit", Family::clone(&granted));
        registry.register("task_out_bytes", "Bytes that have left, by class", Family::clone(&out));
        registry.register(
            "task_over_rate",
            "Log lines and records of metrics above their rate",
            Family::clone(&dropped),
        );
        registry.register("task_rounds", "Bases received", Family::clone(&rounds));
        registry.register("tasks_ended", "Tasks that have ended here, by outcome", Family::clone(&ended));
        Self { registry: Mutex::new(registry), used, granted, out, dropped, rounds, ended }
    }
}

impl Metrics {
    /// A task has been granted these limits.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    fn granted(&self, task: &str, limits: &Limits) {
        let granted = [
            ("memory_bytes", limits.memory as f64),
            ("table_elements", limits.table_elements as f64),
            ("tensor_bytes", limits.tensor_bytes as f64),
            ("handles", limits.handles as f64),
            ("call_bytes", limits.call_bytes as f64),
            ("cpu_seconds", limits.cpu.task.as_secs_f64()),
            ("wall_seconds", limits.wall.task.as_secs_f64()),
            ("artifact_bytes", limits.artifact_bytes as f64),
            ("checkpoint_bytes", limits.checkpoint_bytes as f64),
            ("queued_messages", limits.queued_messages as f64),
            ("log_lines_per_second", f64::from(limits.log_lines_per_second)),
            ("metrics_per_second", f64::from(limits.metrics_per_second)),
        ];
        set(&self.granted, task, granted);
    }

    /// A task has used so much.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    fn using(&self, task: &str, usage: &Usage) {
        let used = [
            ("memory_bytes", usage.memory as f64),
            ("table_elements", usage.table_elements as f64),
            ("tensor_bytes", usage.tensor_bytes as f64),
            ("handles", usage.handles as f64),
            ("cpu_seconds", usage.cpu.as_secs_f64()),
            ("wall_seconds", usage.wall.as_secs_f64()),
            ("artifact_bytes", usage.artifact_bytes as f64),
        ];
        set(&self.used, task, used);
        let class = |class| OfClass { task: task.to_owned(), class };
        for (name, bytes) in [("weights", usage.weights_out), ("metrics", usage.metrics_out), ("body", usage.body_out)]
        {
            self.out.get_or_create(&class(name)).set(bytes as f64);
        }
        for (name, count) in [("log_lines", usage.log_lines_dropped), ("metrics", usage.metrics_refused)] {
            self.dropped.get_or_create(&class(name)).set(count as f64);
        }
        self.rounds.get_or_create(&OfTask { task: task.to_owned() }).set(usage.rounds as f64);
    }

    /// A task has ended.
    fn ended(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Completed => "completed",
            Outcome::Failed(_) => "failed",
            Outcome::Terminated => "terminated",
        };
        self.ended.get_or_create(&OfOutcome { outcome }).inc();
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }
}

/// The metrics of one task.
#[derive(Debug, Clone)]
pub(crate) struct TaskMetrics {
    metrics: Arc<Metrics>,
    task: String,
}

impl TaskMetrics {
    pub(crate) fn new(metrics: &Arc<Metrics>, task: &AgentId) -> Self {
        Self { metrics: Arc::clone(metrics), task: task.to_string() }
    }

    /// It has been granted these limits.
    pub(crate) fn granted(&self, limits: &Limits) {
        self.metrics.granted(&self.task, limits);
    }

    /// It has used so much.
    pub(crate) fn using(&self, usage: &Usage) {
        self.metrics.using(&self.task, usage);
    }

    /// It has ended.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        self.metrics.ended(outcome);
    }
}

fn set<const N: usize>(family: &Family<OfLimit, Number>, task: &str, values: [(&'static str, f64); N]) {
    for (limit, value) in values {
        family.get_or_create(&OfLimit { task: task.to_owned(), limit }).set(value);
    }
}

/// Answers `GET /metrics` on `listen` until `shutdown`; gives the address.
pub async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "metrics are not served any more");
        }
    });
    Ok(address)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_and_grant_stand_side_by_side() {
        let metrics = Metrics::default();
        metrics.granted("ab12", &Limits { handles: 500, ..Limits::default() });
        metrics.using("ab12", &Usage { handles: 7, weights_out: 400, log_lines_dropped: 3, ..Usage::default() });
        metrics.ended(&Outcome::Failed("its own words".into()));
        let text = metrics.text();
        for line in [
            "flamelet_task_granted{task=\"ab12\",limit=\"handles\"} 500",
            "flamelet_task_used{task=\"ab12\",limit=\"handles\"} 7",
            "flamelet_task_out_bytes{task=\"ab12\",class=\"weights\"} 400",
            "flamelet_task_over_rate{task=\"ab12\",class=\"log_lines\"} 3",
            "flamelet_tasks_ended_total{outcome=\"failed\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("its own words"));
    }
}
