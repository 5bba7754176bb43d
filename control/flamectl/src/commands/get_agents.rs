//! `flamectl get agents`

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, Format, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let agents = args.first(context.client.agents().await?);
    if context.printer.value(args.output.output, &agents)? {
        return Ok(());
    }
    if agents.is_empty() {
        context.printer.note("no agents yet; there is one for each task of a job");
        return Ok(());
    }
    let wide = args.output.output == Format::Wide;
    let mut headers = vec!["AGENT ID", "JOB ID", "TYPE", "CONNECTED", "LAST SEEN"];
    if wide {
        headers.extend(["KEY BOUND", "VERSION", "HOST"]);
    }
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let rows = agents.into_iter().map(|agent| {
        let mut row = vec![
            agent.id.to_string(),
            agent.job.to_string(),
            agent.kind.to_string(),
            yes(agent.connected),
            text::optional_time(agent.last_seen),
        ];
        if wide {
            row.extend([yes(agent.bound), agent.version, agent.hostname]);
        }
        row
    });
    context.printer.line(table(&headers, rows))?;
    Ok(())
}
