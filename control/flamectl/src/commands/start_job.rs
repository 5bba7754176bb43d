//! `flamectl start job ID`

use super::JobOnly;
use crate::{Context, Failure};

pub(crate) async fn run(args: JobOnly, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    context.client.start(&id).await?;
    context.printer.line("Initiated to start a job successfully")?;
    Ok(())
}
