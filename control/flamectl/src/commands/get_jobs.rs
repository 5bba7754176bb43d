//! `flamectl get jobs`

use flame_api::Job;

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, Format, Printer, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let jobs = args.first(context.client.jobs().await?);
    if context.printer.value(args.output.output, &jobs)? {
        return Ok(());
    }
    if jobs.is_empty() {
        context.printer.note("no jobs yet; make one with `flamectl create job FILE`");
        return Ok(());
    }
    show(&jobs, args.output.output, &mut context.printer)
}

/// The walk-through's table; why a job failed stands under it.
pub(super) fn show(jobs: &[Job], format: Format, printer: &mut Printer) -> Result<(), Failure> {
    let wide = format == Format::Wide;
    let mut headers = vec!["JOB ID", "STATE", "CREATED AT", "STARTED AT", "ENDED AT"];
    if wide {
        headers.extend(["NAME", "DESIGN", "SCHEMA", "CODE", "REASON"]);
    }
    let rows = jobs.iter().map(|job| {
        let mut row = vec![
            job.id.to_string(),
            job.state.to_string(),
            text::time(job.created_at),
            text::optional_time(job.started_at),
            text::optional_time(job.ended_at),
        ];
        if wide {
            row.extend([
                job.name.clone(),
                job.design.to_string(),
                job.schema_version.to_string(),
                job.code_version.to_string(),
                job.reason.clone(),
            ]);
        }
        row
    });
    printer.line(table(&headers, rows))?;
    for job in jobs.iter().filter(|job| !wide && !job.reason.is_empty()) {
        printer.line(format_args!("job {} {}: {}", job.id, job.state, text::safe(&job.reason)))?;
    }
    Ok(())
}
