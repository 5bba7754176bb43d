//! Data sets that the platform can reach: which there are, and which compute works on them. Nothing here opens one.

use std::path::PathBuf;

use flame_api::{
    Code, ComputeId, CreateDataset, Dataset, DatasetId, IdError, Page, Problem, Timestamp, UpdateDataset, UserName,
};
use flame_tag::DEFAULT_COMPUTE;
use percent_encoding::percent_decode_str;

use super::computes::{check_realm, is_region};
use super::once::Once;
use super::{Controller, Paging, new_id};
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::TaskData;
use crate::store::{Batch, Tree, get_record, put_record, scan_records};

/// Longest name, URL and description, in bytes.
const MAX: [(&str, usize); 4] = [("name", 256), ("url", 2048), ("description", 4096), ("dataFormat", 64)];

impl Controller {
    /// Makes a data set known. Blocks.
    pub(crate) fn create_dataset(
        &self,
        owner: UserName,
        create: CreateDataset,
        once: Option<&Once>,
    ) -> Result<Dataset, Problem> {
        let _lock = self.lock_creations();
        if let Some(answer) = self.replay(once)? {
            return Ok(answer);
        }
        let CreateDataset { name, description, url, data_format, realm, is_public } = create;
        check_realm(&realm)?;
        let (realm, compute_id) = self.place(&realm, is_public)?;
        let created_at = Timestamp::now();
        let id: DatasetId = new_id(created_at)?.parse().map_err(|error: IdError| internal(&error))?;
        let dataset =
            Dataset { id, owner, name, description, url, data_format, realm, compute_id, is_public, created_at };
        self.check_dataset(&dataset)?;
        let mut batch = Batch::new();
        batch.put_record(Tree::Datasets, dataset.id.as_str(), &dataset).map_err(store_failed)?;
        self.remember(&mut batch, once, &dataset)?;
        self.store.commit(batch).map_err(store_failed)?;
        Ok(dataset)
    }

    /// Which compute works on data of that realm, and the realm with it.
    fn place(&self, realm: &str, is_public: bool) -> Result<(String, ComputeId), Problem> {
        if is_region(realm) {
            return match self.compute_in(realm)? {
                Some(compute) => Ok((format!("{realm}/{}", compute.id), compute.id)),
                None if is_public => Ok((realm.to_owned(), default_compute()?)),
                None => Err(no_compute(realm)),
            };
        }
        let known = match realm.parse::<ComputeId>() {
            Ok(id) => self.compute_record(&id)?,
            Err(_) => None,
        };
        let Some(record) = known else {
            let message = format!("realm: there is no compute `{realm}`");
            let hint = "name a region such as default/us/west, or a compute that `flamectl get computes` lists";
            return Err(Problem::new(Code::Refused, message).hint(hint));
        };
        Ok((format!("{}/{}", record.compute.realm, record.compute.id), record.compute.id))
    }

    fn check_dataset(&self, dataset: &Dataset) -> Result<(), Problem> {
        let texts = [&dataset.name, &dataset.url, &dataset.description, &dataset.data_format];
        for ((field, most), text) in MAX.into_iter().zip(texts) {
            if text.len() > most {
                return Err(Problem::new(Code::Refused, format!("{field}: it has more than {most} bytes")));
            }
        }
        let scheme = dataset.url.split_once("://").filter(|(scheme, rest)| {
            let plain = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
            !scheme.is_empty() && plain && !rest.is_empty()
        });
        if scheme.is_none() || dataset.url.chars().any(char::is_control) {
            let message = format!("url: `{}` is no URL", dataset.url.escape_debug());
            return Err(Problem::new(Code::Refused, message).hint("write one such as file:///data/mnist/part-1"));
        }
        let all: Vec<Dataset> = scan_records(&*self.store, Tree::Datasets, "").map_err(store_failed)?;
        match all
            .iter()
            .find(|other| other.owner == dataset.owner && other.url == dataset.url && other.id != dataset.id)
        {
            None => Ok(()),
            Some(other) => {
                let message = format!("dataset {} is at {} already", other.id, other.url);
                Err(Problem::new(Code::AlreadyExists, message).hint("use that one"))
            }
        }
    }

    /// A page of the data sets that a user may use, or of all, oldest first. Blocks.
    pub(crate) fn datasets(&self, user: Option<&UserName>, paging: &Paging) -> Result<Page<Dataset>, Problem> {
        let may = |dataset: &Dataset| dataset.is_public || user.is_none_or(|user| dataset.owner == *user);
        self.page(Tree::Datasets, "", paging, |dataset| Some(dataset).filter(may))
    }

    /// One data set. Blocks.
    pub(crate) fn dataset(&self, id: &DatasetId) -> Result<Dataset, Problem> {
        let dataset = get_record(&*self.store, Tree::Datasets, id.as_str()).map_err(store_failed)?;
        dataset.ok_or_else(|| unknown_dataset(id))
    }

    /// Changes what a data set says of itself, if `check` lets the one that there is be changed. Blocks.
    pub(crate) fn update_dataset(
        &self,
        id: &DatasetId,
        update: UpdateDataset,
        check: impl FnOnce(&Dataset) -> Result<(), Problem>,
    ) -> Result<Dataset, Problem> {
        let _lock = self.lock_creations();
        let mut dataset = self.dataset(id)?;
        check(&dataset)?;
        let UpdateDataset { name, description, url, data_format, is_public } = update;
        dataset.name = name.unwrap_or(dataset.name);
        dataset.description = description.unwrap_or(dataset.description);
        dataset.url = url.unwrap_or(dataset.url);
        dataset.data_format = data_format.unwrap_or(dataset.data_format);
        dataset.is_public = is_public.unwrap_or(dataset.is_public);
        if !dataset.is_public && dataset.compute_id.as_str() == DEFAULT_COMPUTE {
            return Err(no_compute(&dataset.realm));
        }
        self.check_dataset(&dataset)?;
        put_record(&*self.store, Tree::Datasets, id.as_str(), &dataset).map_err(store_failed)?;
        Ok(dataset)
    }

    /// Forgets a data set. Jobs that name it keep what they were created with. Blocks.
    pub(crate) fn delete_dataset(
        &self,
        id: &DatasetId,
        check: impl FnOnce(&Dataset) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let _lock = self.lock_creations();
        check(&self.dataset(id)?)?;
        self.store.delete(Tree::Datasets, id.as_str().as_bytes()).map_err(store_failed)
    }
}

pub(crate) fn unknown_dataset(id: &DatasetId) -> Problem {
    not_found(format!("dataset {id} not found"), "`flamectl get datasets` lists those that there are")
}

fn default_compute() -> Result<ComputeId, Problem> {
    DEFAULT_COMPUTE.parse().map_err(|error: IdError| internal(&error))
}

fn no_compute(realm: &str) -> Problem {
    let message = format!("realm: there is no compute in `{realm}`, and a private data set needs one of its own");
    Problem::new(Code::Refused, message).hint("register a compute there, or set isPublic")
}

/// What a task gets of a data set: its folder, under a name that a guest can say.
pub(super) fn task_data(dataset: &Dataset) -> Result<TaskData, String> {
    let path = dataset.url.strip_prefix("file://").filter(|path| path.starts_with('/')).ok_or_else(|| {
        format!(
            "dataset {} is at {}, and what the platform hands to a task is a folder of its machine: file:///PATH",
            dataset.id, dataset.url
        )
    })?;
    let path =
        percent_decode_str(path).decode_utf8().map_err(|_| format!("dataset {}: its url is no UTF-8", dataset.id))?;
    // What a design may be called, a data set can be opened by.
    let name = match dataset.name.parse::<flame_api::DesignId>() {
        Ok(name) => name.to_string(),
        Err(_) => dataset.id.to_string(),
    };
    Ok(TaskData { name, path: PathBuf::from(path.into_owned()) })
}
