//! `flamectl get computes`

use flame_api::Compute;

use super::ListArgs;
use crate::table::table;
use crate::{Context, Failure, Printer, text};

pub(crate) async fn run(args: ListArgs, context: &mut Context) -> Result<(), Failure> {
    let computes = args.first(context.client.computes().await?);
    if context.printer.value(args.output.output, &computes)? {
        return Ok(());
    }
    if computes.is_empty() {
        context.printer.note("no computes yet; register one with `flamectl create compute FILE`");
        return Ok(());
    }
    show(&computes, &mut context.printer)
}

pub(super) fn show(computes: &[Compute], printer: &mut Printer) -> Result<(), Failure> {
    let rows = computes.iter().map(|compute| {
        [compute.id.to_string(), compute.realm.clone(), compute.deployer.clone(), text::time(compute.registered_at)]
    });
    printer.line(table(&["COMPUTE ID", "REALM", "DEPLOYER", "REGISTERED AT"], rows))?;
    Ok(())
}
