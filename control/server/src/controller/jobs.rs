//! Creation of jobs: what was asked for becomes tasks, a plan and keys, in one durable step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flame_api::{
    AgentId, Backend, ChannelEncoding, Code, DesignId, Job, JobCreated, JobId, JobState, MessageForm, OptimizerChoice,
    Problem, SecretKey, TaskKind, TaskResources, TaskState, TensorEncoding, Timestamp,
};
use flame_tag::{Choice, Compression, Expansion, JobSpec, Schema, TaskPlan};

use super::{Controller, rules};
use crate::crypto;
use crate::deploy::Deployer;
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::{
    AgentRecord, CodeRecord, JobRecord, PlanRecord, SchemaRecord, TaskChannel, TaskRecord, channel_key, task_key,
};
use crate::store::{Batch, Tree};

/// Seconds to wait for ends that are away, unless the job says otherwise.
const JOIN_TIMEOUT: u64 = 60;

impl Controller {
    /// Creates a job from a job file. `file` is the file's name, for messages.
    pub(crate) async fn create_job(self: &Arc<Self>, file: String, text: String) -> Result<JobCreated, Problem> {
        self.run(move |this| this.create_job_now(&file, &text)).await
    }

    fn create_job_now(&self, file: &str, text: &str) -> Result<JobCreated, Problem> {
        let loader = |path: &str| Err(format!("the server does not read `{path}`; flamectl puts such files inline"));
        let spec = JobSpec::parse(text, file, &loader).map_err(|problems| refused(file, &problems))?;
        let design: DesignId = spec
            .design_id
            .parse()
            .map_err(|error: flame_api::IdError| Problem::new(Code::Refused, format!("{file}: designId: {error}")))?;
        self.design(&design)?;
        let schema_record = self.schema(&design, spec.schema_version)?;
        let code = self.code(&design, spec.code_version)?;
        let schema = Schema::parse(&schema_record.text, &schema_record.file)
            .map_err(|problems| refused(&schema_record.file, &problems))?;
        let roles: Vec<String> = code.components.keys().cloned().collect();
        let expansion =
            flame_tag::expand(&schema, &spec, &BTreeMap::new(), &roles).map_err(|problems| refused(file, &problems))?;
        let unserved = unserved(&spec, &expansion, &*self.around.deployer);
        if !unserved.is_empty() {
            let message = format!("{file}: the job asks for what this version of Flame does not do");
            return Err(Problem::new(Code::Refused, message).problems(unserved));
        }
        self.store_job(design, &spec, &schema_record, code, &expansion)
    }

    fn store_job(
        &self,
        design: DesignId,
        spec: &JobSpec,
        schema: &SchemaRecord,
        code: CodeRecord,
        expansion: &Expansion,
    ) -> Result<JobCreated, Problem> {
        let now = Timestamp::now();
        let id = job_id(now)?;
        let seed = match spec.seed {
            Some(seed) => seed,
            None => u64::from_le_bytes(crypto::random()?),
        };
        let job = Job {
            id: id.clone(),
            name: spec.name.clone(),
            design,
            schema_version: schema.version,
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
        };
        let mut batch = Batch::new();
        batch.put_record(Tree::Jobs, id.as_str(), &record).map_err(store_failed)?;
        let plan = plan(spec, seed, code, expansion)?;
        batch.put_record(Tree::Plans, id.as_str(), &plan).map_err(store_failed)?;
        for (position, task) in (0_u32..).zip(&expansion.tasks) {
            let record = task_record(&id, position, task, seed, now)?;
            let agent = AgentRecord { job: id.clone(), position, kind: record.kind, key: None };
            batch.put_record(Tree::Agents, record.agent.as_str(), &agent).map_err(store_failed)?;
            batch.put_record(Tree::Tasks, &task_key(&id, position), &record).map_err(store_failed)?;
        }
        self.store.commit(batch).map_err(store_failed)?;
        tracing::info!(job = %id, tasks = expansion.tasks.len(), "a job was created");
        Ok(JobCreated { id, state: JobState::Ready })
    }
}

/// What a job file may say and nothing here does yet: a job is refused rather than run without it.
fn unserved(spec: &JobSpec, expansion: &Expansion, deployer: &dyn Deployer) -> Vec<String> {
    let mut found = Vec::new();
    if spec.base_model.as_ref().is_some_and(|model| !model.name.is_empty()) {
        found.push("baseModel: there is no model registry to take one from; leave its name empty".to_owned());
    }
    if let Some(reason) = spec.optimizer.as_ref().and_then(rules::refusal) {
        found.push(reason);
    }
    let channels: BTreeSet<_> = expansion
        .tasks
        .iter()
        .flat_map(|task| &task.channels)
        .filter(|channel| channel.broker_host.is_some())
        .map(|channel| channel.name.as_str())
        .collect();
    found.extend(
        channels
            .into_iter()
            .map(|name| format!("channel {name}: messages go over the server's own broker; leave brokerHost out")),
    );
    found.extend(not_in_one_process(expansion, deployer));
    found
}

/// Why a channel within one process cannot be: whoever is on it has to be in that process, and that must be known.
fn not_in_one_process(expansion: &Expansion, deployer: &dyn Deployer) -> Vec<String> {
    let mut roles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for task in &expansion.tasks {
        let outside = task.kind == flame_tag::TaskKind::User || !deployer.is_in_process();
        for channel in task.channels.iter().filter(|channel| outside && channel.backend == flame_tag::Backend::Inproc) {
            roles.entry(&channel.name).or_default().insert(&task.role);
        }
    }
    let why = |(channel, roles): (&str, BTreeSet<&str>)| {
        let roles: Vec<_> = roles.into_iter().collect();
        format!(
            "channel {channel}: the backend `inproc` joins tasks of one process, and those of {} run elsewhere (the \
             deployer is `{}`); use p2p or mqtt",
            roles.join(", "),
            deployer.name()
        )
    };
    roles.into_iter().map(why).collect()
}

fn backend(backend: flame_tag::Backend) -> Backend {
    match backend {
        flame_tag::Backend::Mqtt => Backend::Mqtt,
        flame_tag::Backend::P2p => Backend::P2p,
        flame_tag::Backend::Inproc => Backend::Inproc,
    }
}

/// 24 hex digits: the time in seconds, so that ids sort by age, and 64 random bits.
fn job_id(now: Timestamp) -> Result<JobId, Problem> {
    let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
    let text = format!("{seconds:08x}{}", hex::encode(crypto::random::<8>()?));
    text.parse().map_err(|error: flame_api::IdError| internal(&error))
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

fn task_record(job: &JobId, position: u32, task: &TaskPlan, seed: u64, now: Timestamp) -> Result<TaskRecord, Problem> {
    let agent: AgentId =
        flame_tag::task_id(job.as_str(), task).parse().map_err(|error: flame_api::IdError| internal(&error))?;
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
        changed: false,
    })
}

/// All mistakes of a file in one answer.
pub(super) fn refused(file: &str, problems: &flame_tag::Problems) -> Problem {
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    match list.as_slice() {
        [only] => Problem::new(Code::Refused, only.clone()),
        _ => Problem::new(Code::Refused, format!("{file} has {} mistakes", list.len())).problems(list),
    }
}

/// Why a design cannot run yet.
pub(super) fn lacks(design: &DesignId, what: &str, file: &str) -> Problem {
    Problem::new(Code::Refused, format!("design {design} has no {what} yet"))
        .hint(format!("add it: `flamectl create {what} {file} --design {design}`"))
}

/// A revision that was asked for by number is not there.
pub(super) fn no_revision(design: &DesignId, what: &str, version: u32) -> Problem {
    not_found(
        format!("design {design} has no {what} version {version}"),
        format!("`flamectl get design {design}` lists its revisions"),
    )
}
