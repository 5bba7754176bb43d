//! Designs and the revisions of their schemas and code.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DesignId, UserName};

/// Body of `POST /v1/designs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateDesign {
    /// The design's name.
    pub id: DesignId,
    /// For people; may be empty.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    pub description: String,
}

/// Body of `PUT /v1/designs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpdateDesign {
    /// For people; may be empty.
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    pub description: String,
}

/// A design as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Design {
    /// The design's name.
    pub id: DesignId,
    /// Whose it is; names are unique per owner.
    #[serde(default)]
    pub owner: UserName,
    /// For people; may be empty.
    pub description: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A design with its revisions (`GET /v1/designs/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct DesignDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub design: Design,
    /// Schema revisions, oldest first.
    pub schemas: Vec<SchemaRevision>,
    /// Code revisions, oldest first.
    pub code: Vec<CodeRevision>,
}

/// A revision of a design's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchemaRevision {
    /// Counts up from 1.
    pub version: u32,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A revision of a design's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CodeRevision {
    /// Counts up from 1.
    pub version: u32,
    /// SHA-256 of the uploaded file, hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Roles that it serves.
    pub roles: Vec<String>,
    /// What it consists of: one component, or one for each role or several.
    #[serde(default)]
    pub components: Vec<CodeComponent>,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

/// A component of a code revision: what an agent fetches and checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CodeComponent {
    /// Roles that run it.
    pub roles: Vec<String>,
    /// SHA-256 of the component, hex. Signatures are over it, and jobs and grants name it.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Public keys of those whose signatures the server found to hold.
    pub signers: Vec<String>,
}

/// Answer to the upload of a schema or of code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The revision that was made.
    pub version: u32,
}
