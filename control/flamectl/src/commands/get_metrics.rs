//! `flamectl get metrics JOB`

use std::collections::BTreeSet;

use super::JobArgs;
use crate::table::table;
use crate::{Context, Failure, Format, text};

/// Most columns of metrics. Names are a guest's choice, and a table of thousands helps nobody.
const MAX_COLUMNS: usize = 24;
/// Digits of an agent id that tell workers apart.
const SHORT_AGENT: usize = 12;

pub(crate) async fn run(args: JobArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let mut records = context.client.metrics(&id).await?;
    if context.printer.value(args.output.output, &records)? {
        return Ok(());
    }
    if records.is_empty() {
        context.printer.note(format_args!(
            "job {id} has recorded no metrics yet; `flamectl get tasks {id}` shows what its tasks do"
        ));
        return Ok(());
    }
    records.sort_by(|a, b| (a.round, &a.role, &a.agent).cmp(&(b.round, &b.role, &b.agent)));
    let names: BTreeSet<&str> = records.iter().flat_map(|record| record.values.keys().map(String::as_str)).collect();
    let shown: Vec<&str> = names.iter().copied().take(MAX_COLUMNS).collect();
    let wide = args.output.output == Format::Wide;
    let mut headers = vec!["ROUND", "ROLE"];
    if wide {
        headers.push("AGENT ID");
    }
    headers.extend(&shown);
    if wide {
        headers.push("TIMESTAMP");
    }
    let rows = records.iter().map(|record| {
        let mut row = vec![record.round.to_string(), record.role.clone()];
        if wide {
            row.push(record.agent.as_str().chars().take(SHORT_AGENT).collect());
        }
        row.extend(shown.iter().map(|name| record.values.get(*name).map_or_else(String::new, |v| text::number(*v))));
        if wide {
            row.push(text::time(record.timestamp));
        }
        row
    });
    let drawn = table(&headers, rows);
    context.printer.line(drawn)?;
    let left_out = names.len() - shown.len();
    if left_out > 0 {
        context.printer.note(format_args!("{left_out} more metrics are left out; `-o json` has all of them"));
    }
    Ok(())
}
