//! `flamectl get code DESIGN`: the code revisions of a design, component by component, with who signed them.

use clap::Args;
use flame_api::DesignId;

use crate::table::table;
use crate::{Context, Failure, Format, OutputArgs, text};

/// Arguments of `get code`.
#[derive(Debug, Clone, Args)]
pub struct GetCodeArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Characters of a digest and of a key that tell one from another; `-o wide` shows all.
const SHORT_DIGEST: usize = 12;
const SHORT_KEY: usize = "flame-ed25519:".len() + 12;

pub(crate) async fn run(args: GetCodeArgs, context: &mut Context) -> Result<(), Failure> {
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
