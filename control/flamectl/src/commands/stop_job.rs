//! `flamectl stop job ID`

use crate::{Context, Failure, JobRef};

pub(crate) async fn run(job: &JobRef, context: &mut Context) -> Result<(), Failure> {
    let id = job.resolve(&context.client).await?;
    context.client.stop(&id).await?;
    context.printer.line("Request to stop a job successful")?;
    Ok(())
}
