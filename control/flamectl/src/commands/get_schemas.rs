//! `flamectl get schemas DESIGN`: the revisions of a design's schema.

use super::DesignArgs;
use crate::table::table;
use crate::{Context, Failure, text};

pub(crate) async fn run(args: DesignArgs, context: &mut Context) -> Result<(), Failure> {
    let revisions = context.client.design(&args.design).await?.schemas;
    if context.printer.value(args.output.output, &revisions)? {
        return Ok(());
    }
    if revisions.is_empty() {
        context.printer.note(format_args!(
            "the design has no schema yet; add it with `flamectl create schema schema.json --design {}`",
            args.design
        ));
        return Ok(());
    }
    let rows = revisions
        .into_iter()
        .map(|revision| [revision.version.to_string(), revision.roles.join(", "), text::time(revision.created_at)]);
    context.printer.line(table(&["VERSION", "ROLES", "CREATED AT"], rows))?;
    Ok(())
}
