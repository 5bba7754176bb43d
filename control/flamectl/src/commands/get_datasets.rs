//! `flamectl get datasets`

use flame_api::Dataset;

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, Format, Printer, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let datasets = args.first(context.client.datasets().await?);
    if context.printer.value(args.output.output, &datasets)? {
        return Ok(());
    }
    if datasets.is_empty() {
        context.printer.note("no datasets yet; make one known with `flamectl create dataset FILE`");
        return Ok(());
    }
    show(&datasets, args.output.output, &mut context.printer)
}

pub(super) fn show(datasets: &[Dataset], format: Format, printer: &mut Printer) -> Result<(), Failure> {
    let wide = format == Format::Wide;
    let mut headers = vec!["DATASET ID", "NAME", "DESCRIPTION", "PUBLIC"];
    if wide {
        headers.extend(["URL", "FORMAT", "REALM", "COMPUTE", "CREATED AT"]);
    }
    let rows = datasets.iter().map(|dataset| {
        let mut row = vec![
            dataset.id.to_string(),
            dataset.name.clone(),
            dataset.description.clone(),
            if dataset.is_public { "yes" } else { "no" }.to_owned(),
        ];
        if wide {
            row.extend([
                dataset.url.clone(),
                dataset.data_format.clone(),
                dataset.realm.clone(),
                dataset.compute_id.to_string(),
                text::time(dataset.created_at),
            ]);
        }
        row
    });
    printer.line(table(&headers, rows))?;
    Ok(())
}
