//! What decides: life cycles of jobs and tasks, and who may serve them.
//!
//! The rules are in [`lifecycle`], pure. Here they meet the store: a change is made on a job's [`Course`] under the
//! job's lock, committed, and only then seen by anybody. Effects (calling agents, placing flamelets) are derived from
//! the durable state by those who have them ([`keeper`], the notifier), so that a restart repeats what was not done.

mod admission;
mod agents;
mod designs;
mod grant;
mod jobs;
mod keeper;
pub mod lifecycle;
mod models;
pub(crate) use models::check_name as check_model_name;
mod reports;
mod rules;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flame_api::{AgentId, BrokerAccess, Job, JobId, JobSnapshot, JobState, Problem, Task, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifacts::Artifacts;
use crate::deploy::Deployer;
use crate::failure::{internal, not_found, store as store_failed};
use crate::notifier::Sessions;
use crate::store::records::{AgentRecord, JobRecord, TaskRecord, Telemetry, prefix, task_key};
use crate::store::{Batch, Store, Tree, get_record, put_record, scan_records};

use lifecycle::{Course, Wanted};

/// Calls into the store at a time. They block, so they are on threads of their own.
const STORE_THREADS: usize = 16;
/// Keys hashed at a time: each takes 19 MiB.
const HASHING: usize = 4;

/// What a controller needs to know of the server around it.
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) artifacts: Artifacts,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) deployer: Arc<dyn Deployer>,
    /// `http://host:port`, for flamelets that are placed.
    pub(crate) apiserver: String,
    /// `host:port`, for flamelets that are placed.
    pub(crate) notifier: String,
    pub(crate) broker: BrokerAccess,
    /// Where placed flamelets listen for their peers; the port is 0.
    pub(crate) p2p_listen: SocketAddr,
    /// Host under which peers reach placed flamelets, where it is not the one of their session.
    pub(crate) p2p_advertise: Option<String>,
    pub(crate) system_data: Vec<(String, PathBuf)>,
    /// See `ServerConfig::skip_admission`.
    pub(crate) skip_admission: bool,
}

/// Decides, and remembers what it decided. Shared by the edges.
pub struct Controller {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) artifacts: Artifacts,
    pub(crate) sessions: Arc<Sessions>,
    around: Placement,
    cells: Mutex<HashMap<JobId, Arc<JobCell>>>,
    /// Held while a design or revision is added.
    designing: Mutex<()>,
    /// Who owns the keepers.
    keepers: TaskTracker,
    stopping: CancellationToken,
    blocking: Semaphore,
    hashing: Semaphore,
}

struct Placement {
    deployer: Arc<dyn Deployer>,
    apiserver: String,
    notifier: String,
    broker: BrokerAccess,
    p2p_listen: SocketAddr,
    p2p_advertise: Option<String>,
    system_data: Vec<(String, PathBuf)>,
    skip_admission: bool,
}

/// A job in memory.
struct JobCell {
    /// Loaded when first needed, dropped when it may differ from the store.
    state: Mutex<CellState>,
    /// Counts changes; watchers see the newest only.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct CellState {
    course: Option<Course>,
    telemetry: Option<Telemetry>,
}

impl JobCell {
    fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    pub(crate) fn new(around: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            store: around.store,
            artifacts: around.artifacts,
            sessions: around.sessions,
            around: Placement {
                deployer: around.deployer,
                apiserver: around.apiserver,
                notifier: around.notifier,
                broker: around.broker,
                p2p_listen: around.p2p_listen,
                p2p_advertise: around.p2p_advertise,
                system_data: around.system_data,
                skip_admission: around.skip_admission,
            },
            cells: Mutex::default(),
            designing: Mutex::default(),
            keepers: TaskTracker::new(),
            stopping: CancellationToken::new(),
            blocking: Semaphore::new(STORE_THREADS),
            hashing: Semaphore::new(HASHING),
        })
    }

    /// Goes on with every job that was under way when the server stopped.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Problem> {
        let jobs =
            self.run(|this| scan_records::<JobRecord>(&*this.store, Tree::Jobs, "").map_err(store_failed)).await?;
        for record in jobs {
            if record.state() != JobState::Ready && !record.settled {
                tracing::info!(job = %record.job.id, state = %record.state(), "going on with a job");
                self.keep(record.job.id);
            }
        }
        Ok(())
    }

    /// Ends the keepers: what ends from here on says nothing about its job.
    pub(crate) fn let_go(&self) {
        self.stopping.cancel();
    }

    /// Lets go of everything; jobs stay as they are.
    pub(crate) async fn shutdown(&self) {
        self.let_go();
        self.keepers.close();
        self.keepers.wait().await;
        self.around.deployer.shutdown().await;
    }

    /// Runs what blocks on a thread that may. Never nested: an inner call could wait for its outer one.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _permit = self.blocking.acquire().await.map_err(|error| internal(&error))?;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || act(&this)).await.map_err(|error| internal(&error))?
    }

    fn lock_designs(&self) -> MutexGuard<'_, ()> {
        self.designing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, job: &JobId) -> Arc<JobCell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells
            .entry(job.clone())
            .or_insert_with(|| Arc::new(JobCell { state: Mutex::default(), changed: watch::channel(0).0 }));
        Arc::clone(cell)
    }

    /// Looks at a job's course. Blocks.
    fn look<T>(&self, job: &JobId, look: impl FnOnce(&Course) -> Result<T, Problem>) -> Result<T, Problem> {
        let cell = self.cell(job);
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        look(state.course.as_ref().ok_or_else(|| unknown_job(job))?)
    }

    /// Changes a job's course, durably, and tells those whom it concerns. Blocks.
    fn change<T>(&self, job: &JobId, act: impl FnOnce(&mut Course) -> Result<T, Problem>) -> Result<T, Problem> {
        let cell = self.cell(job);
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        // Taken out: whatever fails from here on leaves the cell empty, and the next one reads what is durable.
        let mut course = state.course.take().ok_or_else(|| unknown_job(job))?;
        let before = course.job.clone();
        let result = act(&mut course)?;
        let changed: Vec<&TaskRecord> = course.tasks.iter().filter(|task| task.changed).collect();
        if changed.is_empty() && before == course.job {
            state.course = Some(course);
            return Ok(result);
        }
        let mut batch = Batch::new();
        if before != course.job {
            batch.put_record(Tree::Jobs, job.as_str(), &course.job).map_err(store_failed)?;
        }
        for task in changed {
            batch.put_record(Tree::Tasks, &task_key(job, task.position), task).map_err(store_failed)?;
        }
        self.store.commit(batch).map_err(store_failed)?;

        let everybody = before.state() != course.job.state();
        if everybody {
            let (from, to) = (before.state(), course.job.state());
            tracing::info!(%job, %from, %to, reason = course.job.job.reason, "a job changed");
        }
        for task in &mut course.tasks {
            if task.changed {
                tracing::info!(%job, agent = %task.agent, role = task.role, state = %task.state, attempt = task.attempt,
                    reason = task.reason, "a task changed");
            }
            if everybody || task.changed {
                self.sessions.wake(&task.agent);
            }
            task.changed = false;
        }
        // A job that is over is read from the store from now on.
        state.course = (!course.job.settled).then_some(course);
        drop(state);
        cell.changed.send_modify(|count| *count += 1);
        Ok(result)
    }

    fn load(&self, job: &JobId, course: &mut Option<Course>) -> Result<(), Problem> {
        if course.is_none() {
            let record = get_record(&*self.store, Tree::Jobs, job.as_str()).map_err(store_failed)?;
            let record = record.ok_or_else(|| unknown_job(job))?;
            let tasks = scan_records(&*self.store, Tree::Tasks, &prefix(job)).map_err(store_failed)?;
            *course = Some(Course { job: record, tasks });
        }
        Ok(())
    }

    /// All jobs, oldest first.
    pub(crate) fn jobs(&self) -> Result<Vec<Job>, Problem> {
        let records = scan_records::<JobRecord>(&*self.store, Tree::Jobs, "").map_err(store_failed)?;
        let mut jobs: Vec<Job> = records.into_iter().map(|record| record.job).collect();
        jobs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(jobs)
    }

    /// One job.
    pub(crate) fn job(&self, job: &JobId) -> Result<Job, Problem> {
        self.look(job, |course| Ok(course.job.job.clone()))
    }

    /// A job's tasks in expansion order.
    pub(crate) fn tasks(&self, job: &JobId) -> Result<Vec<Task>, Problem> {
        let plan = self.plan(job)?;
        let code = |role: &str| plan.components.get(role).map(|code| code.sha256.clone()).unwrap_or_default();
        self.look(job, |course| {
            let view = |task: &TaskRecord| task.view(code(&task.role), self.sessions.is_connected(&task.agent));
            Ok(course.tasks.iter().map(view).collect())
        })
    }

    /// Starts a job.
    pub(crate) async fn start(self: &Arc<Self>, job: JobId) -> Result<Job, Problem> {
        let id = job.clone();
        let started = self
            .run(move |this| {
                this.change(&id, |course| {
                    course.start(Timestamp::now())?;
                    Ok(course.job.job.clone())
                })
            })
            .await?;
        self.keep(job);
        Ok(started)
    }

    /// Stops a job.
    pub(crate) async fn stop(self: &Arc<Self>, job: JobId) -> Result<Job, Problem> {
        self.run(move |this| {
            this.change(&job, |course| {
                course.stop("stopped by a user", Timestamp::now())?;
                Ok(course.job.job.clone())
            })
        })
        .await
    }

    /// A job as a progress display needs it, and what tells of its changes from there on.
    pub(crate) fn snapshot(&self, job: &JobId) -> Result<JobSnapshot, Problem> {
        let telemetry = self.telemetry(job)?;
        self.look(job, |course| {
            Ok(JobSnapshot {
                job: course.job.job.clone(),
                tasks: course.counts(),
                progress: telemetry.progress,
                latest: telemetry.latest,
            })
        })
    }

    /// Notified of every change of the job. Subscribe before the first snapshot.
    pub(crate) fn subscribe(&self, job: &JobId) -> watch::Receiver<u64> {
        self.cell(job).changed.subscribe()
    }

    /// Which task an agent serves.
    pub(crate) fn agent(&self, agent: &AgentId) -> Result<AgentRecord, Problem> {
        let record = get_record(&*self.store, Tree::Agents, agent.as_str()).map_err(store_failed)?;
        record.ok_or_else(|| {
            not_found(format!("there is no task {agent}"), "`flamectl get tasks JOB` lists the tasks of a job")
        })
    }

    /// What an agent is to do now.
    pub(crate) fn wanted(&self, agent: &AgentRecord) -> Result<Wanted, Problem> {
        self.look(&agent.job, |course| Ok(course.wanted(agent.position)))
    }

    fn write_agent(&self, id: &AgentId, record: &AgentRecord) -> Result<(), Problem> {
        put_record(&*self.store, Tree::Agents, id.as_str(), record).map_err(store_failed)
    }
}

fn unknown_job(job: &JobId) -> Problem {
    not_found(format!("job {job} not found"), "`flamectl get jobs` lists the jobs")
}
