//! Follows a job's snapshots, through a server that is restarted meanwhile.

use std::time::{Duration, Instant};

use flame_api::{Client, ClientError, JobId, JobSnapshot};
use futures::StreamExt;

use crate::Failure;

/// How long a server that answered before may be away, being restarted for instance.
const PATIENCE: Duration = Duration::from_mins(1);
/// First and longest pause between two attempts to get back to it.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// Follows a job until `seen` says that it has seen enough. A job that has ended has no further snapshot, so then it must.
pub(super) async fn follow(
    client: &Client,
    id: &JobId,
    mut seen: impl AsyncFnMut(&JobSnapshot) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut heard: Option<Instant> = None;
    let mut pause = BACK_OFF.0;
    loop {
        let interrupted = match client.watch(id).await {
            Ok(mut snapshots) => loop {
                match snapshots.next().await {
                    Some(Ok(snapshot)) => {
                        (heard, pause) = (Some(Instant::now()), BACK_OFF.0);
                        if seen(&snapshot).await? {
                            return Ok(());
                        }
                    }
                    Some(Err(error)) => break error,
                    None => {
                        let url = client.base().to_owned();
                        break ClientError::Unreachable {
                            url,
                            reason: "it ended the watch before the job ended".into(),
                        };
                    }
                }
            },
            Err(error) => error,
        };
        // Only a server that answered before may be on its way back, and only its absence passes.
        if !passes(&interrupted) || heard.is_none_or(|heard| heard.elapsed() > PATIENCE) {
            return Err(interrupted.into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

/// Whether a server that is there again would not have failed so.
fn passes(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. })
        || error.problem().is_some_and(|problem| problem.code == flame_api::Code::Unavailable)
}
