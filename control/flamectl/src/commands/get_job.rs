//! `flamectl get job ID`

use std::slice;

use super::{JobArgs, get_jobs};
use crate::{Context, Failure};

pub(crate) async fn run(args: JobArgs, context: &mut Context) -> Result<(), Failure> {
    let id = args.job.resolve(&context.client).await?;
    let job = context.client.job(&id).await?;
    if context.printer.value(args.output.output, &job)? {
        return Ok(());
    }
    get_jobs::show(slice::from_ref(&job), args.output.output, &mut context.printer)
}
