//! `flamectl remove job ID`

use super::JobOnly;
use crate::{Context, Failure};

pub(crate) async fn run(args: JobOnly, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    context.client.delete_job(&id).await?;
    context.printer.line("Request to delete a job successful")?;
    Ok(())
}
