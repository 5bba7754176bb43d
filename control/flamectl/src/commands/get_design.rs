//! `flamectl get design ID`

use clap::Args;
use flame_api::DesignId;

use crate::table::table;
use crate::{Context, Failure, Format, OutputArgs, text};

/// Arguments of `get design`.
#[derive(Debug, Clone, Args)]
pub struct GetDesignArgs {
    /// Name of the design
    #[arg(value_name = "ID")]
    pub id: DesignId,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Digits of a digest that tell revisions apart; `-o wide` shows all.
const SHORT_DIGEST: usize = 12;

pub(crate) async fn run(args: GetDesignArgs, context: &mut Context) -> Result<(), Failure> {
    let detail = context.client.design(&args.id).await?;
    let format = args.output.output;
    if context.printer.value(format, &detail)? {
        return Ok(());
    }
    let design = detail.design;
    let row = [design.id.to_string(), design.description, text::time(design.created_at)];
    context.printer.line(table(&["DESIGN ID", "DESCRIPTION", "CREATED AT"], [row]))?;
    let digits = if format == Format::Wide { usize::MAX } else { SHORT_DIGEST };
    let schemas = detail.schemas.iter().map(|revision| {
        let roles = revision.roles.join(", ");
        [
            "schema".into(),
            revision.version.to_string(),
            roles,
            String::new(),
            String::new(),
            text::time(revision.created_at),
        ]
    });
    let code = detail.code.iter().map(|revision| {
        let digest = revision.sha256.chars().take(digits).collect();
        let roles = revision.roles.join(", ");
        let size = text::size(revision.size);
        ["code".into(), revision.version.to_string(), roles, size, digest, text::time(revision.created_at)]
    });
    if !(detail.schemas.is_empty() && detail.code.is_empty()) {
        let headers = ["REVISION OF", "VERSION", "ROLES", "SIZE", "SHA256", "CREATED AT"];
        context.printer.line(table(&headers, schemas.chain(code)))?;
    }
    for (missing, command) in
        [(detail.schemas.is_empty(), "schema schema.json"), (detail.code.is_empty(), "code module.wasm")]
    {
        if missing {
            let what = command.split(' ').next().unwrap_or_default();
            context.printer.note(format_args!(
                "the design has no {what} yet; add it with `flamectl create {command} --design {}`",
                args.id
            ));
        }
    }
    Ok(())
}
