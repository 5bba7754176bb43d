//! One keeper per job under way: it sees what the durable state asks for, does it, and waits for the next change or
//! deadline. Everything it does may be done again, because after a restart it is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flame_api::{AgentId, ComputeId, IdError, JobId, JobState, Problem, TaskKind, Timestamp};
use flame_tag::DEFAULT_COMPUTE;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::Controller;
use crate::crypto;
use crate::deploy::{ExitReporter, Launch};
use crate::failure::internal;
use crate::store::records::AgentRecord;

/// Time that placing one flamelet may take.
const DEPLOY_WITHIN: Duration = Duration::from_mins(1);
/// Flamelets that are placed at a time.
const DEPLOYS: usize = 8;
/// How long after a failure of the store a keeper tries again.
const RETRY: Duration = Duration::from_secs(5);

/// What a look at the durable state says is to be done.
struct Todo {
    state: JobState,
    place: Vec<Place>,
    revoke: Vec<(u32, AgentId)>,
    all_ended: bool,
    deadline: Option<Timestamp>,
}

/// A task whose flamelet is to be placed.
#[derive(Clone)]
struct Place {
    position: u32,
    agent: AgentId,
    /// How often it was placed again before.
    restarts: u32,
}

/// A flamelet that was placed and ended by itself: of which task, after how many restarts, and how.
type Exit = Pin<Box<dyn Future<Output = (u32, u32, Option<String>)> + Send + Sync>>;

impl Controller {
    /// Gives the job its keeper.
    pub(super) fn keep(self: &Arc<Self>, job: JobId) {
        let this = Arc::clone(self);
        self.keepers.spawn(async move {
            let mut keeper = Keeper { this, job, placed: HashMap::new(), exits: FuturesUnordered::new() };
            let stopping = keeper.this.stopping.clone();
            stopping.run_until_cancelled(keeper.run()).await;
        });
    }
}

struct Keeper {
    this: Arc<Controller>,
    job: JobId,
    /// Tasks whose flamelet this process placed and has not revoked, and after how many restarts it did.
    placed: HashMap<u32, u32>,
    exits: FuturesUnordered<Exit>,
}

impl Keeper {
    async fn run(&mut self) {
        let id = self.job.clone();
        let Ok(mut changed) = self.this.run(move |this| this.subscribe(&id)).await else { return };
        // After a restart of the server nobody has a session; at a first start nothing runs.
        if let Err(problem) = self.change(|course| course.nobody_is_here(Timestamp::now())).await {
            tracing::error!(job = %self.job, "who is away could not be recorded: {problem}");
        }
        loop {
            changed.mark_unchanged();
            let wait = match self.step().await {
                Ok(None) => return,
                Ok(Some(wait)) => wait,
                Err(problem) => {
                    tracing::error!(job = %self.job, "a job cannot go on for now: {problem}");
                    RETRY
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                Some((position, restarts, reason)) = self.exits.next() => self.exited(position, restarts, reason).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what there is to do. The time to the next deadline, or nothing when the job is over and done with.
    async fn step(&mut self) -> Result<Option<Duration>, Problem> {
        let todo = self.look().await?;
        if todo.state == JobState::Starting {
            self.change(|course| course.deploy(Timestamp::now())).await?;
            return Ok(Some(Duration::ZERO));
        }
        self.revoke(todo.revoke).await;
        self.place(todo.place).await?;
        if todo.state.is_final() && todo.all_ended && self.placed.is_empty() {
            self.change(|course| {
                course.job.settled = true;
                Ok(())
            })
            .await?;
            return Ok(None);
        }
        let now = Timestamp::now();
        let Some(deadline) = todo.deadline else { return Ok(Some(Duration::from_hours(1))) };
        if deadline <= now {
            self.change(move |course| course.tick(now)).await?;
            return Ok(Some(Duration::ZERO));
        }
        Ok(Some(now.duration_until(deadline).try_into().unwrap_or(RETRY)))
    }

    async fn look(&self) -> Result<Todo, Problem> {
        let (job, placed) = (self.job.clone(), self.placed.clone());
        self.this
            .run(move |this| {
                this.look(&job, |course| {
                    let state = course.job.state();
                    let deploys = matches!(state, JobState::Deploying | JobState::Running);
                    let system = course.tasks.iter().filter(|task| task.kind == TaskKind::System);
                    let (mut place, mut revoke) = (Vec::new(), Vec::new());
                    for task in system {
                        let restarts = placed.get(&task.position);
                        let is_stale = restarts.is_some_and(|restarts| *restarts != task.restarts);
                        let (position, agent, restarts) = (task.position, task.agent.clone(), task.restarts);
                        if is_stale || task.state.is_final() && placed.contains_key(&position) {
                            revoke.push((position, agent.clone()));
                        }
                        let is_placed = placed.contains_key(&position) && !is_stale;
                        let is_due = task.stop.is_none() && task.retry_at.is_none();
                        if deploys && !is_placed && !task.state.is_final() && is_due {
                            place.push(Place { position, agent, restarts });
                        }
                    }
                    Ok(Todo { state, place, revoke, all_ended: course.all_ended(), deadline: course.next_deadline() })
                })
            })
            .await
    }

    async fn change(
        &self,
        act: impl FnOnce(&mut super::lifecycle::Course) -> Result<(), Problem> + Send + 'static,
    ) -> Result<(), Problem> {
        let job = self.job.clone();
        self.this.run(move |this| this.change(&job, act)).await
    }

    async fn place(&mut self, tasks: Vec<Place>) -> Result<(), Problem> {
        let this = Arc::clone(&self.this);
        let mut deploys = futures::stream::iter(tasks)
            .map(|task| {
                let this = Arc::clone(&this);
                async move { (task.clone(), this.deploy(task.agent).await) }
            })
            .buffer_unordered(DEPLOYS);
        let (mut placed, mut refused) = (Vec::new(), Vec::new());
        while let Some((Place { position, restarts, .. }, outcome)) = deploys.next().await {
            match outcome? {
                Ok(exit) => {
                    self.placed.insert(position, restarts);
                    placed.push(position);
                    let exit: Exit = Box::pin(async move { (position, restarts, exit.await.ok()) });
                    self.exits.push(exit);
                }
                Err(reason) => refused.push((position, reason)),
            }
        }
        drop(deploys);
        if !placed.is_empty() {
            // Where the task ran before, its new flamelet gets the whole time to come.
            self.change(move |course| {
                let now = Timestamp::now();
                placed
                    .into_iter()
                    .try_for_each(|position| course.back(position).and_then(|()| course.away(position, now)))
            })
            .await?;
        }
        for (position, reason) in refused {
            self.change(move |course| course.lost(position, &reason, Timestamp::now())).await?;
        }
        Ok(())
    }

    /// Ended tasks' flamelets end by themselves as a rule; this makes sure.
    async fn revoke(&mut self, tasks: Vec<(u32, AgentId)>) {
        for (position, agent) in tasks {
            self.placed.remove(&position);
            let revoked = tokio::time::timeout(DEPLOY_WITHIN, self.this.around.deployer.revoke(&agent)).await;
            match revoked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%agent, "a flamelet could not be revoked: {error}"),
                Err(_) => tracing::warn!(%agent, "a flamelet could not be revoked in time"),
            }
        }
    }

    /// A flamelet ended by itself. Where the task had its last word that is the normal end, and changes nothing.
    async fn exited(&mut self, position: u32, restarts: u32, reason: Option<String>) {
        // Revoked ones are no longer placed, and where there is another one, its end is not theirs.
        if self.placed.get(&position) != Some(&restarts) {
            return;
        }
        let reason = reason.unwrap_or_else(|| "the flamelet of this task was lost sight of".into());
        let changed = self.change(move |course| course.lost(position, &reason, Timestamp::now())).await;
        if let Err(problem) = changed {
            tracing::error!(job = %self.job, "the end of a flamelet could not be recorded: {problem}");
            // Counts as not placed, so that it is placed again once the store works.
            self.placed.remove(&position);
        }
    }
}

impl Controller {
    /// Places a flamelet. The inner error is the deployer's, for people.
    async fn deploy(
        self: &Arc<Self>,
        agent: AgentId,
    ) -> Result<Result<tokio::sync::oneshot::Receiver<String>, String>, Problem> {
        let key = crypto::random_key()?;
        let hash = crypto::hash_random_key(&key);
        let id = agent.clone();
        let (compute, data) = self
            .run(move |this| {
                let record = this.update_agent(&id, |record| record.key = Some(hash))?;
                this.what_to_hand_over(&record)
            })
            .await?;
        let (exited, exit) = ExitReporter::new();
        let launch = Launch {
            agent,
            key,
            apiserver: self.around.apiserver.clone(),
            notifier: self.around.notifier.clone(),
            ca: self.around.ca.clone(),
            compute,
            data,
            p2p_listen: self.around.p2p_listen,
            p2p_advertise: self.around.p2p_advertise.clone(),
            exited,
        };
        let deployer = &self.around.deployer;
        Ok(match tokio::time::timeout(DEPLOY_WITHIN, deployer.deploy(launch)).await {
            Ok(Ok(())) => Ok(exit),
            Ok(Err(error)) => Err(format!("the {} deployer could not place it: {error}", deployer.name())),
            Err(_) => {
                Err(format!("the {} deployer did not place it within {} s", deployer.name(), DEPLOY_WITHIN.as_secs()))
            }
        })
    }

    /// Where a system task may be placed, and the data that it gets: its own and what the job evaluates on, or, where it
    /// has none of its own, all that the operator grants.
    fn what_to_hand_over(&self, agent: &AgentRecord) -> Result<(ComputeId, Vec<(String, PathBuf)>), Problem> {
        let plan = self.plan(&agent.job)?;
        let default = || DEFAULT_COMPUTE.parse().map_err(|error: IdError| internal(&error));
        self.look(&agent.job, |course| {
            let task = course.task(agent.position).ok_or_else(|| super::unknown_job(&agent.job))?;
            let compute = task.compute.clone().map_or_else(default, Ok)?;
            let mut data = self.around.system_data.clone();
            if let Some(own) = &task.data {
                data.retain(|(name, _)| *name != own.name && holds(name, plan.evaluation_data.as_deref()));
                data.push((own.name.clone(), own.path.clone()));
            }
            Ok((compute, data))
        })
    }
}

/// Whether a grant of the operator has the data set: a folder that is split has several, `mnist` and `mnist-test`.
fn holds(grant: &str, dataset: Option<&str>) -> bool {
    dataset.and_then(|dataset| dataset.strip_prefix(grant)).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
