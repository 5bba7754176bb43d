//! Designs and the revisions of their schemas and code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use flame_api::{
    Code, CodeComponent, CodeRef, CodeRevision, CreateDesign, Created, Design, DesignDetail, Page, Problem,
    SchemaRevision, Timestamp, UpdateDesign, UserName,
};
use flame_tag::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admission::admit;
use super::jobs::{lacks, no_revision, refused};
use super::once::Once;
use super::{Controller, Paging};
use crate::crypto;
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::{
    CodeRecord, DesignName, DesignRecord, JobRecord, PlanRecord, SchemaRecord, prefix, revision_key,
};
use crate::store::{Batch, Tree, get_record, put_record, scan_records};

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 4096;

impl Controller {
    /// Creates a design. Blocks.
    pub(crate) fn create_design(
        &self,
        owner: UserName,
        create: CreateDesign,
        once: Option<&Once>,
    ) -> Result<Design, Problem> {
        check_description(&create.description)?;
        let id = DesignName::new(owner, create.id);
        let _lock = self.lock_creations();
        if let Some(answer) = self.replay(once)? {
            return Ok(answer);
        }
        let known: Option<DesignRecord> = get_record(&*self.store, Tree::Designs, id.as_str()).map_err(store_failed)?;
        if known.as_ref().is_some_and(|record| !record.deleted) {
            return Err(Problem::new(Code::AlreadyExists, format!("design {id} exists already"))
                .hint("choose another id, or add revisions to it: `flamectl create schema`, `flamectl create code`"));
        }
        let (schemas, code) = known.map(|record| (record.schemas, record.code)).unwrap_or_default();
        let design = Design {
            id: id.id().clone(),
            owner: id.owner().clone(),
            description: create.description,
            created_at: Timestamp::now(),
        };
        let record = DesignRecord { design, schemas, code, deleted: false };
        let mut batch = Batch::new();
        batch.put_record(Tree::Designs, id.as_str(), &record).map_err(store_failed)?;
        self.remember(&mut batch, once, &record.design)?;
        self.store.commit(batch).map_err(store_failed)?;
        Ok(record.design)
    }

    /// A page of the designs of an owner, or of everybody, by owner and id. Blocks.
    pub(crate) fn designs(&self, owner: Option<&UserName>, paging: &Paging) -> Result<Page<Design>, Problem> {
        let theirs = owner.map(|owner| prefix(owner)).unwrap_or_default();
        self.page(Tree::Designs, &theirs, paging, |record: DesignRecord| (!record.deleted).then_some(record.design))
    }

    /// One design. Blocks.
    pub(crate) fn design(&self, id: &DesignName) -> Result<Design, Problem> {
        self.design_record(id).map(|record| record.design)
    }

    fn design_record(&self, id: &DesignName) -> Result<DesignRecord, Problem> {
        let record: Option<DesignRecord> =
            get_record(&*self.store, Tree::Designs, id.as_str()).map_err(store_failed)?;
        record.filter(|record| !record.deleted).ok_or_else(|| {
            let hint = format!(
                "create it with `flamectl create design {id}`; `flamectl get designs` lists those that there are"
            );
            not_found(format!("design {id} not found"), &hint)
        })
    }

    /// One design with its revisions. Blocks.
    pub(crate) fn design_detail(&self, id: &DesignName) -> Result<DesignDetail, Problem> {
        let design = self.design(id)?;
        let schemas: Vec<SchemaRecord> =
            scan_records(&*self.store, Tree::Schemas, &id.prefix()).map_err(store_failed)?;
        let code: Vec<CodeRecord> = scan_records(&*self.store, Tree::Code, &id.prefix()).map_err(store_failed)?;
        Ok(DesignDetail {
            design,
            schemas: schemas.into_iter().map(schema_revision).collect(),
            code: code.into_iter().map(code_revision).collect(),
        })
    }

    /// Changes a design's description, if `check` lets the design that there is be changed. Blocks.
    pub(crate) fn update_design(
        &self,
        id: &DesignName,
        update: UpdateDesign,
        check: impl FnOnce(&DesignDetail) -> Result<(), Problem>,
    ) -> Result<Design, Problem> {
        check_description(&update.description)?;
        let _lock = self.lock_creations();
        let mut record = self.design_record(id)?;
        check(&self.design_detail(id)?)?;
        record.design.description = update.description;
        put_record(&*self.store, Tree::Designs, id.as_str(), &record).map_err(store_failed)?;
        Ok(record.design)
    }

    /// Deletes a design with its revisions, unless jobs use it and it is not forced. Blocks.
    pub(crate) fn delete_design(
        &self,
        id: &DesignName,
        force: bool,
        check: impl FnOnce(&DesignDetail) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let _lock = self.lock_creations();
        let mut record = self.design_record(id)?;
        check(&self.design_detail(id)?)?;
        let jobs: Vec<JobRecord> = scan_records(&*self.store, Tree::Jobs, "").map_err(store_failed)?;
        let jobs =
            jobs.iter().filter(|record| record.job.owner == *id.owner() && record.job.design == *id.id()).count();
        if jobs > 0 && !force {
            let message = format!("design {id} is used in {jobs} {}", if jobs == 1 { "job" } else { "jobs" });
            let hint = "delete the jobs first, or force it; jobs go on with the revisions that they were created with";
            return Err(Problem::new(Code::InUse, message).hint(hint));
        }
        let code: Vec<CodeRecord> = scan_records(&*self.store, Tree::Code, &id.prefix()).map_err(store_failed)?;
        let mut batch = Batch::new();
        for tree in [Tree::Schemas, Tree::Code] {
            for (key, _) in self.store.scan(tree, id.prefix().as_bytes()).map_err(store_failed)? {
                batch.delete(tree, key);
            }
        }
        record.deleted = true;
        batch.put_record(Tree::Designs, id.as_str(), &record).map_err(store_failed)?;
        self.store.commit(batch).map_err(store_failed)?;
        self.sweep_code(&files(&code))
    }

    /// Adds a schema revision. `file` is the file's name, for messages. Blocks.
    pub(crate) fn create_schema(
        &self,
        id: &DesignName,
        file: String,
        text: String,
        once: Option<&Once>,
    ) -> Result<Created, Problem> {
        self.design(id)?;
        let schema = Schema::parse(&text, &file).map_err(|problems| refused(&file, &problems))?;
        let roles = schema.roles.iter().map(|role| role.name.clone()).collect();
        let record = SchemaRecord { version: 0, file, text, roles, created_at: Timestamp::now() };
        self.add_revision(Tree::Schemas, id, record, once, |record, version| record.version = version)
    }

    /// A page of a design's schema revisions. Blocks.
    pub(crate) fn schemas(&self, id: &DesignName, paging: &Paging) -> Result<Page<SchemaRevision>, Problem> {
        self.design(id)?;
        self.page(Tree::Schemas, &id.prefix(), paging, |record| Some(schema_revision(record)))
    }

    /// A schema revision; the newest without a version. Blocks.
    pub(crate) fn schema(&self, id: &DesignName, version: Option<u32>) -> Result<SchemaRecord, Problem> {
        self.revision(Tree::Schemas, id, version, "schema", "schema.json")
    }

    /// Deletes a schema revision. Blocks.
    pub(crate) fn delete_schema(&self, id: &DesignName, version: u32) -> Result<(), Problem> {
        let _lock = self.lock_creations();
        self.schema(id, Some(version))?;
        self.store.delete(Tree::Schemas, revision_key(id, version).as_bytes()).map_err(store_failed)
    }

    /// Adds a code revision, after admission.
    pub(crate) async fn create_code(
        self: &Arc<Self>,
        id: DesignName,
        file: Bytes,
        signatures: Vec<String>,
        once: Option<Once>,
    ) -> Result<Created, Problem> {
        let design = id.clone();
        self.run(move |this| this.design(&design)).await?;
        self.run(move |this| {
            let admitted = admit(&file, &signatures, this.around.skip_admission)?;
            // Under the lock, so that nobody sweeps the files before the record names them.
            let lock = this.lock_creations();
            if let Some(answer) = this.replay(once.as_ref())? {
                return Ok(answer);
            }
            for (sha256, component) in &admitted.components {
                this.artifacts.put_code(sha256, component).map_err(|error| internal(&error))?;
            }
            let components = admitted.roles;
            let sha256 = crypto::sha256_hex(&file);
            this.artifacts.put_code(&sha256, &file).map_err(|error| internal(&error))?;
            let size = file.len() as u64;
            let record = CodeRecord { version: 0, sha256, size, components, created_at: Timestamp::now() };
            this.add_revision_locked(&lock, Tree::Code, &id, record, once.as_ref(), |record, version| {
                record.version = version;
            })
        })
        .await
    }

    /// A page of a design's code revisions. Blocks.
    pub(crate) fn codes(&self, id: &DesignName, paging: &Paging) -> Result<Page<CodeRevision>, Problem> {
        self.design(id)?;
        self.page(Tree::Code, &id.prefix(), paging, |record| Some(code_revision(record)))
    }

    /// A code revision; the newest without a version. Blocks.
    pub(crate) fn code(&self, id: &DesignName, version: Option<u32>) -> Result<CodeRecord, Problem> {
        self.revision(Tree::Code, id, version, "code", "module.wasm")
    }

    /// Deletes a code revision; jobs that run it keep its components. Blocks.
    pub(crate) fn delete_code(&self, id: &DesignName, version: u32) -> Result<(), Problem> {
        let _lock = self.lock_creations();
        let record = self.code(id, Some(version))?;
        self.store.delete(Tree::Code, revision_key(id, version).as_bytes()).map_err(store_failed)?;
        self.sweep_code(&files(&[record]))
    }

    /// Removes those of the files of code that no revision and no job has any more. Under the lock of creations. Blocks.
    pub(super) fn sweep_code(&self, candidates: &BTreeSet<String>) -> Result<(), Problem> {
        let revisions: Vec<CodeRecord> = scan_records(&*self.store, Tree::Code, "").map_err(store_failed)?;
        let mut kept = files(&revisions);
        let plans: Vec<PlanRecord> = scan_records(&*self.store, Tree::Plans, "").map_err(store_failed)?;
        kept.extend(plans.into_iter().flat_map(|plan| plan.components.into_values()).map(|code| code.sha256));
        for sha256 in candidates.difference(&kept) {
            self.artifacts.remove_code(sha256).map_err(|error| internal(&error))?;
        }
        Ok(())
    }

    fn add_revision<T: Serialize>(
        &self,
        tree: Tree,
        id: &DesignName,
        record: T,
        once: Option<&Once>,
        number: impl FnOnce(&mut T, u32),
    ) -> Result<Created, Problem> {
        let lock = self.lock_creations();
        if let Some(answer) = self.replay(once)? {
            return Ok(answer);
        }
        self.add_revision_locked(&lock, tree, id, record, once, number)
    }

    fn add_revision_locked<T: Serialize>(
        &self,
        _lock: &MutexGuard<'_, ()>,
        tree: Tree,
        id: &DesignName,
        mut record: T,
        once: Option<&Once>,
        number: impl FnOnce(&mut T, u32),
    ) -> Result<Created, Problem> {
        let mut design = self.design_record(id)?;
        // Stores of before there were counters have revisions alone.
        let highest = self.store.scan(tree, id.prefix().as_bytes()).map_err(store_failed)?.pop();
        let highest = highest.and_then(|(key, _)| String::from_utf8(key).ok()?.rsplit_once('/')?.1.parse().ok());
        let counter = if tree == Tree::Schemas { &mut design.schemas } else { &mut design.code };
        let version = highest.unwrap_or(0).max(*counter).saturating_add(1);
        *counter = version;
        number(&mut record, version);
        let mut batch = Batch::new();
        batch.put_record(Tree::Designs, id.as_str(), &design).map_err(store_failed)?;
        batch.put_record(tree, &revision_key(id, version), &record).map_err(store_failed)?;
        let created = Created { version };
        self.remember(&mut batch, once, &created)?;
        self.store.commit(batch).map_err(store_failed)?;
        Ok(created)
    }

    fn revision<T: DeserializeOwned>(
        &self,
        tree: Tree,
        id: &DesignName,
        version: Option<u32>,
        what: &str,
        file: &str,
    ) -> Result<T, Problem> {
        self.design(id)?;
        if let Some(version) = version {
            let record = get_record(&*self.store, tree, &revision_key(id, version)).map_err(store_failed)?;
            return record.ok_or_else(|| no_revision(id, what, version));
        }
        let revisions: Vec<T> = scan_records(&*self.store, tree, &id.prefix()).map_err(store_failed)?;
        revisions.into_iter().next_back().ok_or_else(|| lacks(id, what, file))
    }
}

fn check_description(text: &str) -> Result<(), Problem> {
    if text.len() <= MAX_DESCRIPTION {
        return Ok(());
    }
    Err(Problem::new(Code::Refused, format!("description: it has more than {MAX_DESCRIPTION} bytes")))
}

fn schema_revision(record: SchemaRecord) -> SchemaRevision {
    SchemaRevision { version: record.version, roles: record.roles, created_at: record.created_at }
}

fn code_revision(record: CodeRecord) -> CodeRevision {
    CodeRevision {
        version: record.version,
        sha256: record.sha256,
        size: record.size,
        components: components(&record.components),
        roles: record.components.into_keys().collect(),
        created_at: record.created_at,
    }
}

/// The digests of all files that the revisions have.
fn files(revisions: &[CodeRecord]) -> BTreeSet<String> {
    let of = |record: &CodeRecord| {
        let components = record.components.values().map(|code| code.sha256.clone());
        components.chain([record.sha256.clone()]).collect::<Vec<_>>()
    };
    revisions.iter().flat_map(of).collect()
}

/// The components that serve the roles, each once, in the order of the roles.
fn components(by_role: &BTreeMap<String, CodeRef>) -> Vec<CodeComponent> {
    let mut components: Vec<CodeComponent> = Vec::new();
    for (role, code) in by_role {
        match components.iter_mut().find(|component| component.sha256 == code.sha256) {
            Some(component) => component.roles.push(role.clone()),
            None => components.push(CodeComponent {
                roles: vec![role.clone()],
                sha256: code.sha256.clone(),
                size: code.size,
                signers: code.signatures.iter().map(|signature| signature.signer.clone()).collect(),
            }),
        }
    }
    components
}
