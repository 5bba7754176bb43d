//! How many jobs and tasks there are, by state.

use flame_api::{JobState, Problem, TaskState};

use super::Controller;
use crate::failure::store as store_failed;
use crate::store::records::JobRecord;
use crate::store::{Tree, scan_records};

/// The counts. Every state is in it.
pub(crate) struct Census {
    pub(crate) jobs: Vec<(JobState, i64)>,
    /// Of jobs under way.
    pub(crate) tasks: Vec<(TaskState, i64)>,
}

impl Controller {
    /// Counts. Blocks.
    pub(crate) fn census(&self) -> Result<Census, Problem> {
        use JobState::{Completed, Deploying, Failed, Ready, Running, Starting, Stopping, Terminated};
        let states = [Ready, Starting, Deploying, Running, Stopping, Completed, Failed, Terminated];
        let mut jobs = states.map(|state| (state, 0));
        let mut sums = [0_i64; 5];
        for record in scan_records::<JobRecord>(&*self.store, Tree::Jobs, "").map_err(store_failed)? {
            let state = record.state();
            jobs.iter_mut().filter(|(of, _)| *of == state).for_each(|(_, count)| *count += 1);
            if !state.is_active() {
                continue;
            }
            let counts = self.look(&record.job.id, |course| Ok(course.counts()))?;
            let of = [counts.ready, counts.running, counts.completed, counts.failed, counts.terminated];
            sums.iter_mut().zip(of).for_each(|(sum, count)| *sum += i64::from(count));
        }
        let states =
            [TaskState::Ready, TaskState::Running, TaskState::Completed, TaskState::Failed, TaskState::Terminated];
        Ok(Census { jobs: jobs.to_vec(), tasks: states.into_iter().zip(sums).collect() })
    }
}
