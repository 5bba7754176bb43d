//! Reads job files of both generations, and the files that the later one refers to.

use std::collections::BTreeMap;

use crate::compression;
use crate::document::{self, Places, Value};
use crate::job::{BaseModel, Choice, DataSpec, JobSpec, Priority, Resources, RoleData, SystemData};
use crate::names::{NAME_RULE, is_name};
use crate::problem::{Problem, Problems};
use crate::reader::{At, Object, Reader};
use crate::schema::Backend;
use crate::selector;

/// Gives the text of a file that a job file names, or says why it cannot be read.
pub type Loader<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

const FIELDS: &[&str] = &[
    "designId",
    "name",
    "schemaVersion",
    "codeVersion",
    "schemaRevision",
    "codeRevision",
    "dataSpec",
    "dataSpecPath",
    "modelSpec",
    "modelSpecPath",
    "priority",
    "backend",
    "maxRunTime",
    "baseModel",
    "hyperparameters",
    "dependencies",
    "optimizer",
    "selector",
    "seed",
    "evaluationData",
    "minParticipants",
    "joinTimeout",
    "minCompleted",
    "compression",
    "resources",
    "maxRestarts",
    "rejoinTimeout",
    "deterministic",
    // Flame prints these with a job; the token says who the user is, and the server numbers jobs.
    "id",
    "userId",
];
/// The fields that the later generation keeps in its model spec.
const MODEL_FIELDS: [&str; 5] = ["baseModel", "hyperparameters", "dependencies", "optimizer", "selector"];
const DATA_FIX: &str = "say who brings data: \"dataSpec\": {\"fromUser\": {\"default\": 1}}";
const BACKEND_FIX: &str = "say what carries the messages of channels that name no backend: \"backend\": \"mqtt\"";

impl JobSpec {
    /// Reads a job file of either generation, in JSON or YAML. `file` is what its problems call it; `loader` gives the text
    /// of what `dataSpecPath` and `modelSpecPath` name, which are relative to the job file.
    pub fn parse(text: &str, file: &str, loader: &Loader<'_>) -> Result<Self, Problems> {
        let (job, problems) = Self::read(text, file, loader);
        match job {
            Some(job) => Problems::check(problems, job),
            None => Err(Problems::sorted(problems)),
        }
    }

    /// The job as far as it can be read, and what is wrong with its form. `None` where checking it further would only echo
    /// those problems.
    pub(crate) fn read(text: &str, file: &str, loader: &Loader<'_>) -> (Option<Self>, Vec<Problem>) {
        let node = match document::parse(text, file) {
            Ok(node) => node,
            Err(problem) => return (None, vec![problem]),
        };
        let mut r = Reader::new(file);
        let root = At { node: &node, path: String::new(), mark: node.mark };
        let Some(object) = r.object(&root, FIELDS) else { return (None, r.problems) };
        let mut places = Places::default();
        places.record(&node, node.mark, r.file(), "", "");
        let mut job = read_plain(&mut r, &object);
        read_data_spec(&mut r, &object, loader, &mut job, &mut places);
        read_model_spec(&mut r, &object, loader, &mut job, &mut places);
        job.places = places;
        let Reader { problems, broken, .. } = r;
        (Some(job).filter(|_| !broken), problems)
    }
}

fn read_plain(r: &mut Reader, object: &Object<'_>) -> JobSpec {
    let design = r.required(object, "designId", "name the design that the job runs: \"designId\": \"my-design\"");
    let mut design_id = String::new();
    if let Some(at) = design
        && let Some(id) = r.text(&at)
    {
        if !is_name(&id) {
            r.problem(&at, format!("{id:.64} cannot name a design"), NAME_RULE);
        }
        design_id = id;
    }
    for ignored in ["id", "userId"] {
        r.text_or_empty(object, ignored);
    }
    let backend = r.required(object, "backend", BACKEND_FIX);
    let priorities = [("low", Priority::Low), ("medium", Priority::Medium), ("high", Priority::High)];
    JobSpec {
        design_id,
        name: r.text_or_empty(object, "name"),
        schema_version: read_version(r, object, "schemaVersion", "schemaRevision"),
        code_version: read_version(r, object, "codeVersion", "codeRevision"),
        data_spec: DataSpec::default(),
        priority: object.get("priority").and_then(|at| r.word(&at, "priority", &priorities)),
        backend: backend.and_then(|at| r.word(&at, "backend", &Backend::ALL)).unwrap_or_default(),
        max_run_time: object.get("maxRunTime").and_then(|at| r.integer(&at, 0)).filter(|seconds| *seconds > 0),
        base_model: None,
        hyperparameters: serde_json::Map::new(),
        dependencies: Vec::new(),
        optimizer: None,
        selector: None,
        seed: object.get("seed").and_then(|at| r.integer(&at, 0)),
        evaluation_data: object.get("evaluationData").and_then(|at| r.text(&at)).filter(|name| !name.is_empty()),
        min_participants: object.get("minParticipants").and_then(|at| r.integer(&at, 1)),
        join_timeout: object.get("joinTimeout").and_then(|at| r.integer(&at, 0)),
        min_completed: read_counts(r, object.get("minCompleted").as_ref(), "write {role: number}"),
        compression: compression::read(r, object),
        resources: read_resources(r, object),
        max_restarts: object.get("maxRestarts").and_then(|at| r.integer(&at, 0)),
        rejoin_timeout: object.get("rejoinTimeout").and_then(|at| r.integer(&at, 1)),
        deterministic: object.get("deterministic").and_then(|at| r.boolean(&at)).unwrap_or(false),
        places: Places::default(),
    }
}

/// A revision under the walk-through's name or the later one.
fn read_version(r: &mut Reader, object: &Object<'_>, field: &str, later: &str) -> Option<u32> {
    let at = match (object.get(field), object.get(later)) {
        (Some(_), Some(at)) => {
            r.problem(&at, format!("{field} and {later} are the same thing given twice"), "keep one of them");
            return None;
        }
        (one, other) => one.or(other)?,
    };
    r.version(&at)
}

fn read_counts(r: &mut Reader, at: Option<&At<'_>>, hint: &str) -> BTreeMap<String, u32> {
    let Some(at) = at else { return BTreeMap::new() };
    let Some(entries) = r.map(at, hint) else {
        r.broken = true;
        return BTreeMap::new();
    };
    // A count that cannot be read is refused already. One stands in for it, so that its key is still checked and nothing
    // is said to be missing.
    entries.into_iter().map(|(key, at)| (key, r.integer(&at, 1).unwrap_or(1))).collect()
}

fn read_resources(r: &mut Reader, object: &Object<'_>) -> BTreeMap<String, Resources> {
    let entries = object.get("resources").and_then(|at| r.map(&at, "write {role: {memory: …}}")).unwrap_or_default();
    let mut resources = BTreeMap::new();
    for (role, at) in entries {
        let Some(asked) = r.object(&at, &["memory", "tensorBytes", "cpu", "wallTime", "egress"]) else { continue };
        let value = Resources {
            memory: asked.get("memory").and_then(|at| read_bytes(r, &at)),
            tensor_bytes: asked.get("tensorBytes").and_then(|at| read_bytes(r, &at)),
            cpu: asked.get("cpu").and_then(|at| r.integer(&at, 1)),
            wall_time: asked.get("wallTime").and_then(|at| r.integer(&at, 1)),
            egress: asked.get("egress").and_then(|at| read_bytes(r, &at)),
        };
        resources.insert(role, value);
    }
    resources
}

/// Bytes, as a number or as a text with a unit: `512 MiB`.
fn read_bytes(r: &mut Reader, at: &At<'_>) -> Option<u64> {
    let Value::Text(text) = &at.node.value else { return r.integer(at, 1) };
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: Option<u64> = match unit.trim() {
        "" | "B" => Some(1),
        "kB" | "KB" | "k" => Some(1000),
        "MB" | "M" => Some(1_000_000),
        "GB" | "G" => Some(1_000_000_000),
        "KiB" | "Ki" => Some(1 << 10),
        "MiB" | "Mi" => Some(1 << 20),
        "GiB" | "Gi" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    let bytes = bytes.filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        r.problem(at, format!("{text:.32} is no number of bytes"), "write bytes, or a whole number of KiB, MiB or GiB");
    }
    bytes
}

/// Runs `read` on a part of the job that stands in the file itself or in one that the file names.
fn inline_or_file<T>(
    r: &mut Reader,
    object: &Object<'_>,
    (field, path_field): (&str, &str),
    loader: &Loader<'_>,
    read: impl FnOnce(&mut Reader, &At<'_>) -> T,
) -> Option<T> {
    let inline = object.get(field);
    let Some(at) = object.get(path_field) else {
        let at = inline?;
        return Some(read(r, &at));
    };
    if inline.is_some() {
        r.problem(&at, format!("{field} and {path_field} are both given"), "keep one of them");
    }
    let path = r.text(&at)?;
    let text = match loader(&path) {
        Ok(text) => text,
        Err(reason) => {
            let hint = "the path is relative to the job file";
            r.problem(&at, format!("{path} cannot be read: {reason}"), hint);
            return None;
        }
    };
    let node = match document::parse(&text, &path) {
        Ok(node) => node,
        Err(problem) => {
            r.problems.push(problem);
            return None;
        }
    };
    let mut there = Reader::new(&path);
    let value = read(&mut there, &At { node: &node, path: String::new(), mark: node.mark });
    r.problems.append(&mut there.problems);
    r.broken |= there.broken;
    Some(value)
}

fn read_data_spec(r: &mut Reader, object: &Object<'_>, loader: &Loader<'_>, job: &mut JobSpec, places: &mut Places) {
    if object.get("dataSpec").is_none() && object.get("dataSpecPath").is_none() {
        r.required(object, "dataSpec", DATA_FIX);
        r.broken = true;
        return;
    }
    let spec = inline_or_file(r, object, ("dataSpec", "dataSpecPath"), loader, |r, at| {
        let is_list = matches!(at.node.value, Value::List(_));
        let path = if is_list { "dataSpec.fromSystem" } else { "dataSpec" };
        places.record(at.node, at.mark, r.file(), &at.path, path);
        if is_list {
            return Some(DataSpec { from_user: BTreeMap::new(), from_system: read_system_data(r, at)? });
        }
        let object = r.object(at, &["fromUser", "fromSystem"])?;
        let from_user = read_counts(r, object.get("fromUser").as_ref(), "write {group: number of participants}");
        let from_system = match object.get("fromSystem") {
            Some(at) => read_system_data(r, &at)?,
            None => SystemData::default(),
        };
        Some(DataSpec { from_user, from_system })
    });
    match spec {
        Some(Some(spec)) => job.data_spec = spec,
        _ => r.broken = true,
    }
}

/// `[{role, datasetGroups}]`, `{group: [id]}` or `[id]`.
fn read_system_data(r: &mut Reader, at: &At<'_>) -> Option<SystemData> {
    const HINT: &str = "write {group: [dataset id, …]} or [{role: …, datasetGroups: {group: [dataset id, …]}}]";
    if matches!(at.node.value, Value::Map(_)) {
        return read_groups(r, at).map(SystemData::Groups);
    }
    let items = r.list(at, HINT)?;
    if items.iter().any(|item| matches!(item.node.value, Value::Text(_))) {
        let ids: Vec<String> = items.iter().filter_map(|item| read_id(r, item)).collect();
        return (ids.len() == items.len()).then_some(SystemData::Ids(ids));
    }
    let mut roles: Vec<RoleData> = Vec::new();
    for item in &items {
        let object = r.object(item, &["role", "datasetGroups"])?;
        let role = r.required(&object, "role", "name the data role").and_then(|at| r.text(&at))?;
        let groups = r.required(&object, "datasetGroups", "write {group: [dataset id, …]}")?;
        let dataset_groups = read_groups(r, &groups)?;
        if roles.iter().any(|other| other.role == role) {
            r.problem(item, format!("duplicate role {role}"), "give each role one entry with all its groups");
        }
        roles.push(RoleData { role, dataset_groups });
    }
    Some(SystemData::Roles(roles))
}

fn read_id(r: &mut Reader, at: &At<'_>) -> Option<String> {
    let id = r.text(at)?;
    if id.is_empty() {
        r.problem(at, "the id of a dataset is empty", "write the id that `flamectl create dataset` gave");
        return None;
    }
    Some(id)
}

fn read_groups(r: &mut Reader, at: &At<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let mut groups = BTreeMap::new();
    for (group, at) in r.map(at, "write {group: [dataset id, …]}")? {
        let ids = r.list(&at, "list dataset ids")?;
        let read: Vec<String> = ids.iter().filter_map(|id| read_id(r, id)).collect();
        // What is refused already is not to be said to be missing.
        r.broken |= read.len() < ids.len();
        groups.insert(group, read);
    }
    Some(groups)
}

fn read_model_spec(r: &mut Reader, object: &Object<'_>, loader: &Loader<'_>, job: &mut JobSpec, places: &mut Places) {
    read_model_fields(r, object, job);
    inline_or_file(r, object, ("modelSpec", "modelSpecPath"), loader, |r, at| {
        let Some(spec) = r.object(at, &MODEL_FIELDS) else { return };
        for field in MODEL_FIELDS {
            let Some(below) = spec.get(field) else { continue };
            if object.get(field).is_some() {
                r.problem(&below, format!("{field} stands in the job itself too"), "keep one of them");
            }
            places.record(below.node, below.mark, r.file(), &below.path, field);
        }
        read_model_fields(r, &spec, job);
    });
}

fn read_model_fields(r: &mut Reader, object: &Object<'_>, job: &mut JobSpec) {
    if let Some(at) = object.get("baseModel")
        && let Some(model) = r.object(&at, &["name", "version"])
    {
        let name = r.text_or_empty(&model, "name");
        let version = match model.get("version") {
            // Flame's "no model" is a version 0 beside an empty name.
            Some(at) if matches!(at.node.value, Value::Integer(0)) => 0,
            Some(at) => r.version(&at).unwrap_or(0),
            None => 0,
        };
        job.base_model = (!name.is_empty()).then_some(BaseModel { name, version });
    }
    if let Some(map) = object.get("hyperparameters").and_then(|at| r.json_object(&at)) {
        job.hyperparameters = map;
    }
    if let Some(list) = object.get("dependencies").and_then(|at| r.texts(&at, "list the packages")) {
        job.dependencies = list;
    }
    if let Some(choice) = object.get("optimizer").and_then(|at| read_choice(r, &at)) {
        job.optimizer = Some(choice);
    }
    if let Some(at) = object.get("selector")
        && let Some(choice) = read_choice(r, &at)
    {
        selector::check(r, &at, &choice);
        job.selector = Some(choice);
    }
}

fn read_choice(r: &mut Reader, at: &At<'_>) -> Option<Choice> {
    let object = r.object(at, &["sort", "kwargs"])?;
    let sort = r.required(&object, "sort", "name the algorithm").and_then(|at| r.text(&at))?;
    let kwargs = object.get("kwargs").and_then(|at| r.json_object(&at)).unwrap_or_default();
    Some(Choice { sort, kwargs })
}
