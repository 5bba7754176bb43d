//! What the demo says in the end.

use std::path::Path;

use flame_api::{Client, Job, JobState, MODEL};
use serde::Serialize;

use crate::args::DemoArgs;

/// The object that `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoSummary {
    /// The job's last state.
    pub state: JobState,
    /// Rounds that were recorded.
    pub rounds: u64,
    /// Accuracy of the last global model on the test images; absent if there was none.
    pub accuracy: Option<f64>,
    /// Its mean cross-entropy there.
    pub loss: Option<f64>,
    /// From the creation of the design to the end of the job.
    pub seconds: f64,
    /// Participants that were asked for.
    pub participants: u32,
    /// SHA-256 of the global model's safetensors file; absent if none was published.
    pub model_sha256: Option<String>,
}

impl DemoSummary {
    pub(super) async fn gather(client: &Client, job: &Job, participants: u32, seconds: f64) -> anyhow::Result<Self> {
        let metrics = client.metrics(&job.id).await?;
        let last = metrics.iter().filter(|record| record.values.contains_key("participants")).max_by_key(|r| r.round);
        let value = |name: &str| last.and_then(|record| record.values.get(name).copied());
        let models = client.models(&job.id).await?;
        Ok(Self {
            state: job.state,
            rounds: last.map_or(0, |record| record.round),
            accuracy: value("accuracy"),
            loss: value("loss"),
            seconds,
            participants,
            model_sha256: models.into_iter().find(|model| model.name == MODEL).map(|model| model.sha256),
        })
    }

    pub(super) fn print(&self, args: &DemoArgs, kept: Option<&Path>, job: &Job) -> anyhow::Result<()> {
        if args.json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!();
        println!("{}: {} rounds in {:.1} s", self.state, self.rounds, self.seconds);
        if !job.reason.is_empty() {
            println!("  reason    {}", job.reason);
        }
        if let Some(accuracy) = self.accuracy {
            println!("  accuracy  {accuracy:.4} on the test images");
        }
        if let Some(sha256) = &self.model_sha256 {
            println!("  model     sha256 {sha256}");
        }
        println!("\nNext:");
        if let Some(home) = kept {
            println!("  fiab up --home {}    then, in another terminal:", home.display());
            println!("  flamectl get tasks {}", job.id);
            println!("  flamectl get model {} -o model.safetensors", job.id);
        }
        println!("  fiab demo --participants 10 --partition dirichlet:0.5 --rounds 20");
        println!("  examples/mnist-wasm/README.md walks through it step by step, with a participant of your own");
        Ok(())
    }
}
