//! What decides: life cycles of jobs and tasks, and who may serve them.
//!
//! The rules are in [`lifecycle`], pure. Here they meet the store: a change is made on a job's [`Course`] under the
//! job's lock, committed, and only then seen by anybody. Effects (calling agents, placing flamelets) are derived from
//! the durable state by those who have them ([`keeper`], the notifier), so that a restart repeats what was not done.

mod admission;
mod agents;
mod census;
mod computes;
mod datasets;
mod demands;
mod designs;
mod grant;
mod health;
mod jobs;
mod keeper;
pub mod lifecycle;
mod mail;
mod models;
mod once;
mod owners;
mod paging;
mod renew;
pub(crate) use models::check_name as check_model_name;
mod reports;
mod rules;

pub(crate) use datasets::unknown_dataset;
pub(crate) use once::Once;
pub(crate) use paging::Paging;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flame_api::{
    AgentId, BrokerAccess, Job, JobEvent, JobId, JobSnapshot, JobState, Page, Problem, Task, Timestamp, UserName,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifacts::Artifacts;
use crate::crypto;
use crate::deploy::Deployer;
use crate::failure::{internal, not_found, store as store_failed};
use crate::notifier::Sessions;
use crate::store::records::{AgentRecord, JobRecord, PlanRecord, TaskRecord, Telemetry, event_key, prefix, task_key};
use crate::store::{Batch, Store, Tree, get_record, page_records, scan_records};

use lifecycle::{Course, Happened};

/// Calls into the store at a time. They block, so they are on threads of their own.
const STORE_THREADS: usize = 16;
/// Events that are kept per job: the newest.
const EVENTS: u64 = 10_000;
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
    /// Who vouches for both over TLS, where it is a CA of the server's own.
    pub(crate) ca: Option<PathBuf>,
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
    /// Held while something is created that others may refer to, or deleted.
    creating: Mutex<()>,
    reads: Mutex<mail::Reads>,
    /// Who owns the keepers.
    keepers: TaskTracker,
    stopping: CancellationToken,
    blocking: Semaphore,
    hashing: Semaphore,
    health: tokio::sync::Mutex<health::LastLook>,
}

struct Placement {
    deployer: Arc<dyn Deployer>,
    apiserver: String,
    notifier: String,
    ca: Option<PathBuf>,
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
    /// With the course, once something was changed.
    mail: Option<mail::Mail>,
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
                ca: around.ca,
                broker: around.broker,
                p2p_listen: around.p2p_listen,
                p2p_advertise: around.p2p_advertise,
                system_data: around.system_data,
                skip_admission: around.skip_admission,
            },
            cells: Mutex::default(),
            creating: Mutex::default(),
            reads: Mutex::default(),
            keepers: TaskTracker::new(),
            stopping: CancellationToken::new(),
            blocking: Semaphore::new(STORE_THREADS),
            hashing: Semaphore::new(HASHING),
            health: tokio::sync::Mutex::default(),
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

    fn lock_creations(&self) -> MutexGuard<'_, ()> {
        self.creating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job's cell. Only jobs that there are get one.
    fn cell(&self, job: &JobId) -> Result<Arc<JobCell>, Problem> {
        if let Some(cell) = self.known_cell(job) {
            return Ok(cell);
        }
        self.job_record(job)?;
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(JobCell { state: Mutex::default(), changed: watch::channel(0).0 });
        Ok(Arc::clone(cells.entry(job.clone()).or_insert_with(new)))
    }

    fn known_cell(&self, job: &JobId) -> Option<Arc<JobCell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).get(job).map(Arc::clone)
    }

    fn job_record(&self, job: &JobId) -> Result<JobRecord, Problem> {
        let record = get_record(&*self.store, Tree::Jobs, job.as_str()).map_err(store_failed)?;
        record.ok_or_else(|| unknown_job(job))
    }

    /// Looks at a job's course. Blocks.
    fn look<T>(&self, job: &JobId, look: impl FnOnce(&Course) -> Result<T, Problem>) -> Result<T, Problem> {
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        look(state.course.as_ref().ok_or_else(|| unknown_job(job))?)
    }

    /// Changes a job's course, durably, and tells those whom it concerns. Blocks.
    fn change<T>(&self, job: &JobId, act: impl FnOnce(&mut Course) -> Result<T, Problem>) -> Result<T, Problem> {
        let cell = self.cell(job)?;
        let mut state = cell.lock();
        self.load(job, &mut state.course)?;
        // Taken out: whatever fails from here on leaves the cell empty, and the next one reads what is durable.
        let mut course = state.course.take().ok_or_else(|| unknown_job(job))?;
        let mail = state.mail.take();
        let before = course.job.clone();
        let result = act(&mut course)?;
        let events = std::mem::take(&mut course.events);
        let is_changed = course.tasks.iter().any(|task| task.changed);
        if !is_changed && events.is_empty() && before == course.job {
            (state.course, state.mail) = (Some(course), mail);
            return Ok(result);
        }
        let mut batch = Batch::new();
        let everybody = before.state() != course.job.state();
        let mut mail = match mail {
            Some(mail) => mail,
            None => mail::Mail::load(&*self.store, job, &course)?,
        };
        let posted = mail.post(&mut batch, &course, everybody)?;
        let changed: Vec<&TaskRecord> = course.tasks.iter().filter(|task| task.changed).collect();
        write_events(&mut batch, &mut course.job, events)?;
        if before != course.job {
            batch.put_record(Tree::Jobs, job.as_str(), &course.job).map_err(store_failed)?;
        }
        for task in changed {
            batch.put_record(Tree::Tasks, &task_key(job, task.position), task).map_err(store_failed)?;
        }
        self.store.commit(batch).map_err(store_failed)?;
        self.sessions.post(posted);

        if everybody {
            let (from, to) = (before.state(), course.job.state());
            tracing::info!(%job, %from, %to, reason = course.job.job.reason, "a job changed");
        }
        for task in &mut course.tasks {
            if task.changed {
                tracing::info!(%job, agent = %task.agent, role = task.role, state = %task.state, attempt = task.attempt,
                    reason = task.reason, "a task changed");
            }
            task.changed = false;
        }
        // A job that is over is read from the store from now on.
        (state.course, state.mail) = if course.job.settled { (None, None) } else { (Some(course), Some(mail)) };
        drop(state);
        cell.changed.send_modify(|count| *count += 1);
        Ok(result)
    }

    fn load(&self, job: &JobId, course: &mut Option<Course>) -> Result<(), Problem> {
        if course.is_none() {
            let record = self.job_record(job)?;
            let tasks = scan_records(&*self.store, Tree::Tasks, &prefix(job)).map_err(store_failed)?;
            *course = Some(Course::new(record, tasks));
        }
        Ok(())
    }

    /// What a job's course says, if it is in memory; otherwise the store is as good.
    fn glance<T>(&self, job: &JobId, look: impl FnOnce(&Course) -> T) -> Option<T> {
        let cell = self.known_cell(job)?;
        let state = cell.lock();
        state.course.as_ref().map(look)
    }

    /// A page of the jobs of an owner, or of everybody, oldest first. Blocks.
    pub(crate) fn jobs(&self, owner: Option<&UserName>, paging: &Paging) -> Result<Page<Job>, Problem> {
        let is_theirs = |job: &Job| owner.is_none_or(|owner| job.owner == *owner);
        self.page(Tree::Jobs, "", paging, |record: JobRecord| Some(record.job).filter(is_theirs))
    }

    /// One job. Blocks.
    pub(crate) fn job(&self, job: &JobId) -> Result<Job, Problem> {
        match self.glance(job, |course| course.job.job.clone()) {
            Some(job) => Ok(job),
            None => self.job_record(job).map(|record| record.job),
        }
    }

    /// A page of a job's tasks in expansion order. Blocks.
    pub(crate) fn tasks(&self, job: &JobId, paging: &Paging) -> Result<Page<Task>, Problem> {
        let plan = self.plan(job)?;
        let in_memory = self.glance(job, |course| {
            let key = |task: &&TaskRecord| task_key(job, task.position);
            paging.of(course.tasks.iter(), &prefix(job), key, |task| self.view(&plan, task))
        });
        match in_memory {
            Some(page) => page,
            None => self.page(Tree::Tasks, &prefix(job), paging, |task: TaskRecord| Some(self.view(&plan, &task))),
        }
    }

    /// One of a job's tasks. Blocks.
    pub(crate) fn task(&self, job: &JobId, agent: &AgentId) -> Result<Task, Problem> {
        let plan = self.plan(job)?;
        let record = self.agent(agent)?;
        if record.job != *job {
            return Err(not_found(format!("job {job} has no task {agent}"), format!("`flamectl get tasks {job}`")));
        }
        let task = match self.glance(job, |course| course.task(record.position).cloned()) {
            Some(task) => task,
            None => get_record(&*self.store, Tree::Tasks, &task_key(job, record.position)).map_err(store_failed)?,
        };
        task.map(|task| self.view(&plan, &task)).ok_or_else(|| unknown_job(job))
    }

    fn view(&self, plan: &PlanRecord, task: &TaskRecord) -> Task {
        let code = plan.components.get(&task.role).map(|code| code.sha256.clone()).unwrap_or_default();
        task.view(code, self.sessions.is_connected(&task.agent))
    }

    /// A page of what happened to a job, oldest first. Blocks.
    pub(crate) fn events(&self, job: &JobId, paging: &Paging) -> Result<Page<JobEvent>, Problem> {
        self.job(job)?;
        self.page(Tree::Events, &prefix(job), paging, Some)
    }

    /// Whether nothing can happen to the job any more. Blocks.
    pub(crate) fn is_settled(&self, job: &JobId) -> Result<bool, Problem> {
        match self.glance(job, |course| course.job.settled) {
            Some(settled) => Ok(settled),
            None => self.job_record(job).map(|record| record.settled),
        }
    }

    /// What happened after event `after`, at most so many. Blocks.
    pub(crate) fn events_after(&self, job: &JobId, after: u64, limit: usize) -> Result<Vec<JobEvent>, Problem> {
        let after = event_key(job, after);
        let page = page_records(&*self.store, Tree::Events, &prefix(job), after.as_bytes(), limit);
        Ok(page.map_err(store_failed)?.into_iter().map(|(_, event)| event).collect())
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
    pub(crate) fn subscribe(&self, job: &JobId) -> Result<watch::Receiver<u64>, Problem> {
        Ok(self.cell(job)?.changed.subscribe())
    }

    /// Which task an agent serves.
    pub(crate) fn agent(&self, agent: &AgentId) -> Result<AgentRecord, Problem> {
        let record = get_record(&*self.store, Tree::Agents, agent.as_str()).map_err(store_failed)?;
        record.ok_or_else(|| unknown_agent(agent))
    }
}

/// Gives events their numbers. The newest are kept.
fn write_events(batch: &mut Batch, job: &mut JobRecord, events: Vec<Happened>) -> Result<(), Problem> {
    let id = job.job.id.clone();
    for Happened { at, kind, reason } in events {
        job.events += 1;
        let event = JobEvent { number: job.events, timestamp: at, kind, reason };
        batch.put_record(Tree::Events, &event_key(&id, job.events), &event).map_err(store_failed)?;
        if let Some(old) = job.events.checked_sub(EVENTS).filter(|old| *old > 0) {
            batch.delete(Tree::Events, event_key(&id, old));
        }
    }
    Ok(())
}

/// 24 hex digits that sort by age: the time in seconds and nanoseconds, and 32 random bits.
fn new_id(now: Timestamp) -> Result<String, Problem> {
    let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
    let nanoseconds = now.subsec_nanosecond().unsigned_abs();
    Ok(format!("{seconds:08x}{nanoseconds:08x}{}", hex::encode(crypto::random::<4>()?)))
}

pub(crate) fn unknown_agent(agent: &AgentId) -> Problem {
    not_found(format!("there is no task {agent}"), "`flamectl get tasks JOB` lists the tasks of a job")
}

pub(crate) fn unknown_job(job: &JobId) -> Problem {
    not_found(format!("job {job} not found"), "`flamectl get jobs` lists the jobs")
}
