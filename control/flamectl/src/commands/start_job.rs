//! `flamectl start job ID`

use crate::{Context, Failure, JobRef};

pub(crate) async fn run(job: &JobRef, context: &mut Context) -> Result<(), Failure> {
    let id = job.resolve(&context.client).await?;
    context.client.start(&id).await?;
    context.printer.line("Initiated to start a job successfully")?;
    Ok(())
}
