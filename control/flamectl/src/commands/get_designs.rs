//! `flamectl get designs`

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let designs = args.first(context.client.designs().await?);
    if context.printer.value(args.output.output, &designs)? {
        return Ok(());
    }
    if designs.is_empty() {
        context.printer.note("no designs yet; make one with `flamectl create design ID`");
        return Ok(());
    }
    let rows = designs.into_iter().map(|d| [d.id.to_string(), d.description, text::time(d.created_at)]);
    context.printer.line(table(&["DESIGN ID", "DESCRIPTION", "CREATED AT"], rows))?;
    Ok(())
}
