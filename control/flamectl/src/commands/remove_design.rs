//! `flamectl remove design ID`

use clap::Args;
use flame_api::{Code, DesignId};

use crate::{Context, Failure};

/// Arguments of `remove design`.
#[derive(Debug, Clone, Args)]
pub struct RemoveDesignArgs {
    /// Name of the design
    #[arg(value_name = "DESIGN")]
    pub design: DesignId,
    /// Remove it even if jobs use it
    #[arg(short, long)]
    pub force: bool,
}

pub(crate) async fn run(args: RemoveDesignArgs, context: &mut Context) -> Result<(), Failure> {
    let removed = context.client.delete_design(&args.design, args.force).await;
    if let Err(error) = removed {
        let used = error.problem().is_some_and(|problem| problem.code == Code::InUse);
        return Err(match Failure::from(error) {
            failure if used && !args.force => {
                let hint = format!("`flamectl remove design {} --force` removes it all the same", args.design);
                Failure::outcome(failure.message(), hint)
            }
            failure => failure,
        });
    }
    context.printer.line(format_args!("Design '{}' deleted successfully", args.design))?;
    Ok(())
}
