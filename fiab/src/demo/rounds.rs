//! Follows a job and shows every round once.

use std::time::Instant;

use flame_api::{Client, Job, JobId, MetricRecord};
use tokio_stream::StreamExt;

use super::Say;

/// Shows rounds as they are recorded, until the job has ended.
pub(super) async fn follow(client: &Client, job: &JobId, rounds: u32, say: &Say) -> anyhow::Result<Job> {
    let started = Instant::now();
    let mut shown = 0;
    let mut snapshots = client.watch(job).await?;
    while let Some(snapshot) = snapshots.next().await {
        let snapshot = snapshot?;
        let ended = snapshot.job.state.is_final();
        if ended || snapshot.latest.is_some_and(|latest| latest.round > shown) {
            for record in client.metrics(job).await? {
                if record.values.contains_key("participants") && record.round > shown {
                    shown = record.round;
                    say.line(format_args!("{}", round_line(&record, rounds, started.elapsed().as_secs_f64())));
                }
            }
        }
        if ended {
            return Ok(snapshot.job);
        }
    }
    Ok(client.job(job).await?)
}

fn round_line(record: &MetricRecord, rounds: u32, seconds: f64) -> String {
    let value = |name: &str| record.values.get(name).copied();
    let part = |name: &str, decimals: usize| value(name).map(|value| format!("   {name} {value:.decimals$}"));
    let parts = [part("participants", 0), part("loss", 4), part("accuracy", 4)];
    let bytes = value("bytesSent").unwrap_or(0.0) + value("bytesReceived").unwrap_or(0.0);
    format!(
        "round {:>3}/{rounds}{}   {:>6.2} MB   {seconds:>6.2} s",
        record.round,
        parts.into_iter().flatten().collect::<String>(),
        bytes / 1e6
    )
}
