//! What a job has to be like before it can get other tasks, or go.

use flame_api::{Job, JobState, JobStep, Problem};

use super::{Course, STOP_GRACE, wrong_state};

impl Course {
    /// Whether the job can get other tasks: nothing of the ones that it has may be left.
    pub fn check_renewable(&self) -> Result<(), Problem> {
        let Job { id, state, .. } = &self.job.job;
        if state.step(JobStep::Renew).is_err() {
            let message = format!("job {id} is {state}, and a job under way cannot be updated");
            return Err(wrong_state(message, format!("stop it first: `flamectl stop job {id}`")));
        }
        self.check_tidy("updated")
    }

    /// Whether the job can be deleted.
    pub fn check_deletable(&self) -> Result<(), Problem> {
        let Job { id, state, .. } = &self.job.job;
        if state.is_active() {
            let message = format!("job {id} is {state}, and a job under way cannot be deleted");
            return Err(wrong_state(message, format!("stop it first: `flamectl stop job {id}`")));
        }
        self.check_tidy("deleted")
    }

    fn check_tidy(&self, what: &str) -> Result<(), Problem> {
        let Job { id, state, .. } = &self.job.job;
        if *state == JobState::Ready || self.job.settled {
            return Ok(());
        }
        let message = format!("job {id} is {state} and its last tasks are being ended: it cannot be {what} yet");
        Err(wrong_state(message, format!("try again in {} s", STOP_GRACE.as_secs())))
    }
}
