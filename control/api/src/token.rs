//! Who may do what: bearer tokens, their roles, and the record of what was changed with them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Secret, TokenId, UserName};

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything of everybody, tokens and the audit log.
    Admin,
    /// The user's own designs, data sets and jobs, and data sets that are public.
    User,
    /// The paths of agents alone. Made for a session, never by hand.
    Agent,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Agent => "agent",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "admin" => Ok(Self::Admin),
            "user" => Ok(Self::User),
            _ => Err(format!("`{}` is no role of a token; use user or admin", text.escape_debug())),
        }
    }
}

/// Body of `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// Whose it is.
    pub user: UserName,
    /// `user` or `admin`; without it, `user`.
    #[serde(default = "user_role")]
    pub role: Role,
    /// What it is for; may be empty.
    #[serde(default)]
    pub description: String,
    /// Seconds until it ends; absent: it holds until it is revoked.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

fn user_role() -> Role {
    Role::User
}

/// A token as lists show it (`GET /v1/tokens`). The token itself is nowhere but with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Names it in lists, in the audit log and for `DELETE /v1/tokens/{id}`.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserName,
    /// What it opens.
    pub role: Role,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; absent: it holds until it is revoked.
    pub expires_at: Option<Timestamp>,
}

/// Answer to `POST /v1/tokens`: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// What the list shows.
    #[serde(flatten)]
    pub info: Token,
    /// For `Authorization: Bearer …`.
    pub token: Secret,
}

/// A change, and who made it (`GET /v1/audit`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Counts up from 1; none is missing.
    pub number: u64,
    /// When.
    pub timestamp: Timestamp,
    /// Who: a user, or `agent:` with its id.
    pub who: String,
    /// With which token; absent for the server's own and for agents.
    pub token: Option<TokenId>,
    /// From which address.
    pub address: String,
    /// What: method and path of the request, or `join` for an agent's first key.
    pub what: String,
    /// What came of it: the id or version of what was made; empty where there is none.
    #[serde(default)]
    pub made: String,
    /// HTTP status of the answer.
    pub status: u16,
}
