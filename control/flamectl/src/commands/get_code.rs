//! `flamectl get code DESIGN`: the code revisions of a design, component by component, with who signed them.

use std::path::{Path, PathBuf};

use clap::Args;
use flame_api::{Client, DesignId};

use crate::table::table;
use crate::{Context, Failure, Format, OutputArgs, files, text};

const AFTER_HELP: &str = "\
Examples:
  flamectl get code mnist
  flamectl get code mnist --save mnist.wasm --version 2";

/// Arguments of `get code`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GetCodeArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// Write a revision's file, as it was uploaded, to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub save: Option<PathBuf>,
    /// Which revision to save [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "save")]
    pub version: Option<u32>,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Characters of a digest and of a key that tell one from another; `-o wide` shows all.
const SHORT_DIGEST: usize = 12;
const SHORT_KEY: usize = "flame-ed25519:".len() + 12;

pub(crate) async fn run(args: GetCodeArgs, context: &mut Context) -> Result<(), Failure> {
    if let Some(path) = &args.save {
        return save(&args, path, context).await;
    }
    let revisions = context.client.design(&args.design).await?.code;
    let format = args.output.output;
    if context.printer.value(format, &revisions)? {
        return Ok(());
    }
    if revisions.is_empty() {
        context.printer.note(format_args!(
            "the design has no code yet; add it with `flamectl create code module.wasm --design {}`",
            args.design
        ));
        return Ok(());
    }
    let cut = |text: &str, short: usize| -> String {
        if format == Format::Wide { text.to_owned() } else { text.chars().take(short).collect() }
    };
    let rows = revisions.iter().flat_map(|revision| {
        revision.components.iter().map(move |component| {
            let signers: Vec<_> = component.signers.iter().map(|signer| cut(signer, SHORT_KEY)).collect();
            [
                revision.version.to_string(),
                component.roles.join(", "),
                text::size(component.size),
                cut(&component.sha256, SHORT_DIGEST),
                if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") },
                text::time(revision.created_at),
            ]
        })
    });
    context.printer.line(table(&["VERSION", "ROLES", "SIZE", "SHA256", "SIGNED BY", "CREATED AT"], rows))?;
    Ok(())
}

async fn save(args: &GetCodeArgs, path: &Path, context: &mut Context) -> Result<(), Failure> {
    let (client, design) = (&context.client, &args.design);
    let revisions = client.design(design).await?.code;
    let wanted = args.version.or_else(|| revisions.iter().map(|revision| revision.version).max());
    let Some(version) = wanted else { return Err(none(design)) };
    let bytes = client.code(design, version).await?;
    let digest = flame_bundle::sha256_hex(&bytes);
    if revisions.iter().any(|revision| revision.version == version && revision.sha256 != digest) {
        return Err(Failure::outcome(
            format!("code {version} of design {design} came with bytes that do not match its digest"),
            "try again; else the server's disk is damaged",
        ));
    }
    files::write_atomically(path, &bytes)?;
    let path = path.display().to_string();
    context.printer.line(format_args!(
        "Code {version} of design '{design}' written to {}\n\tsize: {}\n\tsha256: {digest}",
        text::safe(&path),
        text::size(bytes.len() as u64)
    ))?;
    Ok(())
}

/// The newest revision of a design's code.
pub(super) async fn newest(design: &DesignId, client: &Client) -> Result<u32, Failure> {
    let revisions = client.design(design).await?.code;
    revisions.iter().map(|revision| revision.version).max().ok_or_else(|| none(design))
}

fn none(design: &DesignId) -> Failure {
    Failure::outcome(
        format!("design {design} has no code"),
        format!("add it with `flamectl create code module.wasm --design {design}`"),
    )
}
