//! `flamectl get model JOB -o FILE.safetensors`: saves a published model, checked against the digest that the server
//! lists for it.

use std::path::{Path, PathBuf};

use clap::Args;
use flame_api::{Client, JobId, MODEL, ModelArtifact};

use crate::{Context, Failure, JobRef, files, text};

/// Times that a model may change between its listing and its download; a running job publishes every round.
const TRIES: u32 = 5;

/// Arguments of `get model`.
#[derive(Debug, Clone, Args)]
pub struct GetModelArgs {
    /// Job id, or a beginning of it that is unique
    #[arg(value_name = "JOB")]
    pub job: JobRef,
    /// Which of the job's models
    #[arg(long, value_name = "NAME", default_value = MODEL)]
    pub name: String,
    /// File to write; `-` is stdout [default: JOB.safetensors]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

pub(crate) async fn run(args: GetModelArgs, context: &mut Context) -> Result<(), Failure> {
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && context.printer.is_terminal() {
        return Err(Failure::input(
            "a model is no text for a terminal",
            "name a file with -o FILE, or redirect stdout",
        ));
    }
    let job = args.job.resolve(&context.client).await?;
    let (artifact, bytes) = download(&job, &args.name, &context.client).await?;
    if to_stdout {
        context.printer.bytes(&bytes)?;
        return Ok(());
    }
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{job}.safetensors")));
    files::write_atomically(&path, &bytes)?;
    let (size, path) = (text::size(artifact.size), path.display().to_string());
    context.printer.line(format_args!(
        "Model '{}' of job {job} written to {}\n\tsize: {size}\n\tsha256: {}",
        text::safe(&artifact.name),
        text::safe(&path),
        text::safe(&artifact.sha256)
    ))?;
    Ok(())
}

async fn download(job: &JobId, name: &str, client: &Client) -> Result<(ModelArtifact, Vec<u8>), Failure> {
    for _ in 0..TRIES {
        let models = client.models(job).await?;
        let Some(artifact) = models.iter().find(|model| model.name == name) else {
            return Err(absent(job, name, &models));
        };
        let bytes = client.model(job, &artifact.name).await?;
        if flame_bundle::sha256_hex(&bytes) == artifact.sha256 {
            return Ok((artifact.clone(), bytes.into()));
        }
    }
    Err(Failure::outcome(
        format!("model `{name}` of job {job} came {TRIES} times with bytes that do not match the digest listed for it"),
        "if the job publishes it very often, try again when the job has ended; else the server's disk is damaged",
    ))
}

fn absent(job: &JobId, name: &str, models: &[ModelArtifact]) -> Failure {
    let message = format!("job {job} has published no model named `{name}`");
    if models.is_empty() {
        return Failure::outcome(
            message,
            format!("it has published none yet; `flamectl watch job {job}` shows how far it is"),
        );
    }
    let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
    Failure::outcome(message, format!("it has: {}; choose one with --name", names.join(", ")))
}
