//! Builds the example as a user would, and says each command.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::Say;

/// What components are compiled to.
const TARGET: &str = "wasm32-wasip2";
/// Where the example is in a checkout.
const EXAMPLE: &str = "examples/mnist-wasm";

/// The example's folder: as given, below a parent of the working folder, or in the checkout that this program was built from.
pub(super) fn example_folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let has_schema = |folder: &Path| folder.join("schema.json").is_file();
    if let Some(folder) = given {
        if !has_schema(folder) {
            bail!("{} has no schema.json; --example names a folder like {EXAMPLE}", folder.display());
        }
        return folder.canonicalize().with_context(|| folder.display().to_string());
    }
    let working = std::env::current_dir().context("the working folder is gone")?;
    let above = working.ancestors().map(|folder| folder.join(EXAMPLE));
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join(EXAMPLE));
    above.chain(built_from).find(|folder| has_schema(folder)).with_context(|| {
        format!("cannot find {EXAMPLE}; run fiab in a checkout of Flame, or name the folder by --example")
    })
}

/// The example's component, built anew where its sources changed.
pub(super) async fn build(example: &Path, say: &Say) -> anyhow::Result<PathBuf> {
    if !target_installed().await? {
        run(say, example, "rustup", &["target", "add", TARGET]).await.with_context(|| {
            format!("the target {TARGET} is missing and could not be added; with rustup: rustup target add {TARGET}")
        })?;
    }
    run(say, example, "cargo", &["build", "--target", TARGET, "--release"]).await?;
    let folder = target_folder(example).await?;
    let component = folder.join(TARGET).join("release/mnist.wasm");
    if !component.is_file() {
        bail!("the build left no {}; --component names one that is built already", component.display());
    }
    Ok(component)
}

async fn target_installed() -> anyhow::Result<bool> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().await;
    let output = output.context("cannot run rustc; the demo builds the example with Rust (https://rustup.rs)")?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success() && Path::new(&folder).is_dir())
}

/// Runs a command with its output on stderr.
async fn run(say: &Say, folder: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    say.line(format_args!("$ {program} {}    (in {})", args.join(" "), folder.display()));
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
    let status = command.status().await.with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed with {status}; its output is above", args.join(" "));
    }
    Ok(())
}

async fn target_folder(example: &Path) -> anyhow::Result<PathBuf> {
    let metadata = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(example)
        .output()
        .await
        .context("cannot run cargo")?;
    let parsed: serde_json::Value = serde_json::from_slice(&metadata.stdout).context("cargo metadata")?;
    let folder = parsed.get("target_directory").and_then(|folder| folder.as_str());
    Ok(folder.context("cargo metadata names no target folder")?.into())
}
