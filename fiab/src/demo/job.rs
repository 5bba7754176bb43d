//! Makes design, schema, code and job over the public API, from the example's own files.

use std::path::Path;

use anyhow::Context;
use flame_api::{Client, CreateDesign, DesignId, JobId};
use serde_json::{Value, json};

use crate::args::DemoArgs;

/// The design of the demo.
const DESIGN: &str = "mnist_demo";
/// The only group of the example's schema.
const GROUP: &str = "default";

pub(super) async fn create(
    client: &Client,
    example: &Path,
    component: Vec<u8>,
    args: &DemoArgs,
) -> anyhow::Result<JobId> {
    let read = |name: &str| {
        let path = example.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let design: DesignId = DESIGN.parse()?;
    client.create_design(&CreateDesign { id: design.clone(), description: "fiab demo".into() }).await?;
    client.create_schema(&design, "schema.json", read("schema.json")?).await?;
    client.create_code(&design, component.into()).await?;
    let job = demo_job(&read("job.json")?, args)?;
    Ok(client.create_job("job.json", job).await?.id)
}

/// The example's job with the demo's choices in it.
fn demo_job(text: &str, args: &DemoArgs) -> anyhow::Result<String> {
    let mut job: Value = serde_json::from_str(text).context("the example's job.json")?;
    let fields = job.as_object_mut().context("the example's job.json is no object")?;
    fields.insert("designId".into(), json!(DESIGN));
    fields.insert("dataSpec".into(), json!({"fromUser": {GROUP: args.participants}, "fromSystem": []}));
    fields.insert("seed".into(), json!(args.seed));
    fields.insert("evaluationData".into(), json!(super::EVALUATION_DATA));
    let hyperparameters = fields.entry("hyperparameters").or_insert_with(|| json!({}));
    let hyperparameters = hyperparameters.as_object_mut().context("hyperparameters in the example's job.json")?;
    for (key, value) in [
        ("rounds", json!(args.rounds)),
        ("learningRate", json!(args.learning_rate)),
        ("batchSize", json!(args.batch_size)),
        ("localEpochs", json!(args.local_epochs)),
    ] {
        hyperparameters.insert(key.into(), value);
    }
    Ok(serde_json::to_string_pretty(&job)?)
}
