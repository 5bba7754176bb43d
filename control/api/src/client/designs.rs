//! Designs, schemas, code.

use bytes::Bytes;
use reqwest::Method;

use super::{Client, ClientError};
use crate::{
    CodeRevision, CreateDesign, Created, Design, DesignDetail, DesignId, SIGNATURES_HEADER, SchemaRevision,
    UpdateDesign,
};

impl Client {
    /// Creates a design.
    pub async fn create_design(&self, design: &CreateDesign) -> Result<Design, ClientError> {
        self.json(self.request(Method::POST, "/v1/designs").json(design)).await
    }

    /// All designs, by id.
    pub async fn designs(&self) -> Result<Vec<Design>, ClientError> {
        self.list("/v1/designs").await
    }

    /// One design with its revisions.
    pub async fn design(&self, design: &DesignId) -> Result<DesignDetail, ClientError> {
        self.get(&format!("/v1/designs/{design}")).await
    }

    /// Changes a design's description.
    pub async fn update_design(&self, design: &DesignId, update: &UpdateDesign) -> Result<Design, ClientError> {
        self.json(self.request(Method::PUT, &format!("/v1/designs/{design}")).json(update)).await
    }

    /// Deletes a design with all its revisions. `force`: also while jobs use it, which go on with what they have.
    pub async fn delete_design(&self, design: &DesignId, force: bool) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("/v1/designs/{design}"));
        self.send(request.query(&[("force", force)])).await.map(drop)
    }

    /// Adds a schema revision. `text` is the file, JSON or YAML; `file` its name, for messages.
    pub async fn create_schema(&self, design: &DesignId, file: &str, text: String) -> Result<Created, ClientError> {
        let request = self.request(Method::POST, &format!("/v1/designs/{design}/schemas"));
        self.json(request.query(&[("file", file)]).body(text)).await
    }

    /// A design's schema revisions, oldest first.
    pub async fn schemas(&self, design: &DesignId) -> Result<Vec<SchemaRevision>, ClientError> {
        self.list(&format!("/v1/designs/{design}/schemas")).await
    }

    /// A schema revision as it was uploaded.
    pub async fn schema(&self, design: &DesignId, version: u32) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, &format!("/v1/designs/{design}/schemas/{version}"))).await
    }

    /// Deletes a schema revision. Its number is not given again.
    pub async fn delete_schema(&self, design: &DesignId, version: u32) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/designs/{design}/schemas/{version}"))).await.map(drop)
    }

    /// Adds a code revision: a component, or a zip with one per role.
    pub async fn create_code(&self, design: &DesignId, code: Bytes) -> Result<Created, ClientError> {
        self.create_signed_code(design, code, &[]).await
    }

    /// The same with signatures over its components, each a line of a signature file.
    pub async fn create_signed_code(
        &self,
        design: &DesignId,
        code: Bytes,
        signatures: &[String],
    ) -> Result<Created, ClientError> {
        let mut request = self.request(Method::POST, &format!("/v1/designs/{design}/code")).body(code);
        if !signatures.is_empty() {
            request = request.header(SIGNATURES_HEADER, signatures.join(", "));
        }
        self.json(request).await
    }

    /// A design's code revisions, oldest first.
    pub async fn codes(&self, design: &DesignId) -> Result<Vec<CodeRevision>, ClientError> {
        self.list(&format!("/v1/designs/{design}/code")).await
    }

    /// A code revision as it was uploaded.
    pub async fn code(&self, design: &DesignId, version: u32) -> Result<Bytes, ClientError> {
        self.bytes(self.request(Method::GET, &format!("/v1/designs/{design}/code/{version}"))).await
    }

    /// Deletes a code revision. Its number is not given again; jobs that run it keep it.
    pub async fn delete_code(&self, design: &DesignId, version: u32) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, &format!("/v1/designs/{design}/code/{version}"))).await.map(drop)
    }

    /// What a design is now, for [`Client::with_tag`].
    pub async fn design_tag(&self, design: &DesignId) -> Result<Option<String>, ClientError> {
        self.tag_of(&format!("/v1/designs/{design}")).await
    }
}
