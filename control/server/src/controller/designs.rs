//! Designs and the revisions of their schemas and code.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flame_api::{
    Code, CodeComponent, CodeRef, CodeRevision, CreateDesign, Created, Design, DesignDetail, Problem,
    SchemaRevision, Timestamp, UserName,
};
use flame_tag::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Controller;
use super::admission::admit;
use super::jobs::{lacks, no_revision, refused};
use crate::crypto;
use crate::failure::{internal, not_found, store as store_failed};
use crate::store::records::{CodeRecord, DesignName, SchemaRecord, prefix, revision_key};
use crate::store::{Tree, get_record, put_record, scan_records};

impl Controller {
    /// Creates a design. Blocks.
    pub(crate) fn create_design(&self, owner: UserName, create: CreateDesign) -> Result<Design, Problem> {
        let id = DesignName::new(owner, create.id);
        let _lock = self.lock_designs();
        if get_record::<Design>(&*self.store, Tree::Designs, id.as_str()).map_err(store_failed)?.is_some() {
            return Err(Problem::new(Code::AlreadyExists, format!("design {id} exists already"))
                .hint("choose another id, or add revisions to it: `flamectl create schema`, `flamectl create code`"));
        }
        let design = Design {
            id: id.id().clone(),
            owner: id.owner().clone(),
            description: create.description,
            created_at: Timestamp::now(),
        };
        put_record(&*self.store, Tree::Designs, id.as_str(), &design).map_err(store_failed)?;
        Ok(design)
    }

    /// All designs of an owner, or of everybody, oldest first. Blocks.
    pub(crate) fn designs(&self, owner: Option<&UserName>) -> Result<Vec<Design>, Problem> {
        let theirs = owner.map(|owner| prefix(owner)).unwrap_or_default();
        let mut designs: Vec<Design> = scan_records(&*self.store, Tree::Designs, &theirs).map_err(store_failed)?;
        designs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(designs)
    }

    /// One design. Blocks.
    pub(crate) fn design(&self, id: &DesignName) -> Result<Design, Problem> {
        let design = get_record(&*self.store, Tree::Designs, id.as_str()).map_err(store_failed)?;
        design.ok_or_else(|| {
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
            schemas: schemas
                .into_iter()
                .map(|record| SchemaRevision {
                    version: record.version,
                    roles: record.roles,
                    created_at: record.created_at,
                })
                .collect(),
            code: code
                .into_iter()
                .map(|record| CodeRevision {
                    version: record.version,
                    sha256: record.sha256,
                    size: record.size,
                    components: components(&record.components),
                    roles: record.components.into_keys().collect(),
                    created_at: record.created_at,
                })
                .collect(),
        })
    }

    /// Adds a schema revision. `file` is the file's name, for messages. Blocks.
    pub(crate) fn create_schema(&self, id: &DesignName, file: String, text: String) -> Result<Created, Problem> {
        self.design(id)?;
        let schema = Schema::parse(&text, &file).map_err(|problems| refused(&file, &problems))?;
        let roles = schema.roles.iter().map(|role| role.name.clone()).collect();
        let record = SchemaRecord { version: 0, file, text, roles, created_at: Timestamp::now() };
        self.add_revision(Tree::Schemas, id, record, |record, version| record.version = version)
    }

    /// A schema revision; the newest without a version. Blocks.
    pub(crate) fn schema(&self, id: &DesignName, version: Option<u32>) -> Result<SchemaRecord, Problem> {
        self.revision(Tree::Schemas, id, version, "schema", "schema.json")
    }

    /// Adds a code revision, after admission.
    pub(crate) async fn create_code(
        self: &Arc<Self>,
        id: DesignName,
        file: Bytes,
        signatures: Vec<String>,
    ) -> Result<Created, Problem> {
        let design = id.clone();
        self.run(move |this| this.design(&design)).await?;
        self.run(move |this| {
            let admitted = admit(&file, &signatures, this.around.skip_admission)?;
            for (sha256, component) in &admitted.components {
                this.artifacts.put_code(sha256, component).map_err(|error| internal(&error))?;
            }
            let components = admitted.roles;
            let sha256 = crypto::sha256_hex(&file);
            this.artifacts.put_code(&sha256, &file).map_err(|error| internal(&error))?;
            let size = file.len() as u64;
            let record = CodeRecord { version: 0, sha256, size, components, created_at: Timestamp::now() };
            this.add_revision(Tree::Code, &id, record, |record, version| record.version = version)
        })
        .await
    }

    /// A code revision; the newest without a version. Blocks.
    pub(crate) fn code(&self, id: &DesignName, version: Option<u32>) -> Result<CodeRecord, Problem> {
        self.revision(Tree::Code, id, version, "code", "module.wasm")
    }

    fn add_revision<T: Serialize>(
        &self,
        tree: Tree,
        id: &DesignName,
        mut record: T,
        number: impl FnOnce(&mut T, u32),
    ) -> Result<Created, Problem> {
        let _lock = self.lock_designs();
        let revisions = self.store.scan(tree, id.prefix().as_bytes()).map_err(store_failed)?.len();
        let version = u32::try_from(revisions).unwrap_or(u32::MAX).saturating_add(1);
        number(&mut record, version);
        put_record(&*self.store, tree, &revision_key(id, version), &record).map_err(store_failed)?;
        Ok(Created { version })
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
