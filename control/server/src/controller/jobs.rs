//! Creation of jobs: what was asked for becomes tasks, a plan and keys, in one durable step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flame_api::{
    AgentId, Backend, ChannelEncoding, Code, Dataset, DatasetId, DesignId, IdError, Job, JobCreated, JobEventKind,
    JobId, JobState, MessageForm, OptimizerChoice, Problem, SecretKey, TaskKind, TaskResources, TaskState,
    TensorEncoding, Timestamp, UserName,
};
use flame_tag::{Choice, Compression, DatasetInfo, Expansion, JobSpec, Schema, TaskPlan};

use super::datasets::task_data;
use super::lifecycle::Happened;
use super::once::Once;
use super::{Controller, new_id, write_events};
use crate::crypto;
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::{
    AgentRecord, CodeRecord, DesignName, JobRecord, PlanRecord, TaskChannel, TaskRecord, channel_key, task_key,
};
use crate::store::{Batch, Tree, get_record};

/// Seconds to wait for ends that are away, unless the job says otherwise.
const JOIN_TIMEOUT: u64 = 60;

/// What a job file asks for, checked and expanded, and not stored yet.
pub(super) struct Asked {
    owner: UserName,
    design: DesignId,
    spec: JobSpec,
    schema_version: u32,
    code: CodeRecord,
    expansion: Expansion,
    datasets: BTreeMap<String, Dataset>,
}

/// What is stored of a job beside its record.
pub(super) struct Made {
    pub(super) record: JobRecord,
    pub(super) plan: PlanRecord,
    pub(super) tasks: Vec<TaskRecord>,
}

impl Controller {
    /// Creates a job from a job file. `file` is the file's name, for messages.
    pub(crate) async fn create_job(
        self: &Arc<Self>,
        owner: UserName,
        file: String,
        text: String,
        once: Option<Once>,
    ) -> Result<JobCreated, Problem> {
        self.run(move |this| this.create_job_now(owner, &file, &text, once.as_ref())).await
    }

    fn create_job_now(
        &self,
        owner: UserName,
        file: &str,
        text: &str,
        once: Option<&Once>,
    ) -> Result<JobCreated, Problem> {
        let now = Timestamp::now();
        let asked = self.ask(owner, file, text)?;
        let id: JobId = new_id(now)?.parse().map_err(|error: IdError| internal(&error))?;
        let Made { mut record, plan, tasks } = asked.make(&id, now)?;
        let _lock = self.lock_creations();
        if let Some(answer) = self.replay(once)? {
            return Ok(answer);
        }
        self.still_there(&record)?;
        let mut batch = Batch::new();
        for task in &tasks {
            let agent = AgentRecord::new(&id, task.position, task.kind);
            batch.put_record(Tree::Agents, task.agent.as_str(), &agent).map_err(store_failed)?;
            batch.put_record(Tree::Tasks, &task_key(&id, task.position), task).map_err(store_failed)?;
        }
        batch.put_record(Tree::Plans, id.as_str(), &plan).map_err(store_failed)?;
        write_events(&mut batch, &mut record, vec![expanded(&tasks, now)])?;
        batch.put_record(Tree::Jobs, id.as_str(), &record).map_err(store_failed)?;
        let created = JobCreated { id: id.clone(), state: JobState::Ready };
        self.remember(&mut batch, once, &created)?;
        self.store.commit(batch).map_err(store_failed)?;
        tracing::info!(job = %id, tasks = tasks.len(), "a job was created");
        Ok(created)
    }

    /// Reads a job file and expands it; or says everything that is wrong with it. Blocks.
    pub(super) fn ask(&self, owner: UserName, file: &str, text: &str) -> Result<Asked, Problem> {
        let loader = |path: &str| Err(format!("the server does not read `{path}`; flamectl puts such files inline"));
        let spec = JobSpec::parse(text, file, &loader).map_err(|problems| refused(file, &problems))?;
        let design: DesignId = spec
            .design_id
            .parse()
            .map_err(|error: IdError| Problem::new(Code::Refused, format!("{file}: designId: {error}")))?;
        let name = DesignName::new(owner.clone(), design.clone());
        self.design(&name)?;
        let schema_record = self.schema(&name, spec.schema_version)?;
        let code = self.code(&name, spec.code_version)?;
        let schema = Schema::parse(&schema_record.text, &schema_record.file)
            .map_err(|problems| refused(&schema_record.file, &problems))?;
        let roles: Vec<String> = code.components.keys().cloned().collect();
        let mut datasets = BTreeMap::new();
        for id in spec.dataset_ids() {
            // Whatever is not found is named by the expansion, with its place in the file.
            if let Ok(known) = id.parse::<DatasetId>()
                && let Some(dataset) =
                    get_record::<Dataset>(&*self.store, Tree::Datasets, known.as_str()).map_err(store_failed)?
                && (dataset.is_public || dataset.owner == owner)
            {
                datasets.insert(id.to_owned(), dataset);
            }
        }
        let infos = datasets.iter().map(|(id, dataset)| (id.clone(), info(dataset))).collect();
        let expansion =
            flame_tag::expand(&schema, &spec, &infos, &roles).map_err(|problems| refused(file, &problems))?;
        let foreign = foreign_roles(&code, &schema);
        if !foreign.is_empty() {
            let message =
                format!("code {} of design {design} is not for schema {}", code.version, schema_record.version);
            return Err(Problem::new(Code::Refused, message).problems(foreign));
        }
        let unserved = self.unserved(&spec, &expansion, &datasets)?;
        if !unserved.is_empty() {
            let message = format!("{file}: the job asks for what this server does not do");
            return Err(Problem::new(Code::Refused, message).problems(unserved));
        }
        Ok(Asked { owner, design, spec, schema_version: schema_record.version, code, expansion, datasets })
    }

    /// Whether the revisions that a job was made of have not been deleted meanwhile. Under the lock of creations. Blocks.
    pub(super) fn still_there(&self, record: &JobRecord) -> Result<(), Problem> {
        let design = DesignName::new(record.job.owner.clone(), record.job.design.clone());
        self.schema(&design, Some(record.job.schema_version))?;
        self.code(&design, Some(record.job.code_version)).map(drop)
    }
}

impl Asked {
    /// What there is to store. Seeds and keys are drawn anew.
    pub(super) fn make(self, id: &JobId, now: Timestamp) -> Result<Made, Problem> {
        let Self { owner, design, spec, schema_version, code, expansion, datasets } = self;
        let seed = match spec.seed {
            Some(seed) => seed,
            None => u64::from_le_bytes(crypto::random()?),
        };
        let job = Job {
            id: id.clone(),
            name: spec.name.clone(),
            owner,
            design,
            schema_version,
            code_version: code.version,
            state: JobState::Ready,
            reason: String::new(),
            created_at: now,
            started_at: None,
            ended_at: None,
        };
        let record = JobRecord {
            job,
            min_completed: spec.min_completed.clone(),
            max_run_time: spec.max_run_time,
            run_until: None,
            settled: false,
            max_restarts: spec.max_restarts.unwrap_or_default(),
            rejoin_timeout: spec.rejoin_timeout,
            events: 0,
        };
        let plan = plan(&spec, seed, code, &expansion)?;
        let tasks = (0_u32..).zip(&expansion.tasks);
        let tasks = tasks.map(|(position, task)| task_record(id, position, task, &datasets, seed, now));
        Ok(Made { record, plan, tasks: tasks.collect::<Result<_, _>>()? })
    }
}

/// The event of a job's creation.
pub(super) fn expanded(tasks: &[TaskRecord], at: Timestamp) -> Happened {
    let tasks = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    Happened { at, kind: JobEventKind::Expanded { tasks }, reason: String::new() }
}

fn info(dataset: &Dataset) -> DatasetInfo {
    DatasetInfo { url: dataset.url.clone(), realm: dataset.realm.clone(), compute_id: dataset.compute_id.to_string() }
}

fn backend(backend: flame_tag::Backend) -> Backend {
    match backend {
        flame_tag::Backend::Mqtt => Backend::Mqtt,
        flame_tag::Backend::P2p => Backend::P2p,
        flame_tag::Backend::Inproc => Backend::Inproc,
    }
}

fn plan(spec: &JobSpec, seed: u64, code: CodeRecord, expansion: &Expansion) -> Result<PlanRecord, Problem> {
    let rooms = expansion.tasks.iter().flat_map(|task| &task.channels);
    let rooms: BTreeSet<String> = rooms.map(|channel| channel_key(&channel.name, &channel.group)).collect();
    let mut keys = BTreeMap::new();
    for room in rooms {
        keys.insert(room, SecretKey::new(crypto::random()?));
    }
    let resources = spec.resources.iter().map(|(role, asked)| {
        let resources = TaskResources {
            memory: asked.memory,
            tensor_bytes: asked.tensor_bytes,
            cpu: asked.cpu,
            wall_time: asked.wall_time,
            egress: asked.egress,
        };
        (role.clone(), resources)
    });
    Ok(PlanRecord {
        seed,
        hyperparameters: spec.hyperparameters.clone(),
        optimizer: spec.optimizer.as_ref().map(choice),
        selector: spec.selector.as_ref().map(choice),
        evaluation_data: spec.evaluation_data.clone(),
        resources: resources.collect(),
        components: code.components,
        keys,
        min_participants: spec.min_participants,
        join_timeout: spec.join_timeout.unwrap_or(JOIN_TIMEOUT),
        encoding: spec.compression.as_ref().map(encoding).unwrap_or_default(),
        deterministic: spec.deterministic,
    })
}

/// A named algorithm of the job file, as grants have it.
fn choice(choice: &Choice) -> OptimizerChoice {
    OptimizerChoice { sort: choice.sort.clone(), kwargs: choice.kwargs.clone() }
}

/// What the job file calls compression, as grants have it.
fn encoding(compression: &Compression) -> ChannelEncoding {
    let form = |form: &flame_tag::MessageForm| match form {
        flame_tag::MessageForm::State => MessageForm::State,
        flame_tag::MessageForm::Full => MessageForm::Full,
        flame_tag::MessageForm::Delta => MessageForm::Delta,
        flame_tag::MessageForm::PartialSum => MessageForm::PartialSum,
    };
    ChannelEncoding {
        tensors: match compression.tensors {
            flame_tag::TensorEncoding::Raw => TensorEncoding::Raw,
            flame_tag::TensorEncoding::F16 => TensorEncoding::F16,
            flame_tag::TensorEncoding::Bf16 => TensorEncoding::Bf16,
            flame_tag::TensorEncoding::Int8 => TensorEncoding::Int8,
        },
        forms: compression.forms.iter().map(form).collect(),
        zstd: compression.zstd,
    }
}

fn task_record(
    job: &JobId,
    position: u32,
    task: &TaskPlan,
    datasets: &BTreeMap<String, Dataset>,
    seed: u64,
    now: Timestamp,
) -> Result<TaskRecord, Problem> {
    let agent: AgentId = flame_tag::task_id(job.as_str(), task).parse().map_err(|error: IdError| internal(&error))?;
    let dataset = task.dataset.as_ref().and_then(|id| datasets.get(id));
    let data = dataset.map(task_data).transpose().map_err(|reason| Problem::new(Code::Refused, reason))?;
    let channels = task.channels.iter().map(|channel| TaskChannel {
        name: channel.name.clone(),
        group: channel.group.clone(),
        func_tags: channel.func_tags.clone(),
        backend: backend(channel.backend),
    });
    Ok(TaskRecord {
        job: job.clone(),
        position,
        agent,
        role: task.role.clone(),
        index: task.index,
        seed: task.seed(seed),
        group_association: task.group_association.clone(),
        channels: channels.collect(),
        kind: match task.kind {
            flame_tag::TaskKind::User => TaskKind::User,
            flame_tag::TaskKind::System => TaskKind::System,
        },
        state: TaskState::Ready,
        attempt: 0,
        reason: String::new(),
        timestamp: now,
        stop: None,
        dataset: dataset.map(|dataset| dataset.id.clone()),
        data,
        compute: task.compute.as_ref().and_then(|id| id.parse().ok()),
        restarts: 0,
        retry_at: None,
        away_since: None,
        changed: false,
    })
}

/// What a zip of components has beyond the schema's roles. One component may serve more roles than a schema has.
fn foreign_roles(code: &CodeRecord, schema: &Schema) -> Vec<String> {
    let digests: BTreeSet<&str> = code.components.values().map(|component| component.sha256.as_str()).collect();
    let foreign = code.components.keys().filter(|role| digests.len() > 1 && schema.role(role).is_none());
    foreign.map(|role| format!("{role}.wasm is no role of the schema: remove it from the zip")).collect()
}

/// All mistakes of a file in one answer.
pub(super) fn refused(file: &str, problems: &flame_tag::Problems) -> Problem {
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    // A field that nobody knows makes another request of it, not another value.
    let unknown = problems.iter().any(|problem| problem.message.starts_with("unknown field "));
    let code = if unknown { Code::InvalidRequest } else { Code::Refused };
    match list.as_slice() {
        [only] => Problem::new(code, only.clone()),
        _ => Problem::new(code, format!("{file} has {} mistakes", list.len())).problems(list),
    }
}

/// Why a design cannot run yet.
pub(super) fn lacks(design: &DesignName, what: &str, file: &str) -> Problem {
    Problem::new(Code::Refused, format!("design {design} has no {what} yet"))
        .hint(format!("add it: `flamectl create {what} {file} --design {design}`"))
}

/// A revision that was asked for by number is not there.
pub(super) fn no_revision(design: &DesignName, what: &str, version: u32) -> Problem {
    not_found(
        format!("design {design} has no {what} version {version}"),
        format!("`flamectl get design {design}` lists its revisions"),
    )
}
