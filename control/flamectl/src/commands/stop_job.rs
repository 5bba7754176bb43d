//! `flamectl stop job ID`

use super::JobOnly;
use crate::{Context, Failure};

pub(crate) async fn run(args: JobOnly, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    context.client.stop(&id).await?;
    context.printer.line("Request to stop a job successful")?;
    Ok(())
}
