//! Computes: places for system tasks, each with a key that it proves itself by.

use std::sync::Arc;

use flame_api::{Code, Compute, ComputeId, Dataset, Page, Problem, RegisterCompute, Timestamp};
use flame_tag::DEFAULT_COMPUTE;

use super::{Controller, Paging};
use crate::crypto::{self, Presented};
use crate::failure::{not_found, store as store_failed};
use crate::store::records::ComputeRecord;
use crate::store::{Batch, Tree, get_record, scan_records};

/// Longest realm.
const MAX_REALM: usize = 256;
/// Longest key, in bytes.
const MAX_KEY: usize = 1024;
/// Where regions begin.
const ROOT: &str = "default";

/// Whether a realm is a region, and not the id of a compute.
pub(super) fn is_region(realm: &str) -> bool {
    realm == ROOT || realm.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// Refuses what cannot be a realm: parts of plain letters, separated by slashes.
pub(super) fn check_realm(realm: &str) -> Result<(), Problem> {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if realm.len() <= MAX_REALM && realm.split('/').all(plain) {
        return Ok(());
    }
    let shown: String = realm.chars().take(MAX_REALM).collect();
    Err(Problem::new(Code::Refused, format!("realm: `{}` is no realm", shown.escape_debug()))
        .hint("name a region such as default/us/west, or the id of a compute"))
}

impl Controller {
    /// Registers a compute. The same key again changes nothing; the flag says whether it is new.
    pub(crate) async fn register_compute(
        self: &Arc<Self>,
        register: RegisterCompute,
    ) -> Result<(Compute, bool), Problem> {
        let RegisterCompute { id, realm, key, deployer } = register;
        check_realm(&realm)?;
        if !is_region(&realm) {
            let message = format!("realm: a compute is in a region, and `{realm}` does not begin with {ROOT}");
            return Err(Problem::new(Code::Refused, message).hint("name a region such as default/us/west"));
        }
        if id.as_str() == DEFAULT_COMPUTE {
            let message = format!("id: `{id}` is the server's own place for tasks that are bound to no compute");
            return Err(Problem::new(Code::Refused, message).hint("choose another id"));
        }
        if key.expose().is_empty() || key.expose().len() > MAX_KEY {
            return Err(Problem::new(Code::Refused, format!("key: it has 1 to {MAX_KEY} bytes")));
        }
        let deployer = deployer.filter(|name| !name.is_empty()).unwrap_or_else(|| self.around.deployer.name().into());
        if deployer.len() > 64 || deployer.chars().any(char::is_control) {
            return Err(Problem::new(Code::Refused, "deployer: it has 1 to 64 characters"));
        }
        let presented = key.clone();
        let hash = self.hash(move || crypto::hash_chosen_key(&presented)).await??;
        let compute = Compute { id: id.clone(), realm, deployer, registered_at: Timestamp::now() };
        let known = self
            .run(move |this| {
                let _lock = this.lock_creations();
                if let Some(known) = this.compute_record(&compute.id)? {
                    return Ok(Err(known));
                }
                let record = ComputeRecord { compute, key: hash };
                let mut batch = Batch::new();
                batch.put_record(Tree::Computes, record.compute.id.as_str(), &record).map_err(store_failed)?;
                this.store.commit(batch).map_err(store_failed)?;
                tracing::info!(compute = %record.compute.id, realm = record.compute.realm, "a compute was registered");
                Ok(Ok(record.compute))
            })
            .await?;
        match known {
            Ok(new) => Ok((new, true)),
            Err(ComputeRecord { compute, key: hash }) => {
                if self.hash(move || crypto::verify_key(&hash, &Presented::Key(key))).await? {
                    return Ok((compute, false));
                }
                let message = format!("compute {id} is already in use: it was registered with another key");
                Err(Problem::new(Code::AlreadyExists, message).hint("use that key, or choose another id"))
            }
        }
    }

    /// A page of the computes, by id. Blocks.
    pub(crate) fn computes(&self, paging: &Paging) -> Result<Page<Compute>, Problem> {
        self.page(Tree::Computes, "", paging, |record: ComputeRecord| Some(record.compute))
    }

    /// One compute. Blocks.
    pub(crate) fn compute(&self, id: &ComputeId) -> Result<Compute, Problem> {
        let record = self.compute_record(id)?;
        record.map(|record| record.compute).ok_or_else(|| {
            not_found(format!("compute {id} not found"), "`flamectl get computes` lists those that there are")
        })
    }

    pub(super) fn compute_record(&self, id: &ComputeId) -> Result<Option<ComputeRecord>, Problem> {
        get_record(&*self.store, Tree::Computes, id.as_str()).map_err(store_failed)
    }

    /// The first compute of exactly that region. Blocks.
    pub(super) fn compute_in(&self, region: &str) -> Result<Option<Compute>, Problem> {
        let records: Vec<ComputeRecord> = scan_records(&*self.store, Tree::Computes, "").map_err(store_failed)?;
        Ok(records.into_iter().map(|record| record.compute).find(|compute| compute.realm == region))
    }

    /// Forgets a compute that no data set is bound to. Blocks.
    pub(crate) fn delete_compute(&self, id: &ComputeId) -> Result<(), Problem> {
        let _lock = self.lock_creations();
        self.compute(id)?;
        let datasets: Vec<Dataset> = scan_records(&*self.store, Tree::Datasets, "").map_err(store_failed)?;
        let bound = datasets.iter().filter(|dataset| dataset.compute_id == *id).count();
        if bound > 0 {
            let message = format!("compute {id} is used by {bound} data sets");
            return Err(
                Problem::new(Code::InUse, message).hint("delete them first: `flamectl get datasets` lists them")
            );
        }
        self.store.delete(Tree::Computes, id.as_str().as_bytes()).map_err(store_failed)
    }
}
