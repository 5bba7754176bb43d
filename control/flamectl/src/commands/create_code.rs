//! `flamectl create code FILE.wasm --design ID`

use std::path::PathBuf;

use clap::Args;
use flame_api::DesignId;

use crate::{Context, Failure, code, keys};

const AFTER_HELP: &str = "\
Examples:
  flamectl create code mnist.wasm --design mnist
  flamectl create code mnist.wasm --design mnist --signature mnist.wasm.sig";

/// Arguments of `create code`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CreateCodeArgs {
    /// A WebAssembly component, or a zip with `<role>.wasm` per role
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Design that it belongs to
    #[arg(long, value_name = "ID")]
    pub design: DesignId,
    /// Signature file, as `flamectl sign` writes it; participants may require one. Repeatable
    #[arg(long, value_name = "SIG")]
    pub signature: Vec<PathBuf>,
}

pub(crate) async fn run(args: CreateCodeArgs, context: &mut Context) -> Result<(), Failure> {
    upload(args, "created", context).await
}

/// The same under the name of an update: a design's code is never replaced, it gets another revision.
pub(crate) async fn update(args: CreateCodeArgs, context: &mut Context) -> Result<(), Failure> {
    upload(args, "updated", context).await
}

async fn upload(args: CreateCodeArgs, done: &str, context: &mut Context) -> Result<(), Failure> {
    let bytes = code::read(&args.file)?;
    let bundle = flame_bundle::open(&bytes).map_err(|error| code::refused(&args.file, &error))?;
    let (mut lines, mut reasons) = (Vec::new(), Vec::new());
    for file in &args.signature {
        for signed in keys::read_signatures(file)? {
            match code::signature_refusal(&bundle, &signed) {
                None => lines.push(signed.to_string()),
                Some(reason) => reasons.push(format!("{}: {reason}", file.display())),
            }
        }
    }
    if !reasons.is_empty() {
        return Err(code::refusals(args.file.display(), &reasons));
    }
    let bytes = bytes::Bytes::from(bytes);
    context.create(async |client| client.create_signed_code(&args.design, bytes.clone(), &lines).await).await?;
    context.printer.line(format_args!("Code {done} successfully for design '{}'", args.design))?;
    let beside = keys::signature_path(&args.file);
    if args.signature.is_empty() && beside.exists() {
        let beside = beside.display();
        context.printer.note(format_args!(
            "it was uploaded without {beside}, which lies beside it; `--signature {beside}` uploads the signatures as well"
        ));
    }
    Ok(())
}
