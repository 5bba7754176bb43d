//! `flamectl get models JOB`

use flame_api::ModelArtifact;

use super::JobArgs;
use crate::table::table;
use crate::{Context, Failure, Format, Printer, text};

pub(crate) async fn run(args: JobArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let models = context.client.models(&id).await?;
    if context.printer.value(args.output.output, &models)? {
        return Ok(());
    }
    if models.is_empty() {
        context
            .printer
            .note(format_args!("job {id} has published no model yet; `flamectl watch job {id}` shows how far it is"));
        return Ok(());
    }
    show(models, args.output.output, &mut context.printer)
}

pub(super) fn show(models: Vec<ModelArtifact>, format: Format, printer: &mut Printer) -> Result<(), Failure> {
    let wide = format == Format::Wide;
    let mut headers = vec!["NAME", "SIZE", "SHA256", "TIMESTAMP"];
    if wide {
        headers.push("AGENT ID");
    }
    let rows = models.into_iter().map(|model| {
        let mut row = vec![model.name, text::size(model.size), model.sha256, text::time(model.timestamp)];
        if wide {
            row.push(model.agent.to_string());
        }
        row
    });
    printer.line(table(&headers, rows))?;
    Ok(())
}
